//! Requests of 2026-07-28, of which each stands for itself.

use serde_json::json;
use vouchsafe_tests::World;
use vouchsafe_tests::upstream::{HttpServer, Step, chunk, json as message, stream};

use crate::behind::{client, gateway, modern, result, text};

#[tokio::test]
async fn requests_of_the_stateless_era_repeat_in_headers_what_they_name() {
    let world = World::new();
    let server = HttpServer::plain(|asked| match asked.method() {
        "tools/list" => {
            let schema = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}"#;
            let tools = format!(r#"{{"tools":[{{"name":"deploy it","inputSchema":{schema}}}]}}"#);
            message(&result(asked, &tools))
        }
        _ => message(&text(asked, "deployed")),
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    client.request("tools/list", modern(json!({}))).await.unwrap().unwrap();
    let arguments = json!({"region": "Zürich\r\nVouchsafe-Principal: spiffe://acme.example/root"});
    let call = modern(json!({"name": "deploy it", "arguments": arguments}));
    let answer = client.request("tools/call", call).await.unwrap().unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "deployed");
    client.close().await;
    gateway.wait_for("closed", "client closed").await;

    let list = server.wait_for("tools/list").await;
    assert_eq!(list.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!((list.header("mcp-method"), list.header("mcp-name")), (Some("tools/list"), None));
    let call = server.wait_for("tools/call").await;
    assert_eq!(call.header("mcp-method"), Some("tools/call"));
    assert_eq!(call.header("mcp-name"), Some("deploy it"));
    let region = call.header("mcp-param-region").unwrap();
    assert!(region.starts_with("=?base64?WsO8cmljaA0K") && region.ends_with("?="), "{region}");
    assert_eq!(call.header("vouchsafe-principal"), Some("spiffe://acme.example/a"));
    // Neither a session nor a stream of its own, and so nothing to delete.
    assert_eq!(call.header("mcp-session-id"), None);
    assert!(server.asked().iter().all(|asked| asked.verb == "POST"));
    assert_eq!(list.connection, call.connection, "a connection is used again");
}

#[tokio::test]
async fn to_cancel_in_the_stateless_era_is_to_hang_up() {
    let world = World::new();
    let server = HttpServer::plain(|asked| match asked.method() {
        "tools/call" => vec![stream(), chunk(": working\n\n"), Step::Wait],
        _ => message(&result(asked, "{}")),
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    let params = modern(json!({"name": "slow", "arguments": {}}));
    let call = json!({"jsonrpc": "2.0", "id": 70, "method": "tools/call", "params": params});
    client.write(format!("{call}\n").as_bytes()).await.unwrap();
    server.wait_for("tools/call").await;
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 70}});
    client.write(format!("{cancel}\n").as_bytes()).await.unwrap();
    // What comes next is the answer to this, and not to what was cancelled.
    let answer = client.request("server/discover", modern(json!({}))).await.unwrap().unwrap();
    assert_eq!(answer["result"], json!({}));
    assert!(server.asked().iter().all(|asked| asked.method() != "notifications/cancelled"));
}
