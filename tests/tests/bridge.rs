//! A bridge whose connection is lost, whose certificate is renewed, and whose device is revoked.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use vouchsafe_tests::{BridgedClient, PATIENCE, RunningGateway, World, fixed};
use vouchsafe_transport::{BridgeEnd, ConnectError, Connector, Identity, Limits};

/// A client of a gateway, whose bridge shows what is present.
fn start(
    world: &World,
    address: SocketAddr,
    present: watch::Receiver<Arc<Identity>>,
) -> BridgedClient {
    let trust = world.trust(&present.borrow());
    let name = ServerName::try_from("localhost").unwrap();
    let limits = Limits::default();
    let connector = Connector::new(&address.to_string(), name, present, trust, &limits).unwrap();
    BridgedClient::start(connector, limits)
}

/// One that has agreed on a version of MCP, as up to 2025-11-25.
async fn begin(world: &World, gateway: &RunningGateway, permissions: &[&str]) -> BridgedClient {
    let agent = world.agent("a", permissions);
    let mut client = start(world, gateway.address, fixed(Arc::new(agent)));
    client.initialize().await;
    client
}

#[tokio::test]
async fn a_client_does_not_notice_that_its_gateway_was_restarted() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = begin(&world, &gateway, &["tools:echo"]).await;
    assert_eq!(client.echo("before").await, "before");
    let address = gateway.address;
    gateway.stop().await;
    let gateway = world.gateway_at(address, |_| ()).await;
    // Nobody asks the bridge to. Whoever asks the server meanwhile may be told to try again.
    client.wait_for("; connected again").await;
    assert_eq!(client.echo("after").await, "after");
    // The new server has been told what the old one was told.
    let methods: Vec<_> = gateway.events().iter().map(|event| event["method"].clone()).collect();
    assert_eq!(methods[1], "initialize");
    assert!(matches!(client.end().await, BridgeEnd::Done));
}

#[tokio::test]
async fn what_was_in_flight_is_answered_with_leave_to_try_again() {
    let world = World::new();
    let gateway =
        world.gateway(|config| config.limits.child_grace = Duration::from_millis(50)).await;
    let mut client = begin(&world, &gateway, &["tools:*"]).await;
    let id = client.ask("tools/call", json!({"name": "linger"})).await;
    gateway.wait_until(|events| events.iter().any(|event| event["name"] == "linger")).await;
    let address = gateway.address;
    gateway.stop().await;
    let answer = client.hear().await.unwrap();
    assert_eq!(answer["id"], id);
    assert!(answer["error"]["message"].as_str().unwrap().ends_with("try again"), "{answer}");
    // A client that asks while nobody is there is told so, in time.
    let answer = client.request("tools/list", json!({})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("The server cannot be reached at present"), "{answer}");
    let _gateway = world.gateway_at(address, |_| ()).await;
    let back = async {
        while client.echo("back").await != "back" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn whoever_comes_while_a_gateway_sees_its_sessions_off_is_refused_at_once() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.child_grace = PATIENCE / 4).await;
    let mut client = begin(&world, &gateway, &["tools:*"]).await;
    client.ask("tools/call", json!({"name": "linger"})).await;
    gateway.wait_until(|events| events.iter().any(|event| event["name"] == "linger")).await;
    let address = gateway.address;
    // Its server does not end by itself.
    let stopping = tokio::spawn(gateway.stop());
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert!(!stopping.is_finished());
}

#[tokio::test]
async fn a_server_that_leaves_is_replaced_by_another() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = begin(&world, &gateway, &["tools:*"]).await;
    let answer = client.request("tools/call", json!({"name": "leave"})).await;
    assert_eq!(answer["error"]["message"], "The server ended");
    assert_eq!(client.echo("another").await, "another");
}

#[tokio::test]
async fn a_session_outlives_the_certificate_it_was_opened_with() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let short = world.short_lived_agent("a", &["tools:echo"], "3s");
    let (identity, present) = watch::channel(Arc::new(short));
    let mut client = start(&world, gateway.address, present);
    client.initialize().await;
    let renewed = world.agent("a", &["tools:echo"]);
    let serial = renewed.certificate.serial.to_string();
    identity.send_replace(Arc::new(renewed));
    let is_second =
        |event: &Value| event["event"] == "opened" && event["serial"].as_str() == Some(&serial);
    gateway.wait_until(|events| events.iter().any(is_second)).await;
    assert_eq!(client.echo("renewed").await, "renewed");
    assert!(matches!(client.end().await, BridgeEnd::Done));
}

#[tokio::test]
async fn a_bridge_whose_certificate_expired_waits_for_the_renewal() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let short = world.short_lived_agent("a", &["tools:echo"], "2s");
    let (identity, present) = watch::channel(Arc::new(short));
    let mut client = start(&world, gateway.address, present);
    client.initialize().await;
    client.wait_for("our own certificate has expired; waiting for its renewal").await;
    identity.send_replace(Arc::new(world.agent("a", &["tools:echo"])));
    assert_eq!(client.echo("renewed").await, "renewed");
    // It knew better than to knock with the expired one.
    assert!(gateway.events().iter().all(|event| event["event"] != "refused"));
    assert!(matches!(client.end().await, BridgeEnd::Done));
}

#[tokio::test]
async fn a_revoked_device_learns_that_it_is_and_does_not_try_again() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = begin(&world, &gateway, &["tools:echo"]).await;
    assert_eq!(client.echo("before").await, "before");
    world.revoke("a");
    let end = client.ended().await;
    assert!(matches!(end, BridgeEnd::Refused(ConnectError::Refused(_))), "{end:?}");
    assert!(end.to_string().contains("revoked"), "{end}");
    assert!(client.hear().await.is_none());
}

#[tokio::test]
async fn a_client_that_was_never_served_is_not_kept_waiting() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.sessions = 0).await;
    let agent = fixed(Arc::new(world.agent("a", &["tools:*"])));
    let mut client = start(&world, gateway.address, agent);
    let end = client.ended().await;
    let reason = "The session is closed: too many sessions are open";
    assert!(matches!(&end, BridgeEnd::Closed(Some(said)) if said == reason), "{end:?}");
}
