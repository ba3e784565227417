//! Calls whose arguments are checked: what the server lists is what they are held to.

use super::*;

const SEARCH: &str = "search";

fn checking() -> ClientPolicy {
    let mut rules = Rules::default();
    rules.validate_arguments();
    ClientPolicy::new(held(&["tools:*"]), Arc::new(rules))
}

fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

fn tool(name: &str) -> Value {
    let properties = json!({"text": {"type": "string", "maxLength": 5}});
    let schema = json!({"type": "object", "properties": properties, "required": ["text"], "additionalProperties": false});
    json!({"name": name, "inputSchema": schema})
}

fn answer(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

impl ClientPolicy {
    /// A client that lists the tools.
    fn lists(&mut self, tools: &Value) {
        self.passes_from_client(json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"}));
        let shown = self.server_says(&answer(&json!("l"), &json!({"tools": tools})));
        assert!(matches!(shown, Fate::Forwarded(_)));
    }

    fn looks_up(&mut self, call: &Value) -> Value {
        match self.client_says(call) {
            Fate::LookedUp(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn says_again(&mut self, message: &Value) -> Fate {
        fate(self.judge_looked_up(message.to_string().as_bytes()).verdict)
    }
}

#[test]
fn arguments_are_held_to_the_schema_that_was_listed() {
    let mut policy = checking();
    policy.lists(&json!([tool(SEARCH)]));
    policy.passes_from_client(call(1, SEARCH, &json!({"text": "abc"})));
    for (arguments, expected) in [
        (json!({"text": 5}), "Invalid arguments: arguments/text: it is not of type \"string\""),
        (
            json!({"text": "geheim"}),
            "Invalid arguments: arguments/text: it is longer than 5 characters",
        ),
        (json!({}), "Invalid arguments: arguments: \"text\" is a required property"),
        (json!([]), "Invalid arguments: arguments: it is not of type \"object\""),
    ] {
        let told = policy.refuses(call(2, SEARCH, &arguments), -32602);
        assert_eq!(told, expected);
    }
    let unexpected = policy.refuses(call(2, SEARCH, &json!({"text": "a", "more": 1})), -32602);
    assert!(
        unexpected.starts_with("Invalid arguments: arguments: Additional properties"),
        "{unexpected}"
    );
    // No arguments at all are none.
    let bare =
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": SEARCH}});
    assert!(policy.refuses(bare, -32602).contains("required"));
    // What some parser would take for the arguments is refused as it is everywhere else.
    let twice = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": SEARCH, "arguments": {"text": "a"}, "Arguments": {"text": 5}}});
    policy.refuses(twice, -32600);
}

#[test]
fn the_record_says_which_rule_and_nothing_of_the_arguments() {
    let mut policy = checking();
    policy.lists(&json!([tool(SEARCH)]));
    let line = call(1, SEARCH, &json!({"text": 123, "password": "hunter2"})).to_string();
    let judgement = policy.judge_client(line.as_bytes());
    let record = judgement.record.unwrap();
    let Decision::Denied(refusal) = &record.decision else { panic!("it passed") };
    let reason = refusal.to_string();
    assert!(reason.starts_with("the arguments do not fit the tool's schema at /"), "{reason}");
    assert!(!reason.contains("123") && !reason.contains("password"), "{reason}");
    assert_eq!(record.name.as_deref(), Some(SEARCH));
    let Verdict::Answer(told) = judgement.verdict else { panic!("it passed") };
    assert!(!String::from_utf8(told).unwrap().contains("hunter2"));
}

#[test]
fn a_call_before_any_list_waits_for_one_in_the_sessions_name() {
    let mut policy = checking();
    let mut first = call(1, SEARCH, &json!({"text": "abc"}));
    first["params"]["_meta"] = json!({
        "progressToken": 7,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let asked = policy.looks_up(&first);
    assert_eq!(
        asked,
        json!({"jsonrpc": "2.0", "id": "vouchsafe:tools/0", "method": "tools/list", "params": {"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }}})
    );
    assert!(policy.is_looking_up());
    // Page after page; the client sees nothing of it.
    let page = answer(&asked["id"], &json!({"tools": [tool("other")], "nextCursor": "p2"}));
    let Fate::Answered(next) = policy.server_says(&page) else { panic!("one page is not all") };
    assert_eq!(next["params"]["cursor"], "p2");
    assert_eq!(next["params"]["_meta"], asked["params"]["_meta"]);
    let page = answer(&next["id"], &json!({"tools": [tool(SEARCH)]}));
    assert_eq!(policy.server_says(&page), Fate::Known);
    assert!(!policy.is_looking_up());
    assert_eq!(policy.says_again(&first), Fate::Forwarded(first.clone()));
    // From now on it is known what there is, and what there is not.
    policy.refuses(call(2, "other", &json!({"text": 5})), -32602);
    let absent = policy.refuses(call(2, "third", &json!({})), -32602);
    assert_eq!(absent, "Unknown tool: third");
    // Until the server says that it has changed.
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    policy.passes_from_server(changed);
    policy.looks_up(&call(2, "third", &json!({})));
}

#[test]
fn a_server_that_does_not_list_its_tools_gets_no_calls() {
    for said in [
        json!({"jsonrpc": "2.0", "id": "vouchsafe:tools/0", "error": {"code": -32601, "message": "no"}}),
        answer(&json!("vouchsafe:tools/0"), &json!({"tools": 5})),
        answer(&json!("vouchsafe:tools/0"), &json!({"Tools": [tool(SEARCH)]})),
    ] {
        let mut policy = checking();
        let waiting = call(1, SEARCH, &json!({"text": "abc"}));
        policy.looks_up(&waiting);
        assert_eq!(policy.server_says(&said), Fate::Known);
        let Fate::Answered(told) = policy.says_again(&waiting) else { panic!("{said} was enough") };
        assert_eq!(told["error"]["code"], -32602);
    }
    // Nor one that never answers; and what it says too late is nobody's.
    let mut policy = checking();
    let waiting = call(1, SEARCH, &json!({"text": "abc"}));
    let asked = policy.looks_up(&waiting);
    policy.give_up_looking();
    assert!(matches!(policy.says_again(&waiting), Fate::Answered(_)));
    let own = json!({"jsonrpc": "2.0", "id": asked["id"], "method": "ping"});
    assert!(policy.refuses(own, -32600).contains("in flight"));
    assert_eq!(policy.server_says(&answer(&asked["id"], &json!({"tools": []}))), Fate::Dropped);
    // It may be asked again.
    policy.looks_up(&waiting);
    // Nobody but the gateway waits for that.
    assert!(policy.abandon("The server ended").is_empty());
}

#[test]
fn a_list_without_end_is_not_followed_to_its_end() {
    let mut policy = checking();
    let waiting = call(1, SEARCH, &json!({"text": "abc"}));
    let mut asked = policy.looks_up(&waiting);
    for page in 1.. {
        let result = json!({"tools": [tool(&format!("t{page}"))], "nextCursor": "more"});
        match policy.server_says(&answer(&asked["id"], &result)) {
            Fate::Answered(next) => asked = next,
            other => {
                assert_eq!((page, other), (64, Fate::Known));
                break;
            }
        }
    }
    assert!(matches!(policy.says_again(&waiting), Fate::Answered(_)));
}

#[test]
fn what_is_not_permitted_is_not_looked_up_and_what_is_off_costs_nothing() {
    let mut rules = Rules::default();
    rules.validate_arguments();
    let mut policy = ClientPolicy::new(held(&["tools:other"]), Arc::new(rules));
    assert_eq!(policy.refuses(call(1, SEARCH, &json!({})), -32602), "Unknown tool: search");
    let mut policy = super::policy(&["tools:*"]);
    policy.passes_from_client(call(1, SEARCH, &json!({"text": 5})));
}
