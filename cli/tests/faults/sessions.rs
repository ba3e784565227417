//! Connections that fail while a session is open: each ends for its own reason, and alone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use vouchsafe_tests::Client;
use vouchsafe_tests::audit::count;
use vouchsafe_tests::chaos::{ChaosProxy, Fault, Faults};

use crate::observed::ObservedGate;

/// Far less than a call of a client, and far less than a large answer.
const INTO: u64 = 40;

/// Times after which a gateway gives up, as short as they go.
const IMPATIENT: [&str; 6] =
    ["--first-message-timeout", "2", "--write-timeout", "1", "--idle-timeout", "1"];

/// Handshakes first, so that octets can be counted from their end.
async fn handshake(gate: &ObservedGate, proxy: &ChaosProxy) -> (u64, u64) {
    proxy.will(Faults::default());
    let before = count(&gate.events(), "opened");
    let client = Client::connect_with(proxy.address, gate.config()).await.unwrap();
    gate.until("opened", |events| count(events, "opened") > before).await;
    let passed = proxy.passed();
    client.close().await;
    gate.until("closed", |events| count(events, "closed") > before).await;
    passed
}

#[tokio::test]
async fn whatever_becomes_of_a_connection_its_session_ends_and_says_why() {
    let gate = ObservedGate::open(&IMPATIENT);
    let proxy = ChaosProxy::before(gate.address).await;
    let at_rest = gate.at_rest().await;
    // The handshakes of one certificate differ by an octet or two, of which there are enough.
    let (up, down) = handshake(&gate, &proxy).await;
    let (up, down) = (up + INTO, down + INTO);
    let to_server = |to_server| Faults { to_server, ..Faults::default() };
    let to_client = |to_client| Faults { to_client, ..Faults::default() };
    let silent = "the client sent no message in time";
    let unread = "from the client: the peer did not read for 1s";
    for (faults, tool, event, reason) in [
        (to_server(Fault::Reset(up)), "any", "closed", "the client broke off"),
        (to_server(Fault::Cut(up)), "any", "closed", "the client broke off"),
        (to_server(Fault::HalfClose(up)), "any", "closed", "the client broke off"),
        (to_server(Fault::Lose(up)), "any", "closed", silent),
        (to_server(Fault::Stall(up)), "any", "closed", silent),
        (to_server(Fault::Lose(up - INTO + 4)), "any", "closed", silent),
        (to_client(Fault::Reset(down)), "any", "closed", "the client broke off"),
        (to_client(Fault::Cut(down)), "any", "closed", "the client broke off"),
        (to_client(Fault::Lose(down)), "any", "closed", silent),
        (to_client(Fault::Reset(down)), "large", "closed", "the client broke off"),
        (to_client(Fault::Cut(down + 100_000)), "large", "closed", "the client broke off"),
        (to_client(Fault::Stall(down + 100_000)), "large", "closed", unread),
    ] {
        proxy.will(faults);
        let before = gate.events().len();
        let mut client = Client::connect_with(proxy.address, gate.config()).await.unwrap();
        // A reset that overtakes the end of the handshake would leave no session to speak of.
        let is_open = |event: &Value| event["event"] == "opened";
        gate.until("opened", |events| events.iter().skip(before).any(is_open)).await;
        // The client may wait for ever; somebody else is served meanwhile.
        let call = timeout(Duration::from_secs(10), client.try_call(tool, json!({})));
        let (answer, ()) = tokio::join!(call, gate.serves());
        assert!(
            !matches!(answer, Ok(Ok(Some(ref answer))) if answer["result"].is_object()),
            "{faults:?}"
        );
        let is_it = |events: &[Value]| {
            let of_a =
                |event: &&Value| event["principal"].as_str().is_some_and(|who| who.ends_with("/a"));
            let ended = |event: &&Value| event["event"] == "closed" || event["event"] == "cut";
            let mut ends = events.iter().skip(before).filter(of_a).filter(ended);
            ends.next().map(|end| (end["event"].to_string(), end["reason"].to_string()))
        };
        let events = gate.until(&format!("{faults:?}"), |events| is_it(events).is_some()).await;
        let expected = (format!("\"{event}\""), format!("\"{reason}\""));
        assert_eq!(is_it(&events), Some(expected), "{faults:?} {tool}");
        drop(client);
        gate.is_as_before(at_rest).await;
    }
}

#[tokio::test]
async fn a_network_that_is_only_slow_or_takes_things_apart_harms_nobody() {
    let gate = ObservedGate::open(&[]);
    let proxy = ChaosProxy::before(gate.address).await;
    let at_rest = gate.at_rest().await;
    let late = Fault::Delay(Duration::from_millis(100));
    for (to_server, to_client) in [
        (Fault::Split(1), Fault::Split(1)),
        (Fault::Split(7), late),
        (late, Fault::Split(1)),
        (late, late),
    ] {
        proxy.will(Faults { to_server, to_client });
        let mut client = Client::connect_with(proxy.address, gate.config()).await.unwrap();
        for _ in 0..5 {
            assert_eq!(client.call("any", json!({})).await, "here");
        }
        client.close().await;
        gate.is_as_before(at_rest).await;
    }
    // And a revocation cuts all the same.
    proxy.will(Faults { to_server: late, to_client: late });
    let mut client = Client::connect_with(proxy.address, gate.config()).await.unwrap();
    assert_eq!(client.call("any", json!({})).await, "here");
    gate.home.run(&["revoke", "a"]);
    client.ending().await;
    let is_cut =
        |event: &Value| event["event"] == "cut" && event["reason"] == "the certificate is revoked";
    gate.until("cut", |events| events.iter().any(is_cut)).await;
    gate.is_as_before(at_rest).await;
}
