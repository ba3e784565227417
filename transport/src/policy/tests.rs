//! The policy as stories: a client says, a server answers, and what comes through is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};
use vouchsafe_certs::{Permission, PermissionSet};

use super::*;

mod arguments;
mod in_flight;
mod lists;
mod questions;
mod tasks;

fn held(texts: &[&str]) -> PermissionSet {
    texts.iter().map(|text| Permission::parse(text).unwrap()).collect()
}

fn policy(texts: &[&str]) -> ClientPolicy {
    ClientPolicy::new(held(texts), Arc::new(Rules::default()))
}

/// What came of a message.
#[derive(Debug, PartialEq)]
enum Fate {
    Forwarded(Value),
    Answered(Value),
    Dropped,
    /// The server is asked for its tools first.
    LookedUp(Value),
    /// It has said which they are.
    Known,
}

fn fate(verdict: Verdict<'_>) -> Fate {
    let parse = |line: &[u8]| serde_json::from_slice(line).unwrap();
    match verdict {
        Verdict::Forward(permit) => Fate::Forwarded(parse(permit.line())),
        Verdict::Answer(line) => Fate::Answered(parse(&line)),
        Verdict::Drop => Fate::Dropped,
        Verdict::LookUp(permit) => Fate::LookedUp(parse(permit.line())),
        Verdict::LookedUp => Fate::Known,
    }
}

impl ClientPolicy {
    fn client_says(&mut self, message: &Value) -> Fate {
        fate(self.judge_client(message.to_string().as_bytes()).verdict)
    }

    fn server_says(&mut self, message: &Value) -> Fate {
        fate(self.judge_server(message.to_string().as_bytes()).verdict)
    }

    #[track_caller]
    fn passes_from_client(&mut self, message: Value) {
        assert_eq!(self.client_says(&message), Fate::Forwarded(message));
    }

    #[track_caller]
    fn passes_from_server(&mut self, message: Value) {
        assert_eq!(self.server_says(&message), Fate::Forwarded(message));
    }

    #[track_caller]
    fn refuses(&mut self, message: Value, code: i32) -> String {
        let Fate::Answered(answer) = self.client_says(&message) else { panic!("{message} passed") };
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(answer["id"], message["id"]);
        answer["error"]["message"].as_str().unwrap().to_owned()
    }
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

fn response(id: impl Into<Value>, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "result": result})
}

#[test]
fn a_permitted_call_passes_both_ways_untouched() {
    let mut policy = policy(&["tools:echo"]);
    policy.passes_from_client(request(
        1,
        "tools/call",
        json!({"name": "echo", "arguments": {"Name": 1.10}}),
    ));
    policy.passes_from_server(response(1, json!({"content": [], "x-future": [1.10]})));
    // One request, one answer.
    assert_eq!(policy.server_says(&response(1, json!({}))), Fate::Dropped);
}

#[test]
fn the_octets_forwarded_are_the_octets_judged() {
    let line = br#" {"jsonrpc":"2.0", "id":1,"method":"tools\/call","params":{"arguments":{"n":1.10e+2},"name":"\u0065cho"}} "#;
    let mut policy = policy(&["tools:echo"]);
    let Verdict::Forward(permit) = policy.judge_client(line).verdict else { panic!() };
    assert_eq!(permit.line(), line);
}

#[test]
fn a_hidden_tool_and_an_absent_one_answer_alike() {
    let mut policy = policy(&["tools:echo"]);
    for name in ["exists", "does_not"] {
        let message = policy.refuses(request(7, "tools/call", json!({"name": name})), -32602);
        assert_eq!(message, format!("Unknown tool: {name}"));
    }
    assert_eq!(
        policy.refuses(request(8, "prompts/get", json!({"name": "p"})), -32602),
        "Unknown prompt: p"
    );
    assert_eq!(
        policy.refuses(request(9, "resources/read", json!({"uri": "a:b"})), -32602),
        "Resource not found"
    );
}

#[test]
fn denials_are_explained_where_the_operator_says_so() {
    let rules = Rules { explain_denials: true, ..Rules::default() };
    let mut policy = ClientPolicy::new(held(&[]), Arc::new(rules));
    let message = policy.refuses(request(1, "tools/call", json!({"name": "x"})), -32602);
    assert_eq!(message, "Denied: needs the permission tools:x");
}

