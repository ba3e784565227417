//! What servers ask of clients.

use super::*;

#[test]
fn servers_ask_only_what_the_protocol_knows_and_clients_answer_only_what_was_asked() {
    let mut policy = policy(&[]);
    policy.passes_from_server(request(1, "roots/list", json!({})));
    assert!(matches!(policy.server_says(&request(2, "shell/run", json!({}))), Fate::Answered(_)));
    assert!(matches!(policy.server_says(&request(1, "ping", json!({}))), Fate::Answered(_)));
    assert_eq!(policy.client_says(&response(2, json!({}))), Fate::Dropped);
    policy.passes_from_client(response(1, json!({"roots": []})));
    assert_eq!(policy.client_says(&response(1, json!({}))), Fate::Dropped);
}

#[test]
fn a_server_takes_back_its_own_questions_and_nothing_else() {
    let mut policy = policy(&["tools:*"]);
    let cancelled = |id: i32| notification("notifications/cancelled", json!({"requestId": id}));
    policy.passes_from_client(request(1, "tools/call", json!({"name": "t"})));
    policy.passes_from_server(request(2, "roots/list", json!({})));
    assert_eq!(policy.server_says(&cancelled(1)), Fate::Dropped);
    policy.passes_from_server(cancelled(2));
    // From then on nobody waits for an answer.
    assert_eq!(policy.server_says(&cancelled(2)), Fate::Dropped);
    assert_eq!(policy.client_says(&response(2, json!({"roots": []}))), Fate::Dropped);
    policy.passes_from_server(response(1, json!({"content": []})));
}

#[test]
fn a_server_asks_a_client_only_what_its_certificate_permits() {
    let mut policy = ServerPolicy::new(held(&["client:sampling/createMessage"]));
    let mut judge =
        |message: Value| fate(policy.judge_server(message.to_string().as_bytes()).verdict);
    let sampling = request(1, "sampling/createMessage", json!({}));
    assert_eq!(judge(sampling.clone()), Fate::Forwarded(sampling));
    let ping = request(1, "ping", json!({}));
    assert_eq!(judge(ping.clone()), Fate::Forwarded(ping));
    for method in ["roots/list", "elicitation/create", "anything"] {
        let Fate::Answered(answer) = judge(request(2, method, json!({}))) else {
            panic!("{method}")
        };
        assert_eq!(answer["id"], 2);
    }
    let asking = |method: &str| json!({"resultType": "input_required", "inputRequests": {"k": {"method": method, "params": {}}}});
    let permitted = response(3, asking("sampling/createMessage"));
    assert_eq!(judge(permitted.clone()), Fate::Forwarded(permitted));
    let Fate::Forwarded(refused) = judge(response(3, asking("roots/list"))) else { panic!() };
    assert!(refused["error"].is_object() && refused["id"] == 3);
    assert_eq!(judge(notification("notifications/tasks", asking("roots/list"))), Fate::Dropped);
    let url = json!({"jsonrpc": "2.0", "id": 5, "error": {"code": -32042, "message": "m", "data": {"elicitations": [{"mode": "url", "url": "https://evil.example"}]}}});
    let Fate::Forwarded(refused) = judge(url) else { panic!() };
    assert!(refused["error"].get("data").is_none() && refused["id"] == 5);
    let plain = response(4, json!({"content": []}));
    assert_eq!(judge(plain.clone()), Fate::Forwarded(plain));
    let farewell = json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "too many"}});
    assert_eq!(judge(farewell.clone()), Fate::Forwarded(farewell));
    assert_eq!(policy.farewell(), Some("too many"));
}

#[test]
fn a_gateway_holds_its_server_where_the_client_has_nobody_who_would() {
    let mut policy = policy(&["tools:*"]).with_server(held(&["client:sampling/createMessage"]));
    policy.passes_from_server(request(1, "sampling/createMessage", json!({})));
    let refused = policy.server_says(&request(2, "elicitation/create", json!({})));
    assert!(matches!(refused, Fate::Answered(answer) if answer["id"] == 2));
    // Nothing was asked, so an answer to it is nobody's.
    assert_eq!(policy.client_says(&response(2, json!({"action": "accept"}))), Fate::Dropped);

    let call = |id: i32| request(id, "tools/call", json!({"name": "t"}));
    let asking = |method: &str| json!({"resultType": "input_required", "inputRequests": {"k": {"method": method, "params": {}}}});
    policy.passes_from_client(call(3));
    policy.passes_from_server(response(3, asking("sampling/createMessage")));
    policy.passes_from_client(call(4));
    let Fate::Forwarded(refused) = policy.server_says(&response(4, asking("roots/list"))) else {
        panic!()
    };
    assert!(refused["error"].is_object() && refused["id"] == 4);
    policy.passes_from_client(call(5));
    let url = json!({"jsonrpc": "2.0", "id": 5, "error": {"code": -32042, "message": "m", "data": {"elicitations": []}}});
    let Fate::Forwarded(refused) = policy.server_says(&url) else { panic!() };
    assert!(refused["error"].get("data").is_none() && refused["id"] == 5);
}

