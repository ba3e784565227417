//! Where the system has nothing left to give: whoever comes too many is told, and it passes.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use vouchsafe_tests::audit::count;
use vouchsafe_tests::{Client, identity_in, tls_config};

use crate::observed::{ObservedGate, SERVER};

/// Descriptors of a gateway that has few.
const FEW: usize = 64;

#[tokio::test]
async fn a_gateway_without_descriptors_turns_people_away_and_recovers() {
    let limit = format!("ulimit -n {FEW}");
    let options = ["--handshake-timeout", "60"];
    let gate = ObservedGate::limited(&limit, &options, &["--", "sh", "-c", SERVER]);
    let at_rest = gate.at_rest().await;
    let mut inside = Client::connect_with(gate.address, gate.config()).await.unwrap();
    assert_eq!(inside.call("any", json!({})).await, "here");
    let mut beside = Client::connect(gate.address, &identity_in(&gate.home.path("honest"))).await;
    assert_eq!(beside.call("any", json!({})).await, "here");
    // More than can be served, who say nothing. All that the gateway can still take, it takes.
    let mut flood = Vec::new();
    for _ in 0..2 * FEW {
        flood.push(TcpStream::connect(gate.address).await.unwrap());
    }
    let turned_away = |events: &[serde_json::Value]| {
        let is_it = |event: &&serde_json::Value| {
            event["event"] == "refused"
                && event["reason"]
                    == "Too many open files (os error 24): a connection that waited was closed"
        };
        events.iter().filter(is_it).count()
    };
    gate.until("turned away", |events| turned_away(events) > 0).await;
    // The last of them hears of it at once, though handshakes may take a minute.
    let begun = Instant::now();
    let last = flood.last_mut().unwrap();
    let heard = timeout(Duration::from_secs(30), last.read(&mut [0])).await.unwrap();
    assert!(!matches!(heard, Ok(1..)), "{heard:?}");
    println!("turned away after {:?}", begun.elapsed());
    // Whoever was there goes on.
    assert_eq!(inside.call("any", json!({})).await, "here");
    // And whoever is revoked goes, and nobody else: the list is read all the same.
    gate.home.run(&["revoke", "a"]);
    let begun = Instant::now();
    inside.ending().await;
    let events = gate.until("cut", |events| count(events, "cut") > 0).await;
    let cut = events.iter().find(|event| event["event"] == "cut").unwrap();
    println!("cut after {:?}: {}", begun.elapsed(), cut["reason"]);
    assert_eq!(cut["reason"], "the certificate is revoked");
    assert_eq!(beside.call("any", json!({})).await, "here");
    beside.close().await;
    drop(flood);
    let begun = Instant::now();
    while !is_served(&gate).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody is served again");
    }
    println!("served again after {:?}", begun.elapsed());
    gate.is_as_before(at_rest).await;
}

/// Whether an honest agent is.
async fn is_served(gate: &ObservedGate) -> bool {
    let config = tls_config(&identity_in(&gate.home.path("honest")));
    let Ok(mut client) = Client::connect_with(gate.address, config).await else { return false };
    let answer = client.try_call("any", json!({})).await;
    matches!(answer, Ok(Some(answer)) if answer["result"].is_object())
}

#[tokio::test]
async fn a_child_that_cannot_be_started_for_want_of_descriptors_is_told_and_others_are_later() {
    let gate = ObservedGate::limited(&format!("ulimit -n {FEW}"), &[], &["--", "sh", "-c", SERVER]);
    let at_rest = gate.at_rest().await;
    // Each takes several; in the end one finds a descriptor for itself and none for its child.
    let (sessions, refused) = gate.fill(FEW).await;
    let told = "The session is closed: the server could not be started";
    assert_eq!(refused["error"]["message"], told);
    let is_it = |event: &serde_json::Value| {
        event["event"] == "closed"
            && event["reason"].as_str().unwrap().contains("Too many open files")
    };
    gate.until("not started", |events| events.iter().any(is_it)).await;
    for mut session in sessions {
        assert_eq!(session.call("any", json!({})).await, "here");
    }
    gate.serves().await;
    gate.is_as_before(at_rest).await;
}
