//! Servers of 2026-07-28 that want arguments in headers, asked by somebody who has not seen their list.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on should say so")]

use serde_json::{Value, json};
use vouchsafe_tests::upstream::{Asked, HttpServer, Step, json as message, status};
use vouchsafe_tests::{Client, World};
use vouchsafe_transport::{Endpoint, HttpUpstream, Upstream};

/// Wants the argument `region` of `sql` in a header, and says so on the second page of its list.
fn serve(asked: &Asked) -> Vec<Step> {
    let id = &asked.body["id"];
    let result =
        |result: Value| message(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    let params = &asked.body["params"];
    match (asked.method(), params["cursor"].as_str()) {
        ("tools/list", None) => result(json!({"tools": [], "nextCursor": "2"})),
        ("tools/list", Some("2")) => {
            let region = json!({"type": "string", "x-mcp-header": "Region"});
            let schema = json!({"type": "object", "properties": {"region": region}});
            result(json!({"tools": [{"name": "sql", "inputSchema": schema}]}))
        }
        ("tools/call", _) if params["name"] == "sql" => {
            match asked.header("mcp-param-region") == params["arguments"]["region"].as_str() {
                true => result(json!({"content": [{"type": "text", "text": "done"}]})),
                false => mismatch(id),
            }
        }
        _ => mismatch(id),
    }
}

fn mismatch(id: &Value) -> Vec<Step> {
    let error = json!({"code": -32020, "message": "The header mcp-param-region is missing"});
    let error = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
    status("400 Bad Request", "Content-Type: application/json\r\n", &error)
}

#[tokio::test]
async fn a_call_that_is_refused_for_its_headers_is_made_again_with_them() {
    let world = World::new();
    let server = HttpServer::plain(serve);
    let endpoint = Endpoint::parse(&format!("http://{}/mcp", server.address)).unwrap();
    let gateway = world
        .gateway(|config| {
            config.upstream = Upstream::Http(Box::new(HttpUpstream::plain(endpoint)));
        })
        .await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    let call = |tool: &str, arguments: Value| {
        json!({"name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }})
    };
    let methods =
        || server.asked().iter().map(|asked| asked.method().to_owned()).collect::<Vec<_>>();
    let answer = client.request("tools/call", call("sql", json!({"region": "west"}))).await;
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    assert_eq!(methods(), ["tools/call", "tools/list", "tools/list", "tools/call"]);
    // From now on it is known.
    let answer = client.request("tools/call", call("sql", json!({"region": "east"}))).await;
    assert_eq!(answer.unwrap().unwrap()["result"]["content"][0]["text"], "done");
    assert_eq!(methods().len(), 5);
    // Where the list says nothing new, the refusal is the answer.
    let refused = client.request("tools/call", call("other", json!({}))).await.unwrap().unwrap();
    assert_eq!(refused["error"]["code"], -32020, "{refused}");
    assert_eq!(methods()[5..], ["tools/call", "tools/list", "tools/list"]);
}
