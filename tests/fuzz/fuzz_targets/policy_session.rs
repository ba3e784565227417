//! A whole session: lines of the client (`C…`) and of the server (`S…`) through one policy, with a second set of
//! books beside it. The first octet chooses what the client holds.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::Permission;
use vouchsafe_fuzz::json::Meaning;
use vouchsafe_fuzz::session::{Books, MAPPED, MAX_IN_FLIGHT, held, read};
use vouchsafe_fuzz::verdict::Fate;
use vouchsafe_transport::{ClientPolicy, Rules, ServerPolicy};

fuzz_target!(|octets: &[u8]| {
    let Some((choice, lines)) = octets.split_first() else { return };
    let mut policy = ClientPolicy::new(held(*choice), Arc::new(rules()));
    let mut books = Books::new(*choice);
    for line in lines.split(|octet| *octet == b'\n') {
        match line.split_first() {
            Some((b'S', line)) => {
                from_server(&mut policy, &mut books, line);
                at_the_bridge(line);
            }
            Some((b'C', line)) => from_client(&mut policy, &mut books, line),
            _ => {}
        }
    }
    books.abandoned(&policy.abandon("The server ended"));
});

fn rules() -> Rules {
    let (tool, kind, name) = MAPPED;
    let mut rules = Rules::default();
    rules.require(tool, &format!("{kind}:{name}")).expect("well-formed");
    rules.max_in_flight = MAX_IN_FLIGHT;
    rules
}

fn from_client(policy: &mut ClientPolicy, books: &mut Books, line: &[u8]) {
    match Fate::of(policy.judge_client(line).verdict) {
        Fate::Forwarded(sent) => books.sent_to_server(&sent),
        // An error, which may name a request that is in flight if its id came twice: it closes none.
        Fate::Answered(answer) => assert!(read(&answer).get("error").is_some()),
        Fate::Dropped => {}
    }
}

fn from_server(policy: &mut ClientPolicy, books: &mut Books, line: &[u8]) {
    match Fate::of(policy.judge_server(line).verdict) {
        Fate::Forwarded(sent) => books.sent_to_client(&sent),
        Fate::Answered(answer) => assert!(read(&answer).get("error").is_some()),
        Fate::Dropped => {}
    }
    books.server_wrote(line);
}

/// The same line where it arrives: a server may ask the client only what its certificate permits.
fn at_the_bridge(line: &[u8]) {
    let held = Permission::parse("client:roots/list").into_iter().collect();
    let Fate::Forwarded(sent) = Fate::of(ServerPolicy::new(held).judge_server(line).verdict) else {
        return;
    };
    let message = read(&sent);
    let asked = match (message.get("method"), message.get("id")) {
        (Some(_), Some(_)) => return assert!(is_permitted(&message)),
        (Some(_), None) => message.at(&["params", "inputRequests"]),
        (None, _) => message.at(&["result", "inputRequests"]),
    };
    if let Some(Meaning::Map(requests)) = asked {
        assert!(requests.values().all(is_permitted));
    }
}

fn is_permitted(request: &Meaning) -> bool {
    matches!(request.get("method").and_then(Meaning::text), Some("ping" | "roots/list"))
}
