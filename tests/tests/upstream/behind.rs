//! A gateway with a server behind it, a client before it, and what such a server answers as a rule.

use std::net::SocketAddr;

use serde_json::{Value, json};
use vouchsafe_tests::upstream::{Asked, HttpServer, Step, accepted, status};
use vouchsafe_tests::{Client, RunningGateway, World};
use vouchsafe_transport::{Endpoint, HttpUpstream, Limits, Upstream};

/// What goes with the answer to `initialize`.
const SESSION: &str = "Mcp-Session-Id: s-1\r\nContent-Type: application/json\r\n";

/// A gateway before this server.
pub(crate) async fn gateway(world: &World, server: &HttpServer) -> RunningGateway {
    gateway_with(world, server.address, |_| ()).await
}

/// A gateway before the server at this address, with limits of its own.
pub(crate) async fn gateway_with(
    world: &World,
    server: SocketAddr,
    adjust: impl FnOnce(&mut Limits),
) -> RunningGateway {
    let endpoint = Endpoint::parse(&format!("http://{server}/mcp?tenant=7")).unwrap();
    world
        .gateway(|config| {
            config.upstream = Upstream::Http(Box::new(HttpUpstream::plain(endpoint)));
            adjust(&mut config.limits);
        })
        .await
}

/// An agent that may call every tool.
pub(crate) async fn client(world: &World, gateway: &RunningGateway) -> Client {
    Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await
}

/// The answer to a request: a result, as JSON.
pub(crate) fn result(asked: &Asked, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked.id())
}

/// The answer to a call: a text.
pub(crate) fn text(asked: &Asked, text: &str) -> String {
    result(asked, &format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#))
}

/// A well-behaved server of the eras with sessions, but for what it does when it is called.
pub(crate) fn with_session(asked: &Asked, called: impl FnOnce() -> Vec<Step>) -> Vec<Step> {
    match asked.method() {
        "initialize" => {
            let about = r#"{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}"#;
            status("200 OK", SESSION, &result(asked, about))
        }
        "tools/call" => called(),
        "GET" => status("405 Method Not Allowed", "", ""),
        _ => accepted(),
    }
}

/// Agrees on a version of MCP, as up to 2025-11-25.
pub(crate) async fn initialize(client: &mut Client) {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let answer = client.request("initialize", params).await.unwrap().unwrap();
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    client.write(format!("{initialized}\n").as_bytes()).await.unwrap();
}

/// What a request of 2026-07-28 says of itself, added to its parameters.
pub(crate) fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

/// An error that the gateway itself tells of.
pub(crate) fn failed(message: &str) -> Value {
    json!({"code": -32603, "message": message})
}
