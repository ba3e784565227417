//! Servers of 2026-07-28 that want arguments in headers, asked by somebody who has not seen their list.

use serde_json::{Value, json};
use tokio::sync::watch;
use vouchsafe_tests::upstream::{Asked, HttpServer, Step, json as message, status};
use vouchsafe_tests::{Client, World};

use crate::behind::{client, gateway, modern, result};

/// Wants the argument `region` of `sql` in a header, and says so on the second page of its list.
fn serve(asked: &Asked) -> Vec<Step> {
    let says = |said: Value| message(&result(asked, &said.to_string()));
    let params = &asked.body["params"];
    match (asked.method(), params["cursor"].as_str()) {
        ("tools/list", None) => says(json!({"tools": [], "nextCursor": "2"})),
        ("tools/list", Some("2")) => {
            let region = json!({"type": "string", "x-mcp-header": "Region"});
            let schema = json!({"type": "object", "properties": {"region": region}});
            says(json!({"tools": [{"name": "sql", "inputSchema": schema}]}))
        }
        ("tools/call", _) if params["name"] == "sql" => {
            match asked.header("mcp-param-region") == params["arguments"]["region"].as_str() {
                true => says(json!({"content": [{"type": "text", "text": "done"}]})),
                false => mismatch(asked),
            }
        }
        _ => mismatch(asked),
    }
}

fn mismatch(asked: &Asked) -> Vec<Step> {
    let error = json!({"code": -32020, "message": "The header mcp-param-region is missing"});
    let error = json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": error}).to_string();
    status("400 Bad Request", "Content-Type: application/json\r\n", &error)
}

fn call(tool: &str, arguments: Value) -> Value {
    modern(json!({"name": tool, "arguments": arguments}))
}

#[tokio::test]
async fn a_call_that_is_refused_for_its_headers_is_made_again_with_them() {
    let world = World::new();
    let server = HttpServer::plain(serve);
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
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
    // And no list is asked for anew for every call that is refused.
    assert_eq!(methods()[5..], ["tools/call"]);
}

#[tokio::test]
async fn what_is_listed_for_headers_is_nobodys_answer_whatever_a_client_calls_its_requests() {
    let world = World::new();
    let (said, mut heard) = watch::channel(Vec::new());
    let list_waits = heard.clone();
    // The list waits for the client's next call, which is never answered.
    let server = HttpServer::plain(move |asked: &Asked| {
        let say = |word: &str| said.send_modify(|said| said.push(word.to_owned()));
        match (asked.method(), asked.body["params"]["name"].as_str()) {
            ("tools/call", Some("slow")) => {
                say("slow");
                vec![Step::Wait]
            }
            ("tools/list", _) => {
                say("list");
                [vec![Step::Until(list_waits.clone(), "slow".to_owned(), 1)], serve(asked)].concat()
            }
            _ => serve(asked),
        }
    });
    let gateway = gateway(&world, &server).await;
    let agent = world.agent("a", &["tools:slow", "tools:sql"]);
    let mut client = Client::connect(gateway.address, &agent).await;
    let request = |id: &str, params: Value| {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        format!("{request}\n")
    };
    let first = request("first", call("sql", json!({"region": "west"})));
    client.write(first.as_bytes()).await.unwrap();
    heard.wait_for(|said| said.iter().any(|word| word == "list")).await.unwrap();
    // As the gateway calls its own request.
    let second = request("vouchsafe-0", call("slow", json!({})));
    client.write(second.as_bytes()).await.unwrap();
    let answer = client.line().await.unwrap().unwrap();
    assert_eq!(answer["id"], "first", "{answer}");
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
}
