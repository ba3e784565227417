//! One line from a client that may do everything: what passes the strict reader must mean the same to another parser.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::{Permission, PermissionSet};
use vouchsafe_fuzz::json::Meaning;
use vouchsafe_fuzz::session::{is_request, read};
use vouchsafe_fuzz::verdict::{Fate, is_one_line};
use vouchsafe_transport::{ClientPolicy, Record, Rules};

const PARSE_ERROR: Meaning = Meaning::Integer(-32700);

fuzz_target!(|line: &[u8]| {
    // The framing has taken line ends out.
    if line.contains(&b'\n') {
        return;
    }
    let (fate, record) = judge(line);
    match &fate {
        Fate::Forwarded(sent) => {
            let is_listen = record.as_ref().is_some_and(|r| r.method == "subscriptions/listen");
            // The filter of a listen request is rebuilt; everything else goes on as it came.
            assert!(is_listen || sent == line, "forwarded other octets than were judged");
            let message = read(sent);
            must_name_the_same(&message, record.as_ref());
            let (again, record_again) = judge(sent);
            assert_eq!((&again, record_again), (&fate, record), "judged otherwise the second time");
        }
        Fate::Answered(answer) => {
            let is_object = is_one_line(line) && matches!(Meaning::read(line), Ok(Meaning::Map(_)));
            let code = read(answer).at(&["error", "code"]).cloned();
            assert!(!is_object || code != Some(PARSE_ERROR), "refused as no JSON, but it is");
        }
        Fate::Dropped => {}
    }
});

fn judge(line: &[u8]) -> (Fate, Option<Record>) {
    let everything: PermissionSet = Permission::parse("*").into_iter().collect();
    let mut policy = ClientPolicy::new(everything, Arc::new(Rules::default()));
    let judgement = policy.judge_client(line);
    (Fate::of(judgement.verdict), judgement.record)
}

/// What the policy recorded is what the other parser reads.
fn must_name_the_same(message: &Meaning, record: Option<&Record>) {
    let (Some(record), Meaning::Map(_)) = (record, message) else { return };
    let method = message.get("method").and_then(Meaning::text).unwrap_or_default();
    assert!(method.starts_with(&record.method), "judged another method than was sent");
    if message.get("id").is_none() {
        return assert!(!is_request(method), "a request in the shape of a notification");
    }
    let named = match method {
        "tools/call" | "prompts/get" => message.at(&["params", "name"]),
        "resources/read" => message.at(&["params", "uri"]),
        _ => return,
    };
    let (named, judged) = (named.and_then(Meaning::text), record.name.as_deref());
    assert!(named.unwrap_or_default().starts_with(judged.unwrap_or_default()) && judged.is_some());
}
