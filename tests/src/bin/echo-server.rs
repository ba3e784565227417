//! The MCP server that the tests put behind a gateway: small enough to run two hundred times at once.
//!
//! It speaks the line framing by hand, so that it can also misbehave in every way that servers do.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers a missing member with null")]

use std::io::{BufRead, Write};

use serde_json::{Value, json};

fn main() {
    let stdin = std::io::stdin();
    for line in stdin.lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(method) = message["method"].as_str() else { continue };
        let Some(id) = message.get("id") else { continue };
        let result = match method {
            "initialize" => initialized(&message),
            "ping" => json!({}),
            "tools/list" => json!({"tools": tools()}),
            "tools/call" => call(&message["params"]),
            _ => {
                let error = json!({"code": -32601, "message": "Method not found"});
                say(&json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
                continue;
            }
        };
        say(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
    }
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // A gateway that is gone needs no answer.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn initialized(message: &Value) -> Value {
    json!({
        "protocolVersion": message["params"]["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "echo-server", "version": "1"},
    })
}

fn tools() -> Vec<Value> {
    let names =
        ["echo", "environment", "junk", "flood_stderr", "large", "leave", "linger", "ask_roots"];
    names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect()
}

fn call(params: &Value) -> Value {
    let arguments = &params["arguments"];
    let text = match params["name"].as_str().unwrap_or_default() {
        "echo" => arguments["text"].as_str().unwrap_or_default().to_owned(),
        "environment" => {
            let mut names: Vec<String> =
                std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            names.sort();
            names.join("\n")
        }
        "junk" => {
            say("Server ready on port 3000");
            say("{\"level\":\"info\"}");
            "said junk".to_owned()
        }
        "flood_stderr" => {
            let line = "x".repeat(1000);
            for _ in 0..1000 {
                eprintln!("{line}");
            }
            "flooded".to_owned()
        }
        "large" => {
            "x".repeat(usize::try_from(arguments["octets"].as_u64().unwrap_or(0)).unwrap_or(0))
        }
        "leave" => std::process::exit(3),
        // A child that ignores the end of its stdin.
        "linger" => loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        },
        "ask_roots" => {
            say(&json!({"jsonrpc": "2.0", "id": "from-server", "method": "roots/list"}).to_string());
            "asked".to_owned()
        }
        other => format!("there is no tool {other}"),
    };
    json!({"content": [{"type": "text", "text": text}]})
}