#[test]
fn what_a_server_asks_is_on_record_and_so_is_the_answer() {
    let mut policy = policy(&[]);
    let record = |judgement: Judgement<'_>| {
        let record = judgement.record.expect("a record");
        (record.method, record.decision)
    };
    let asks = request(1, "sampling/createMessage", json!({"messages": []})).to_string();
    let (method, decision) = record(policy.judge_server(asks.as_bytes()));
    assert_eq!((&*method, decision), ("sampling/createMessage", Decision::Allowed));
    let answer = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}});
    let (method, decision) = record(policy.judge_client(answer.to_string().as_bytes()));
    assert_eq!(method, "sampling/createMessage");
    assert!(matches!(decision, Decision::Answered { error: true, redacted: 0, .. }));
    // What was withdrawn is not answered any more.
    policy.passes_from_server(request(2, "elicitation/create", json!({})));
    policy.passes_from_server(notification("notifications/cancelled", json!({"requestId": 2})));
    let (method, decision) =
        record(policy.judge_client(response(2, json!({})).to_string().as_bytes()));
    assert_eq!((&*method, decision), ("response", Decision::Denied(Refusal::NotOwn)));
}

#[test]
#[cfg_attr(miri, ignore = "cryptography is C")]
fn what_a_client_holds_for_a_server_is_its_own_and_comes_back_as_it_was() {
    let gateway = Seal::random().unwrap();
    let policy = |principal: &str, permission: &str| {
        policy(&[permission]).with_seal(gateway.of_names(principal, [permission].into_iter()))
    };
    let state = "{\"step\":1}.é";
    let mut alice = policy("alice", "tools:*");
    let call = |id: i32| request(id, "tools/call", json!({"name": "t"}));
    alice.passes_from_client(call(1));
    let asks = response(1, json!({"resultType": "input_required", "requestState": state}));
    let Fate::Forwarded(asked) = alice.server_says(&asks) else { panic!() };
    let held = asked["result"]["requestState"].as_str().unwrap().to_owned();
    assert!(held != state && held.ends_with(state));

    let back = |id: i32, state: Value| {
        request(id, "tools/call", json!({"name": "t", "requestState": state, "arguments": {}}))
    };
    let Fate::Forwarded(again) = alice.client_says(&back(2, held.clone().into())) else { panic!() };
    assert_eq!(again, back(2, state.into()));
    // A session under a renewed certificate is the same principal's.
    let renewed = policy("alice", "tools:*").client_says(&back(3, held.clone().into()));
    assert!(matches!(renewed, Fate::Forwarded(_)));

    let tampered = held.replace("step\":1", "step\":2");
    for (mut other, state) in [
        (policy("bob", "tools:*"), json!(held)),
        (policy("alice", "tools:t"), json!(held)),
        (policy("alice", "tools:*"), json!(tampered)),
        (policy("alice", "tools:*"), json!(state)),
        (policy("alice", "tools:*"), json!("")),
        (policy("alice", "tools:*"), json!({"a": held})),
    ] {
        let Fate::Answered(refused) = other.client_says(&back(4, state)) else { panic!() };
        assert_eq!(refused["error"]["code"], -32602);
    }
}

#[test]
fn whatever_was_asked_what_a_client_holds_comes_back_only_with_its_mark() {
    let gateway = Seal::random().unwrap();
    for (method, params) in [
        ("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})),
        ("tools/list", json!({})),
        ("server/discover", json!({})),
    ] {
        let seal = gateway.of_names("alice", ["tools:*"].into_iter());
        let mut policy = policy(&["tools:*"]).with_seal(seal);
        let back = |id: i32, state: &str| {
            let mut again = request(id, method, params.clone());
            again["params"]["requestState"] = state.into();
            again
        };
        assert_eq!(
            policy.refuses(back(1, "forged"), -32602),
            "Refused: speaks of something that is not this session's"
        );
        policy.passes_from_client(request(2, method, params.clone()));
        let asks = response(2, json!({"requestState": "state", "tools": []}));
        let Fate::Forwarded(asked) = policy.server_says(&asks) else { panic!("{method}") };
        let held = asked["result"]["requestState"].as_str().unwrap();
        assert!(held != "state" && held.ends_with("state"), "{method}: {held}");
        assert_eq!(policy.client_says(&back(3, held)), Fate::Forwarded(back(3, "state")));
    }
}
