//! What calls and results hold: arguments that do not fit their tool's schema never reach the server, and
//! what looks like a secret never reaches the client.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of gateways and of who talks to them, this needs a part")]
mod serving;

use home::{Home, VOUCHSAFE};
use rustix::process::Signal;
use serde_json::{Value, json};
use serving::{Serving, Talk};

/// A CA, a gateway's identity, and an agent who may do everything.
fn cast() -> Home {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--ip", "127.0.0.1"]);
    home.run(&["issue", "a", "--allow", "tools:*", "--allow", "resources:*"]);
    home
}

/// A server in a few lines of shell, which says on standard error what it was asked: `$id` and `$method`
/// are those of a request, and `$line` is all of it.
fn server(answers: &str) -> [String; 3] {
    let script = format!(
        r#"while read -r line; do
    id=${{line#*\"id\":}}; id=${{id%%,*}}; id=${{id%%\}}*}}
    method=${{line#*\"method\":\"}}; method=${{method%%\"*}}
    echo "asked $method" >&2
    case $method in
{answers}
    esac
done"#
    );
    ["sh".into(), "-c".into(), script]
}

fn start(home: &Home, options: &[&str], server: &[String; 3]) -> Serving {
    Serving::start(home, options, &server.each_ref().map(String::as_str))
}

#[test]
fn arguments_that_do_not_fit_never_reach_the_server() {
    let home = cast();
    let serving = Serving::notes(&home, &["--validate", "--audit", "audit.jsonl"]);
    // Before anybody has asked for the tools.
    let mut talk = Talk::with(&home, &serving.address, "a");
    let read = |talk: &mut Talk, arguments: Value| talk.calls("read_note", &arguments);
    let wrong = "Invalid arguments: arguments/title: it is not of type \"string\"";
    assert_eq!(read(&mut talk, json!({"title": ["hunter2"]})), wrong);
    let missing = "Invalid arguments: arguments: \"title\" is a required property";
    assert_eq!(read(&mut talk, json!({"text": "hunter2"})), missing);
    assert_eq!(read(&mut talk, json!({"title": "launch plan"})), "We launch on the first of May.");
    assert_eq!(talk.calls("no_such_tool", &json!({})), "Unknown tool: no_such_tool");
    let listed = talk.asks("tools/list", &json!({}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 3);
    assert_eq!(read(&mut talk, json!({"title": 1})), wrong);
    talk.leaves();
    // And as a command says it.
    let call = ["call", &serving.address, "--identity", "a", "read_note", "{\"title\": 1}"];
    let output = home.command(VOUCHSAFE).args(call).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, format!("error: {wrong} (code -32602)\n"));
    assert!(serving.stops(Signal::TERM).0.success());
    let audit = std::fs::read_to_string(home.path("audit.jsonl")).unwrap();
    let reason = "the arguments do not fit the tool's schema at /properties/title/type";
    let denied = audit.lines().filter(|line| line.contains("\"denied\"") && line.contains(reason));
    assert_eq!(denied.count(), 3, "{audit}");
    assert!(!audit.contains("hunter2"), "{audit}");
}

#[test]
fn a_server_that_hides_its_tools_or_their_schemas_gets_no_calls() {
    let home = cast();
    let tool = r#"{"name":"a","inputSchema":{"type":"object","$ref":"http://127.0.0.1:1/x"}}"#;
    let answers = format!(
        r#"    tools/list) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"tools":[{tool},{{"name":"b"}}]}}}}\n' "$id";;
    tools/call) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"content":[]}}}}\n' "$id";;"#
    );
    let serving = start(&home, &["--validate"], &server(&answers));
    let mut talk = Talk::begin(&home, &serving.address, "a", &[]);
    let refused = talk.calls("a", &json!({}));
    assert_eq!(
        refused,
        "Refused: the arguments cannot be checked: the tool's schema cannot be used: it refers to something outside of itself, or by an anchor"
    );
    assert!(talk.calls("b", &json!({})).ends_with("it does not describe an object"));
    talk.leaves();
    let none = r#"    tools/list) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id";;"#;
    let silent = start(&home, &["--validate"], &server(none));
    let mut talk = Talk::begin(&home, &silent.address, "a", &[]);
    let refused = talk.calls("a", &json!({}));
    assert_eq!(
        refused,
        "Refused: the arguments cannot be checked: the server does not list its tools"
    );
    talk.leaves();
    for serving in [serving, silent] {
        let lines = serving.stops(Signal::TERM).1;
        assert!(lines.iter().any(|line| line.ends_with("asked tools/list")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.ends_with("asked tools/call")), "{lines:#?}");
    }
}

