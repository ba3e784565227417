//! One server behind many sessions, over real TLS.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say so")]

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use vouchsafe_tests::{Client, HttpClient, RunningGateway, World, binary};
use vouchsafe_transport::{ChildCommand, Limits, SharedServer, Upstream};

async fn shared(world: &World) -> (RunningGateway, SharedServer) {
    let command = ChildCommand::new([binary("echo-server").into_os_string()], []).unwrap();
    let server = SharedServer::new(command, &Limits::default(), |error| panic!("{error}"));
    let service = server.service();
    let gateway = world.gateway(|config| config.upstream = Upstream::Service(service)).await;
    (gateway, server)
}

#[tokio::test]
async fn many_sessions_share_a_server_and_each_is_held_to_its_own_certificate() {
    let world = World::new();
    let (gateway, server) = shared(&world).await;
    let calls = (0..20).map(|number| {
        let (name, permissions) =
            if number % 2 == 0 { ("even", "tools:echo") } else { ("odd", "tools:environment") };
        let (identity, address) = (world.agent(name, &[permissions]), gateway.address);
        tokio::spawn(async move {
            let mut client = Client::connect(address, &identity).await;
            let initialize = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
            let said = client.request("initialize", initialize).await.unwrap().unwrap();
            assert_eq!(said["result"]["serverInfo"]["name"], "echo-server");
            let listed = client.request("tools/list", json!({})).await.unwrap().unwrap();
            assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1);
            for round in 0..20 {
                if number % 2 == 0 {
                    let text = format!("{number}-{round}");
                    assert_eq!(client.call("echo", json!({"text": text})).await, text);
                } else {
                    // Nobody in particular is its principal.
                    assert!(!client.call("environment", json!({})).await.contains("VOUCHSAFE"));
                }
            }
            let denied = if number % 2 == 0 { "environment" } else { "echo" };
            let denied = client.try_call(denied, json!({})).await.unwrap().unwrap();
            assert_eq!(denied["error"]["code"], -32602);
            client.close().await;
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    gateway.stop().await;
    timeout(Duration::from_secs(10), server.stop()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_ends_ends_every_session_and_the_next_one_has_another() {
    let world = World::new();
    let (gateway, _server) = shared(&world).await;
    let identity = world.agent("a", &["tools:*"]);
    let mut waiting = Client::connect(gateway.address, &identity).await;
    assert_eq!(waiting.call("echo", json!({"text": "here"})).await, "here");
    let mut fatal = Client::connect(gateway.address, &identity).await;
    let answer = fatal.try_call("leave", json!({})).await.unwrap().unwrap();
    assert_eq!(answer["error"]["message"], "The server ended");
    assert_eq!(waiting.line().await.unwrap(), None);
    let mut next = Client::connect(gateway.address, &identity).await;
    assert_eq!(next.call("echo", json!({"text": "again"})).await, "again");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_no_end_of_the_others() {
    let world = World::new();
    let mut limits = Limits::default();
    limits.line = 100_000;
    let command = ChildCommand::new([binary("echo-server").into_os_string()], []).unwrap();
    let server = SharedServer::new(command, &limits, |error| panic!("{error}"));
    let service = server.service();
    let gateway = world.gateway(|config| config.upstream = Upstream::Service(service)).await;
    let mut other = Client::connect(gateway.address, &world.agent("b", &["tools:*"])).await;
    assert_eq!(other.call("echo", json!({"text": "here"})).await, "here");
    let mut greedy = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    let call = json!({"jsonrpc": "2.0", "id": 99, "method": "tools/call", "params": {"name": "large", "arguments": {"octets": 1_000_000}}});
    greedy.write(format!("{call}\n").as_bytes()).await.unwrap();
    let failed = greedy.line().await.unwrap().unwrap();
    assert_eq!(failed["id"], 99);
    assert_eq!(failed["error"]["message"], "The server's answer is longer than 100000 octets");
    assert_eq!(greedy.call("echo", json!({"text": "on"})).await, "on");
    assert_eq!(other.call("echo", json!({"text": "on"})).await, "on");
}

#[tokio::test]
async fn revoking_one_leaves_the_server_to_the_others() {
    let world = World::new();
    let (gateway, _server) = shared(&world).await;
    let mut thief = Client::connect(gateway.address, &world.agent("thief", &["tools:*"])).await;
    assert_eq!(thief.call("echo", json!({"text": "here"})).await, "here");
    let mut honest =
        HttpClient::connect(gateway.address, &world.agent("honest", &["tools:*"]), Some("h2"))
            .await;
    honest.initialize().await;
    world.revoke("thief");
    assert!(!matches!(thief.line().await, Ok(Some(_))));
    let called: Value = honest.call("echo", json!({"text": "on"})).await;
    assert_eq!(called["result"]["content"][0]["text"], "on");
}
