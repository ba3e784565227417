//! Connections that are reset or closed at each octet of the handshake, in either direction.

use std::time::Instant;

use serde_json::json;
use vouchsafe_tests::Client;
use vouchsafe_tests::audit::{count, refused};
use vouchsafe_tests::chaos::{ChaosProxy, Fault, Faults};

use crate::observed::ObservedGate;

/// The first connection that nothing happens to: how many octets its handshake has, each way.
async fn measured(gate: &ObservedGate, proxy: &ChaosProxy) -> (u64, u64) {
    proxy.will(Faults::default());
    let before = count(&gate.events(), "opened");
    let client = Client::connect_with(proxy.address, gate.config()).await.unwrap();
    gate.until("opened", |events| count(events, "opened") > before).await;
    let passed = proxy.passed();
    client.close().await;
    passed
}

/// What it is called, how many octets there are, and what goes wrong at each.
type Way = (&'static str, u64, fn(u64) -> Faults);

/// `VOUCHSAFE_TEST_EVERY_OCTET=1` leaves none out; otherwise every sixteenth is tried, and both ends.
fn octets(length: u64) -> Vec<u64> {
    let step = if std::env::var_os("VOUCHSAFE_TEST_EVERY_OCTET").is_some() { 1 } else { 16 };
    (0..length).filter(|octet| octet % step == 0 || *octet < 8 || octet + 8 > length).collect()
}

#[tokio::test]
async fn wherever_a_handshake_breaks_off_nothing_is_left_of_it() {
    let gate = ObservedGate::open(&[]);
    let proxy = ChaosProxy::before(gate.address).await;
    let at_rest = gate.at_rest().await;
    let (to_server, to_client) = measured(&gate, &proxy).await;
    let ways: [Way; 4] = [
        ("reset to the server", to_server, |at| Faults {
            to_server: Fault::Reset(at),
            ..Faults::default()
        }),
        ("reset to the client", to_client, |at| Faults {
            to_client: Fault::Reset(at),
            ..Faults::default()
        }),
        ("cut to the server", to_server, |at| Faults {
            to_server: Fault::Cut(at),
            ..Faults::default()
        }),
        ("cut to the client", to_client, |at| Faults {
            to_client: Fault::Cut(at),
            ..Faults::default()
        }),
    ];
    for (way, length, faults) in ways {
        let begun = Instant::now();
        let before = gate.events();
        let octets = octets(length);
        for (nth, octet) in octets.iter().enumerate() {
            proxy.will(faults(*octet));
            // The client has sent its last before it knows what became of it. A handshake may be an octet
            // or two shorter than the one that was measured, and only what comes next is broken off.
            if let Ok(mut client) = Client::connect_with(proxy.address, gate.config()).await {
                drop(client.request("ping", json!({})).await);
            }
            if nth % 100 == 0 {
                gate.serves().await;
            }
        }
        // Signatures differ in length by an octet or two, so the last of a handshake may not be cut off.
        let honest = octets.len().div_ceil(100);
        let ended = |events: &[serde_json::Value]| {
            let opened = count(events, "opened") - count(&before, "opened") - honest;
            (refused(events) - refused(&before), opened)
        };
        let events =
            gate.until(way, |events| ended(events).0 + ended(events).1 == octets.len()).await;
        let (refused, opened) = ended(&events);
        assert!(opened <= 4, "{way}: {opened} sessions");
        println!(
            "{way}: {refused} handshakes of {length} octets broken off, {:?}",
            begun.elapsed()
        );
        gate.is_as_before(at_rest).await;
    }
    gate.serves().await;
    gate.is_as_before(at_rest).await;
}