/// The first message from the `from`th on that holds this, and where it stands.
fn heard(talk: &Talk, from: usize, text: &str) -> (usize, Value) {
    let (at, line) = talk.hears.wait_for(from, text);
    (at, serde_json::from_str(&line).unwrap())
}

#[test]
fn what_looks_like_a_secret_never_reaches_the_client() {
    let home = cast();
    let key = format!("ghp_{}", "aB3".repeat(12));
    // The first letter is escaped: what counts is what it means.
    let escaped = key.replacen('g', "\\\\u0067", 1);
    let answers = format!(
        r#"    tools/call) printf '{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{key}"}}}}\n'
        printf '{{"jsonrpc":"2.0","id":%s,"result":{{"content":[{{"type":"text","text":"it is {escaped}, of Project X"}}],"structuredContent":{{"k":["{key}"]}},"requestState":"{key}"}}}}\n' "$id";;
    resources/read) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"cacheScope":"public","contents":[{{"uri":"a:{key}","text":"{key}"}}]}}}}\n' "$id";;
    prompts/get) printf '{{"jsonrpc":"2.0","id":%s,"error":{{"code":1,"message":"{key}"}}}}\n' "$id";;"#
    );
    home.run(&[
        "issue",
        "b",
        "--allow",
        "tools:*",
        "--allow",
        "resources:*",
        "--allow",
        "prompts:*",
    ]);
    let options = ["--redact", "--redact-pattern", "Project [A-Z]", "--audit", "audit.jsonl"];
    let serving = start(&home, &options, &server(&answers));
    let mut talk = Talk::begin(&home, &serving.address, "b", &[]);
    talk.says(
        &json!({"jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": {"name": "x"}}),
    );
    let (at, told) = heard(&talk, 0, "notifications/message");
    assert_eq!(told["params"], json!({"level": "info", "data": "[redacted]"}));
    let (at, mut answer) = heard(&talk, at + 1, "result");
    let content = json!([{"type": "text", "text": "it is [redacted], of [redacted]"}]);
    let structured = json!({"k": ["[redacted]"]});
    // What the server wants back it gets back: only the gateway's mark comes before it.
    let state = answer["result"].as_object_mut().unwrap().remove("requestState").unwrap();
    assert!(state.as_str().unwrap().ends_with(&format!(".{key}")), "{state}");
    let expected = json!({"content": content, "structuredContent": structured});
    assert_eq!(answer["result"], expected);
    talk.says(
        &json!({"jsonrpc": "2.0", "id": "r", "method": "resources/read", "params": {"uri": "a:x"}}),
    );
    let (at, answer) = heard(&talk, at + 1, "result");
    let contents = json!([{"uri": format!("a:{key}"), "text": "[redacted]"}]);
    assert_eq!(answer["result"], json!({"cacheScope": "private", "contents": contents}));
    talk.says(
        &json!({"jsonrpc": "2.0", "id": "p", "method": "prompts/get", "params": {"name": "x"}}),
    );
    let (_, answer) = heard(&talk, at + 1, "error");
    assert_eq!(answer["error"], json!({"code": 1, "message": "[redacted]"}));
    talk.leaves();
    assert!(serving.stops(Signal::TERM).0.success());
    // How many is on record, and never what.
    let audit = std::fs::read_to_string(home.path("audit.jsonl")).unwrap();
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let counted = events.filter_map(|event| {
        Some((event["event"].as_str()?.to_owned(), event["redacted"].as_u64()?))
    });
    let expected = [("redacted", 1), ("answered", 3), ("answered", 1), ("answered", 1)];
    assert_eq!(
        counted.collect::<Vec<_>>(),
        expected.map(|(event, times)| (event.to_owned(), times))
    );
    assert!(!audit.contains("ghp_") && !audit.contains("Project"), "{audit}");
}

#[test]
fn patterns_that_are_none_are_told() {
    let home = cast();
    for (pattern, expected) in [("(", "unclosed group"), ("a*", "matches where there is nothing")] {
        let serve = ["serve", "--identity", "gw", "--redact-pattern", pattern, "--", "true"];
        let output = home.command(VOUCHSAFE).args(serve).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said.starts_with(&format!("error: --redact-pattern {pattern}: ")), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
