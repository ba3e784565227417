//! Whoever says or asks the same without end, be it a server or a client, fills neither the audit nor
//! the table of processes: the first of it stands on record, and of the rest how often it came.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::time_provider::DefaultTimeProvider;
use serde_json::{Value, json};
use vouchsafe_tests::{Client, World, command};
use vouchsafe_transport::{EventLog, GatewayConfig, Output};

/// So many are told one by one within a second of the gateway's, of which a second of the clock has
/// parts of two.
const TOLD: u64 = 2 * 50;

/// Of these events: those told within each second of the clock, and how many there were of which only
/// the number was told.
fn told_and_summed(
    events: &[Value],
    kind: &str,
    from: Option<&str>,
) -> (HashMap<String, u64>, u64) {
    let (mut told, mut summed) = (HashMap::new(), 0);
    for event in events {
        if event["event"] != kind || event["from"].as_str() != from {
            continue;
        }
        let reason = event["reason"].as_str().unwrap_or_default();
        match reason.strip_suffix(" further times within a second") {
            Some(times) => summed += times.parse::<u64>().unwrap(),
            None => *told.entry(event["at"].to_string()).or_default() += 1,
        }
    }
    (told, summed)
}

/// Counts what observers hear of one kind of event.
fn observed(
    world: &World,
    config: &mut GatewayConfig,
    kind: &'static str,
) -> (Arc<AtomicU64>, std::path::PathBuf) {
    let audit = world.folder().join("observed.jsonl");
    let output = Arc::new(Output::new(File::create_new(&audit).unwrap()));
    let heard = Arc::new(AtomicU64::new(0));
    let hears = Arc::clone(&heard);
    config.log =
        EventLog::new(output, Arc::new(DefaultTimeProvider)).observed_by(Arc::new(move |event| {
            if event.event == kind && event.cause.is_some() {
                hears.fetch_add(1, Ordering::Relaxed);
            }
        }));
    (heard, audit)
}

#[tokio::test]
async fn a_server_that_talks_without_end_does_not_flood_the_audit() {
    let world = World::new();
    let secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    // What nobody asked for, what nobody knows, and what a client must not be told.
    let talk = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{}}}}
{{"jsonrpc":"2.0","method":"notifications/made_up"}}
{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{secret}"}}}}"#
    );
    let (mut heard, mut audit) = Default::default();
    let mut gateway = world
        .gateway(|config| {
            (heard, audit) = observed(&world, config, "denied");
            config.upstream = command(&["yes", &talk]);
            config.rules.redact().unwrap();
        })
        .await;
    gateway.audit = audit;
    let agent = world.agent("a", &["tools:*"]);
    let mut client = Client::connect(gateway.address, &agent).await;
    // Its client reads for as long as it takes, and the gateway says how much there was.
    let enough = |events: &[Value]| {
        ["denied", "redacted"]
            .iter()
            .all(|kind| told_and_summed(events, kind, Some("server")).1 > 1000)
    };
    while !enough(&gateway.events()) {
        for _ in 0..100 {
            let line = client.line().await.unwrap().unwrap();
            assert!(!line.to_string().contains(secret), "{line}");
        }
    }
    drop(client);
    gateway.wait_for("closed", "client broke off").await;
    // Nothing of it is lost, and metrics have heard of each.
    let events = gateway
        .wait_until(|events| {
            let (told, summed) = told_and_summed(events, "denied", Some("server"));
            told.values().sum::<u64>() + summed == heard.load(Ordering::Relaxed)
        })
        .await;
    for kind in ["denied", "redacted"] {
        let (told, _) = told_and_summed(&events, kind, Some("server"));
        assert!(told.values().all(|times| *times <= TOLD), "{kind}: {told:?}");
    }
    let summed = events.iter().find(|event| {
        event["reason"].as_str().is_some_and(|reason| reason.contains("further times"))
    });
    assert_eq!(summed.unwrap()["principal"], "spiffe://acme.example/a");
}

#[tokio::test]
async fn a_client_that_is_denied_without_end_does_not_flood_the_audit() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:echo"])).await;
    let denied = |id: usize| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "leave"}});
    for id in 0..2000 {
        client.write(format!("{}\n", denied(id)).as_bytes()).await.unwrap();
        // Each is told to whoever asked.
        assert_eq!(
            client.line().await.unwrap().unwrap()["error"]["message"],
            "Unknown tool: leave"
        );
    }
    // What is allowed is on record, however much was denied.
    assert_eq!(client.call("echo", json!({"text": "x"})).await, "x");
    client.close().await;
    gateway.wait_for("closed", "client closed").await;
    let events = gateway.events();
    let (told, summed) = told_and_summed(&events, "denied", Some("client"));
    assert!(told.values().all(|times| *times <= TOLD), "{told:?}");
    assert_eq!(told.values().sum::<u64>() + summed, 2000);
    assert_eq!(events.iter().filter(|event| event["event"] == "allowed").count(), 1);
}