#[test]
fn an_operator_may_ask_for_another_permission() {
    let mut rules = Rules::default();
    rules.require("read_file", "files:read").unwrap();
    assert!(rules.require("x", "files:*").is_err());
    let mut policy = ClientPolicy::new(held(&["files:read", "tools:write_file"]), Arc::new(rules));
    policy.passes_from_client(request(1, "tools/call", json!({"name": "read_file"})));
    policy.passes_from_client(request(2, "tools/list", json!({})));
    let tools = json!([{"name": "read_file"}, {"name": "write_file"}, {"name": "other"}]);
    let Fate::Forwarded(list) = policy.server_says(&response(2, json!({"tools": tools}))) else {
        panic!()
    };
    assert_eq!(list["result"]["tools"], json!([{"name": "read_file"}, {"name": "write_file"}]));
    // A permission of the tool's own name is no longer what is asked for.
    let mut rules = Rules::default();
    rules.require("read_file", "files:read").unwrap();
    let mut other = ClientPolicy::new(held(&["tools:*"]), Arc::new(rules));
    other.refuses(request(1, "tools/call", json!({"name": "read_file"})), -32602);
}

#[test]
fn what_two_parsers_might_read_differently_never_passes() {
    let mut policy = policy(&["tools:ok"]);
    for (line, id) in [
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok","name":"danger"}}"#,
            json!(null),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok","Name":"danger"}}"#,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"},"Params":{"name":"danger"}}"#,
            json!(1),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["ok"]}}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, json!(1)),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ok"}}]"#, json!(null)),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"ok"}}"#,
            json!(null),
        ),
        ("not json", json!(null)),
    ] {
        let judgement = policy.judge_client(line.as_bytes());
        assert!(matches!(judgement.record.unwrap().decision, Decision::Denied(_)), "{line}");
        let Fate::Answered(answer) = fate(judgement.verdict) else { panic!("{line} passed") };
        assert_eq!(answer.get("id").cloned().unwrap_or_default(), id, "{line}");
    }
    // Inside arguments, keys are the tool's own.
    policy.passes_from_client(request(
        2,
        "tools/call",
        json!({"name": "ok", "arguments": {"Name": 1, "NAME": 2}}),
    ));
}

#[test]
fn unknown_methods_and_notifications_need_a_permission_of_their_own() {
    let mut none = policy(&["tools:*", "resources:*", "prompts:*"]);
    assert_eq!(none.refuses(request(1, "x/y", json!({})), -32601), "Method not found");
    assert_eq!(none.client_says(&notification("notifications/x", json!({}))), Fate::Dropped);
    assert_eq!(none.server_says(&notification("notifications/x", json!({}))), Fate::Dropped);
    let mut some = policy(&["methods:x/*", "methods:notifications/x"]);
    some.passes_from_client(request(1, "x/y", json!({})));
    some.passes_from_server(response(1, json!({"anything": 1})));
    some.passes_from_client(notification("notifications/x", json!({})));
    some.passes_from_server(notification("notifications/x", json!({})));
}

#[test]
fn a_method_that_only_looks_like_one_is_refused_whatever_the_permissions() {
    let mut policy = policy(&["methods:*", "tools:ok"]);
    for method in ["Tools/call", "TOOLS/CALL", "tools/Call", "resources/READ"] {
        policy.refuses(request(1, method, json!({"name": "danger"})), -32600);
    }
}

#[test]
fn a_request_without_an_id_is_no_notification() {
    let mut policy = policy(&["*"]);
    for method in ["tools/call", "tools/list", "Tools/Call"] {
        let message = notification(method, json!({"name": "hidden"}));
        assert_eq!(policy.client_says(&message), Fate::Dropped, "{method}");
    }
}

#[test]
fn completion_needs_what_its_reference_needs() {
    let mut policy = policy(&["prompts:p", "resources:demo://text/*"]);
    let complete = |reference: Value| {
        request(
            1,
            "completion/complete",
            json!({"ref": reference, "argument": {"name": "x", "value": ""}}),
        )
    };
    policy.refuses(complete(json!({"type": "ref/prompt", "name": "q"})), -32602);
    policy.refuses(complete(json!({"type": "ref/resource", "uri": "demo://blob/{id}"})), -32602);
    policy.refuses(complete(json!({"type": "ref/other", "name": "p"})), -32602);
    policy.refuses(complete(json!({"type": "ref/prompt", "name": "p", "Name": "q"})), -32600);
    policy.passes_from_client(complete(json!({"type": "ref/prompt", "name": "p"})));
    policy.passes_from_server(response(1, json!({"completion": {"values": []}})));
    policy.passes_from_client(complete(json!({"type": "ref/resource", "uri": "demo://text/{id}"})));
}

