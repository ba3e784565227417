//! Very many sessions that say nothing.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use vouchsafe_tests::Client;
use vouchsafe_tests::audit::count;

use crate::observed::ObservedGate;

/// One server for all, which answers what it must answer at the beginning.
const SHARED: &str = r#"
about='"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}'
while IFS= read -r line; do
    case $line in *'"id":'*)
        id=${line#*\"id\":}
        echo "{\"jsonrpc\":\"2.0\",\"id\":${id%%[,\}]*},\"result\":{$about,\"content\":[{\"type\":\"text\",\"text\":\"here\"}]}}"
    esac
done"#;

/// As many as `VOUCHSAFE_TEST_SESSIONS` says, 50,000 if nothing, or as the limit of open files allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and as many descriptors as there are: VOUCHSAFE_TEST_SESSIONS=50000"]
async fn very_many_sessions_cost_little_and_leave_nothing() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let wanted = std::env::var("VOUCHSAFE_TEST_SESSIONS").ok();
    let wanted: u64 = wanted.map_or(50_000, |wanted| wanted.parse().unwrap());
    let room = maximum.unwrap_or(u64::MAX).saturating_sub(300);
    let sessions = wanted.min(room);
    let most = (sessions + 10).to_string();
    let options = ["--max-sessions", &most, "--max-sessions-per-principal", &most, "--share"];
    let patient = ["--first-message-timeout", "3600"];
    let gate = ObservedGate::limited(
        "true",
        &[&options[..], &patient].concat(),
        &["--", "sh", "-c", SHARED],
    );
    let idle = gate.memory();
    let (begun, mut clients) = (Instant::now(), Vec::new());
    let config = gate.config();
    for _ in 0..sessions {
        clients.push(Client::connect_with(gate.address, config.clone()).await.unwrap());
    }
    gate.until("all opened", |events| count(events, "opened") >= clients.len()).await;
    let taken = (gate.memory() - idle) / sessions;
    println!(
        "{sessions} sessions of {wanted} wanted in {:?}: {taken} octets each",
        begun.elapsed()
    );
    assert_eq!(clients.last_mut().unwrap().call("any", json!({})).await, "here");
    gate.serves().await;
    let begun = Instant::now();
    gate.home.run(&["revoke", "a"]);
    for client in &mut clients {
        client.ending().await;
    }
    println!("all cut, and seen to be, {:?} after the command began", begun.elapsed());
    gate.until("all cut", |events| count(events, "cut") == clients.len()).await;
    let begun = Instant::now();
    while gate.holds().0 > 100 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", gate.holds());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
