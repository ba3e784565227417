//! Whoever says or asks the same without end, be it a server or a client, fills neither the audit nor
//! the table of processes: the first of it stands on record, and of the rest how often it came.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;
use rustls::time_provider::DefaultTimeProvider;
use serde_json::{Value, json};
use vouchsafe_tests::{Client, HttpClient, RunningGateway, World, command, fixed, tls_config};
use vouchsafe_transport::{
    EventLog, GatewayConfig, Identity, LimitTable, Output, PrincipalLimits, Rate,
};

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

/// One message at a time; the next one in a hundred seconds.
fn one_at_a_time(config: &mut GatewayConfig) {
    let mut each = PrincipalLimits::default();
    each.requests = Some(Rate::new(0.01, Some(1)).unwrap());
    config.limits.principals = Some(fixed(Arc::new(LimitTable::new(each))));
}

fn initialize() -> Value {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
}

async fn opens_again_and_again(gateway: &RunningGateway, identity: &Identity) -> (u64, u64) {
    let client = HttpClient::connect(gateway.address, identity, Some("h2")).await;
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..200 {
        let answer = client.beside().post(&initialize()).await.unwrap();
        match answer.status {
            StatusCode::OK => opened += 1,
            StatusCode::TOO_MANY_REQUESTS => refused += 1,
            status => assert_eq!(status, StatusCode::OK),
        }
        drop(answer.whole().await);
    }
    (opened, refused)
}

#[tokio::test]
async fn opening_sessions_costs_what_the_first_message_costs_and_starts_nothing_before() {
    let world = World::new();
    let agent = world.agent("a", &[]);
    // By its rate, or by the sessions that it may have.
    for by_rate in [true, false] {
        let gateway = world
            .gateway(|config| match by_rate {
                true => one_at_a_time(config),
                false => config.limits.sessions_per_principal = 1,
            })
            .await;
        // `initialize` is not paid for twice.
        assert_eq!(opens_again_and_again(&gateway, &agent).await, (1, 199));
        let summed =
            gateway.wait_until(|events| told_and_summed(events, "limited", None).1 > 0).await;
        let (told, _) = told_and_summed(&summed, "limited", Some("client"));
        assert!(told.values().all(|times| *times <= 2 * 5), "{told:?}");
        let audit = gateway.audit.clone();
        gateway.stop().await;
        let audit = std::fs::read_to_string(audit).unwrap();
        // The connection, and the one session.
        assert_eq!(audit.matches(r#""event":"opened""#).count(), 2, "{audit}");
        let reason = if by_rate {
            "this principal asks too often"
        } else {
            "this principal has too many sessions open"
        };
        assert!(audit.contains(reason), "{audit}");
        let events: Vec<Value> =
            audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (told, _) = told_and_summed(&events, "limited", Some("client"));
        let (_, summed) = told_and_summed(&events, "limited", None);
        assert_eq!(told.values().sum::<u64>() + summed, 199);
    }
}

#[tokio::test]
async fn opening_sessions_of_lines_costs_the_same() {
    let world = World::new();
    let gateway = world.gateway(one_at_a_time).await;
    for (name, says_so) in [("a", true), ("b", false)] {
        let agent = world.agent(name, &[]);
        let connect = async || {
            let mut config = tls_config(&agent);
            if !says_so {
                config.alpn_protocols.clear();
            }
            Client::connect_with(gateway.address, config).await.unwrap()
        };
        let mut first = connect().await;
        first.write(format!("{}\n", initialize()).as_bytes()).await.unwrap();
        assert!(first.line().await.unwrap().unwrap()["result"].is_object());
        let mut second = connect().await;
        // Who does not say what it speaks is told when it has shown that.
        drop(second.write(format!("{}\n", initialize()).as_bytes()).await);
        let told = second.line().await.unwrap().unwrap();
        let message = "The session is closed: this principal asks too often";
        assert_eq!(
            (&told["error"]["code"], &told["error"]["message"]),
            (&json!(429), &json!(message))
        );
        let wait = told["error"]["data"]["retryAfterMs"].as_u64().unwrap();
        assert!((90_000..=100_000).contains(&wait), "{told}");
        // The one is no session at all; the other one was, until it was known what is spoken in it.
        let kind = if says_so { "refused" } else { "cut" };
        let event = gateway.wait_for(kind, "asks too often").await;
        assert_eq!(event["principal"], format!("spiffe://acme.example/{name}"));
    }
}