#[test]
fn subscriptions_are_narrowed_and_their_notifications_must_belong_to_one() {
    let mut policy = policy(&["resources:a:*", "tools:t"]);
    let listen = |uris: Value| json!({"_meta": {}, "notifications": {"toolsListChanged": true, "resourceSubscriptions": uris, "taskIds": ["foreign"], "unknown": 1}});
    let Fate::Forwarded(line) =
        policy.client_says(&request("L", "subscriptions/listen", listen(json!(["a:1", "b:1"]))))
    else {
        panic!()
    };
    let narrowed =
        json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1"], "taskIds": []});
    assert_eq!(line["params"]["notifications"], narrowed);

    let tagged = |id: Value| json!({"io.modelcontextprotocol/subscriptionId": id});
    let acknowledged = |id: Value, uris: Value| {
        notification(
            "notifications/subscriptions/acknowledged",
            json!({"_meta": tagged(id), "notifications": {"resourceSubscriptions": uris}}),
        )
    };
    policy.passes_from_server(acknowledged(json!("L"), json!(["a:1"])));
    assert_eq!(policy.server_says(&acknowledged(json!("L"), json!(["b:1"]))), Fate::Dropped);
    assert_eq!(policy.server_says(&acknowledged(json!("M"), json!([]))), Fate::Dropped);

    let updated = |uri: &str| {
        notification(
            "notifications/resources/updated",
            json!({"_meta": tagged(json!("L")), "uri": uri}),
        )
    };
    policy.passes_from_server(updated("a:1/sub"));
    assert_eq!(policy.server_says(&updated("b:1")), Fate::Dropped);

    policy.passes_from_client(notification("notifications/cancelled", json!({"requestId": "L"})));
    assert_eq!(policy.server_says(&updated("a:1")), Fate::Dropped);
}

#[test]
fn a_uri_that_servers_resolve_to_another_is_not_permitted_by_its_beginning() {
    let mut some = policy(&["resources:file:///docs/*", "resources:demo://docs/*"]);
    for uri in [
        "file:///docs/../secret/key",
        "file:///docs/.%2E/secret/key",
        "file:///docs/%2e%2e/secret",
        "file:///docs/a%2f..%2f..%2fsecret",
        "file:///docs/..\\secret",
        "file:///docs/./x",
        "file:///docs/ ../x",
        "demo://docs/a/../../x",
        "demo://docs/..",
        "demo://docs/..#x",
        // Nor in what a server may take for the rest of a path.
        "file:///docs/x?/../../etc/passwd",
        "file:///docs/x#/../../etc/passwd",
        "file:///docs/x?/%2E./.%2e/etc/passwd",
        "file:///docs/x?a=b%2f..%2f..%2fetc/passwd",
        "file:///docs/x#%5c..%5cx",
        "file:///docs/x%3f..%23/secret",
        "demo://docs/x?..",
        "demo://docs/x#y?./z",
    ] {
        some.refuses(request(1, "resources/read", json!({"uri": uri})), -32602);
    }
    let plain = [
        "file:///docs/..a",
        "file:///docs/a..b/c.md",
        "demo://docs/x?y=../z",
        "demo://docs/x?y=a..b#1.2",
    ];
    for (nth, uri) in plain.iter().enumerate() {
        some.passes_from_client(request(nth, "resources/read", json!({"uri": uri})));
    }
    // To whom everything is permitted, nothing is hidden behind a detour.
    policy(&["resources:*"]).passes_from_client(request(
        1,
        "resources/read",
        json!({"uri": "file:///a b/../c"}),
    ));
}

#[test]
fn lifecycle_needs_no_permission() {
    let mut policy = policy(&[]);
    for method in ["initialize", "server/discover", "ping", "logging/setLevel"] {
        policy.passes_from_client(request(method, method, json!({})));
    }
    policy.passes_from_client(notification("notifications/initialized", json!({})));
    policy.passes_from_server(notification(
        "notifications/message",
        json!({"level": "info", "data": 1}),
    ));
    policy.passes_from_server(notification("notifications/tools/list_changed", json!({})));
}

#[test]
fn what_servers_print_by_mistake_goes_no_further() {
    let mut policy = policy(&["*"]);
    for line in [
        "Listening on port 3000",
        "{\"level\":\"info\"}",
        "[]",
        "{\"jsonrpc\":\"2.0\",\"error\":{}}",
    ] {
        assert_eq!(fate(policy.judge_server(line.as_bytes()).verdict), Fate::Dropped, "{line}");
    }
}

#[test]
fn records_name_what_was_asked_but_never_with_what() {
    let mut policy = policy(&["tools:t"]);
    let line = request(1, "tools/call", json!({"name": "t", "arguments": {"secret": "hunter2"}}))
        .to_string();
    let record = policy.judge_client(line.as_bytes()).record.unwrap();
    assert_eq!((record.method.as_str(), record.name.as_deref()), ("tools/call", Some("t")));
    assert_eq!(record.decision, Decision::Allowed);
    assert!(!format!("{record:?}").contains("hunter2"));
    let long = "x".repeat(10_000);
    let line = request(2, "tools/call", json!({"name": long})).to_string();
    assert_eq!(policy.judge_client(line.as_bytes()).record.unwrap().name.unwrap().len(), 256);
}

