//! How many connections there are to a server that speaks HTTP: each request under way has one, so there
//! is a limit to them, for each session and for all together.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use vouchsafe_tests::upstream::{HttpServer, Step, accepted, json as message};
use vouchsafe_tests::{Client, RunningGateway, World, eventually};
use vouchsafe_transport::{Endpoint, HttpUpstream, Upstream};

/// A server whose calls are answered once it is told to go on.
fn patient() -> (HttpServer, watch::Sender<Vec<String>>) {
    let (told, wait) = watch::channel(Vec::new());
    let server = HttpServer::plain(move |asked| match asked.method() {
        "tools/call" => {
            let answer =
                json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}});
            let mut steps = message(&answer.to_string());
            steps.insert(0, Step::Until(wait.clone(), "on".to_owned(), 1));
            steps
        }
        _ => accepted(),
    });
    (server, told)
}

async fn gateway(
    world: &World,
    server: &HttpServer,
    of_all: usize,
    patience: Duration,
) -> RunningGateway {
    let endpoint = Endpoint::parse(&format!("http://{}/mcp", server.address)).unwrap();
    let upstream = HttpUpstream::plain(endpoint).with_connections(of_all);
    world
        .gateway(|config| {
            config.upstream = Upstream::Http(Box::new(upstream));
            config.limits.handshake = patience;
        })
        .await
}

async fn calls(client: &mut Client, id: usize) {
    let params = json!({"name": "x", "arguments": {}});
    let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    client.write(format!("{call}\n").as_bytes()).await.unwrap();
}

async fn answer(client: &mut Client) -> Value {
    client.line().await.unwrap().unwrap()
}

/// Waits until so many calls have come, and for as long as one more would take to come.
async fn comes_to(server: &HttpServer, calls: usize) {
    let all = || (server.asked().len() >= calls).then_some(());
    assert!(eventually(all).await.is_some(), "too few calls reach the server");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.asked().len(), calls);
}

/// Requests may wait for just what the client says besides: an answer to the server's question, or that
/// nobody wants them any more.
#[tokio::test]
async fn what_is_no_request_comes_through_while_requests_have_every_connection() {
    const OWN: usize = HttpUpstream::CONNECTIONS_PER_SESSION;
    let world = World::new();
    let (server, told) = patient();
    let gateway = gateway(&world, &server, OWN, Duration::from_secs(600)).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    for id in 0..OWN {
        calls(&mut client, id).await;
    }
    comes_to(&server, OWN).await;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}});
    // The first of them frees nobody's connection.
    for (nth, word) in [changed, cancelled].into_iter().enumerate() {
        client.write(format!("{word}\n").as_bytes()).await.unwrap();
        comes_to(&server, OWN + nth + 1).await;
    }
    told.send_replace(vec!["on".to_owned()]);
    for _ in 1..OWN {
        assert_ne!(answer(&mut client).await["id"], 3);
    }
}

#[tokio::test]
async fn requests_beyond_a_session_s_connections_wait_for_their_turn() {
    const OWN: usize = HttpUpstream::CONNECTIONS_PER_SESSION;
    let world = World::new();
    let (server, told) = patient();
    let gateway = gateway(&world, &server, 2 * OWN, Duration::from_secs(20)).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    for id in 0..OWN + 8 {
        calls(&mut client, id).await;
    }
    comes_to(&server, OWN).await;
    // Another session has connections of its own.
    let mut other = Client::connect(gateway.address, &world.agent("b", &["tools:*"])).await;
    calls(&mut other, 0).await;
    comes_to(&server, OWN + 1).await;
    told.send_modify(|said| said.push("on".to_owned()));
    for _ in 0..OWN + 8 {
        assert!(answer(&mut client).await["result"].is_object());
    }
    assert!(answer(&mut other).await["result"].is_object());
}

#[tokio::test]
async fn where_all_connections_are_taken_whoever_waits_too_long_is_told_so() {
    let world = World::new();
    let (server, told) = patient();
    let gateway = gateway(&world, &server, 1, Duration::from_secs(3)).await;
    let mut first = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    let mut second = Client::connect(gateway.address, &world.agent("b", &["tools:*"])).await;
    calls(&mut first, 1).await;
    comes_to(&server, 1).await;
    calls(&mut second, 2).await;
    let refused = answer(&mut second).await;
    let why = "Too many requests to the server are under way at present; try again later";
    assert_eq!((&refused["id"], &refused["error"]["message"]), (&json!(2), &json!(why)));
    // There is a place again with the end of the first.
    told.send_modify(|said| said.push("on".to_owned()));
    assert!(answer(&mut first).await["result"].is_object());
    calls(&mut second, 3).await;
    assert!(answer(&mut second).await["result"].is_object());
}
