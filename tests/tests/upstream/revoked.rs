//! Servers behind a gateway whose certificates are of its own CA, which can revoke them.

use std::sync::Arc;

use rustls::time_provider::DefaultTimeProvider;
use serde_json::json;
use vouchsafe_tests::upstream::{Asked, HttpServer, Step, json as message, stream};
use vouchsafe_tests::{RunningGateway, World, fixed};
use vouchsafe_transport::{Endpoint, HttpUpstream, Revocations, Trust, Upstream};

use crate::behind::{client, text, with_session};

const REFUSED: &str = "The server is not trusted, or does not trust us";

/// Answers everything at once, but for calls of `wait`, which are never answered to the end.
fn serve(asked: &Asked) -> Vec<Step> {
    with_session(asked, || match asked.body["params"]["name"] == "wait" {
        true => vec![stream(), Step::Wait],
        false => message(&text(asked, "done")),
    })
}

async fn gateway(world: &World, server: &HttpServer, trust: Trust) -> RunningGateway {
    let url = format!("https://localhost:{}/mcp", server.address.port());
    let upstream = HttpUpstream::of_own_ca(Endpoint::parse(&url).unwrap(), trust).unwrap();
    world.gateway(|config| config.upstream = Upstream::Http(Box::new(upstream))).await
}

#[tokio::test]
async fn a_server_that_is_revoked_is_left_in_the_middle_of_an_answer_and_asked_no_more() {
    let world = World::new();
    let identity = world.server("elsewhere", &[]);
    let server = HttpServer::tls(&identity, serve);
    let gateway = gateway(&world, &server, world.trust(&identity)).await;
    let mut waiting = client(&world, &gateway).await;
    assert_eq!(waiting.call("x", json!({})).await, "done");
    let call = json!({"jsonrpc": "2.0", "id": 70, "method": "tools/call", "params": {"name": "wait", "arguments": {}}});
    waiting.write(format!("{call}\n").as_bytes()).await.unwrap();
    while !server.asked().iter().any(|asked| asked.body["params"]["name"] == "wait") {
        tokio::task::yield_now().await;
    }
    world.revoke("elsewhere");
    let answer = waiting.line().await.unwrap().unwrap();
    assert_eq!((&answer["id"], &answer["error"]["message"]), (&json!(70), &json!(REFUSED)));
    let heard = server.asked().len();
    let mut next = client(&world, &gateway).await;
    let answer = next.try_call("x", json!({})).await.unwrap().unwrap();
    assert_eq!(answer["error"]["message"], REFUSED, "{answer}");
    assert_eq!(server.asked().len(), heard);
}

#[tokio::test]
async fn a_server_is_not_asked_where_nobody_knows_whether_it_is_revoked() {
    let world = World::new();
    let identity = world.server("elsewhere", &[]);
    let server = HttpServer::tls(&identity, serve);
    let roots = fixed(Arc::clone(&identity.roots));
    let lists = fixed(Arc::new(Revocations::Unreadable));
    let trust = Trust::new(roots, lists, Arc::new(DefaultTimeProvider));
    let gateway = gateway(&world, &server, trust).await;
    let answer = client(&world, &gateway).await.try_call("x", json!({})).await.unwrap().unwrap();
    assert_eq!(answer["error"]["message"], REFUSED, "{answer}");
    assert!(server.asked().is_empty());
}
