//! What calls hold: arguments that do not fit their tool's schema never reach the server.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a test that cannot go on should say so and stop; of what is shared, this one uses a part"
)]

mod home;
mod lines;
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