fn sets() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("(tools|prompts|resources|files):([ab]{1,2}|[ab]{0,1}\\*)", 0..4)
}

proptest! {
    /// Whatever a server lists and whatever a client holds: an item is shown if and only if it can be used.
    #[test]
    fn listed_if_and_only_if_callable(
        permissions in sets(),
        names in prop::collection::vec("[ab]{1,3}", 0..6),
        required in prop::option::of(("[ab]{1,2}", "(tools|files):[ab]{1,2}")),
    ) {
        let held: PermissionSet = permissions.iter().map(|text| Permission::parse(text).unwrap()).collect();
        let mut rules = Rules::default();
        if let Some((tool, permission)) = &required {
            rules.require(tool, permission).unwrap();
        }
        let rules = Arc::new(rules);
        for (list, member, identity, use_one) in [
            ("tools/list", "tools", "name", "tools/call"),
            ("prompts/list", "prompts", "name", "prompts/get"),
            ("resources/list", "resources", "uri", "resources/read"),
        ] {
            let mut policy = ClientPolicy::new(held.clone(), Arc::clone(&rules));
            policy.passes_from_client(request(0, list, json!({})));
            let items: Vec<Value> = names.iter().map(|name| json!({identity: name})).collect();
            let Fate::Forwarded(line) = policy.server_says(&response(0, json!({member: items}))) else { panic!() };
            let shown = line["result"][member].as_array().unwrap();
            for (nth, name) in names.iter().enumerate() {
                let listed = shown.contains(&json!({identity: name}));
                let used = policy.client_says(&request(nth + 1, use_one, json!({identity: name})));
                prop_assert_eq!(listed, matches!(used, Fate::Forwarded(_)), "{} {}", use_one, name);
            }
        }
    }

    /// Nothing a client can write makes the policy panic, and what is forwarded is what was sent.
    #[test]
    fn any_octets_are_judged(line in prop::collection::vec(any::<u8>(), 0..80), text in "\\{\"(jsonrpc|id|method|params)\":[\"0-9.,:a-z{}\\[\\]]{0,40}\\}") {
        for line in [&line[..], text.as_bytes()] {
            let mut policy = policy(&["*"]);
            if let Verdict::Forward(permit) = policy.judge_client(line).verdict {
                prop_assert_eq!(permit.line(), line);
            }
            policy.judge_server(line);
        }
    }
}

#[test]
fn while_the_lists_are_stale_only_what_the_operator_named_goes_on() {
    let is_stale = Arc::new(AtomicBool::new(false));
    let whole = held(&["tools:read_*", "tools:write", "methods:custom/*", "resources:*"]);
    let rest = whole.intersection(&held(&["tools:read_*", "tools:erase"]));
    let mut policy =
        ClientPolicy::of(Held::new(whole, rest, Arc::clone(&is_stale)), Arc::new(Rules::default()));
    let call = |id, tool| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool}});
    policy.passes_from_client(call(1, "write"));

    is_stale.store(true, Ordering::Relaxed);
    policy.passes_from_client(call(2, "read_notes"));
    assert_eq!(
        policy.refuses(call(3, "write"), -32600),
        "Refused: tools:write is suspended while the revocation list is stale"
    );
    // What was never permitted is as absent as ever, also where the operator named it.
    assert_eq!(policy.refuses(call(4, "erase"), -32602), "Unknown tool: erase");
    let ask = |id, method| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"taskId": "t"}});
    for (id, method) in [(5, "custom/x"), (6, "tasks/get")] {
        assert_eq!(
            policy.refuses(ask(id, method), -32600),
            format!("Refused: methods:{method} is suspended while the revocation list is stale")
        );
    }
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "file:///a"}});
    assert_eq!(policy.server_says(&updated), Fate::Dropped);
    // Listed if and only if callable.
    policy.passes_from_client(json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"}));
    let tools = json!([{"name": "read_notes"}, {"name": "write"}]);
    let listed = json!({"jsonrpc": "2.0", "id": 7, "result": {"tools": tools}});
    let Fate::Forwarded(listed) = policy.server_says(&listed) else { panic!("no list") };
    assert_eq!(listed["result"]["tools"], json!([{"name": "read_notes"}]));

    is_stale.store(false, Ordering::Relaxed);
    policy.passes_from_client(call(8, "write"));
    policy.passes_from_server(updated);
}
