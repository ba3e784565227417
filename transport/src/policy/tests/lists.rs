//! Lists: what is shown of them, and to whom.

use super::*;

#[test]
fn lists_show_what_can_be_used_and_are_private() {
    let mut policy = policy(&["tools:a*", "resources:demo://text/*", "prompts:p"]);
    for (id, method, member, items, shown) in [
        (
            1,
            "tools/list",
            "tools",
            json!([{"name": "ab", "x": 1.10}, {"name": "b"}]),
            json!([{"name": "ab", "x": 1.10}]),
        ),
        (
            2,
            "prompts/list",
            "prompts",
            json!([{"name": "q"}, {"name": "p"}]),
            json!([{"name": "p"}]),
        ),
        (
            3,
            "resources/list",
            "resources",
            json!([{"uri": "demo://text/1", "name": "n"}, {"uri": "demo://blob/1", "name": "n"}]),
            json!([{"uri": "demo://text/1", "name": "n"}]),
        ),
        (
            4,
            "resources/templates/list",
            "resourceTemplates",
            json!([{"uriTemplate": "demo://text/{id}"}, {"uriTemplate": "demo://blob/{id}"}, {"uriTemplate": "{+any}"}]),
            json!([{"uriTemplate": "demo://text/{id}"}, {"uriTemplate": "{+any}"}]),
        ),
    ] {
        policy.passes_from_client(request(id, method, json!({"cursor": ""})));
        let result = json!({member: items, "nextCursor": "c", "cacheScope": "public", "ttlMs": 5});
        let Fate::Forwarded(line) = policy.server_says(&response(id, result)) else { panic!() };
        let expected =
            json!({member: shown, "nextCursor": "c", "cacheScope": "private", "ttlMs": 5});
        assert_eq!(line, response(id, expected), "{method}");
    }
    policy.passes_from_client(request(5, "tools/list", json!({})));
    let Fate::Forwarded(line) = policy.server_says(&response(5, json!({"tools": []}))) else {
        panic!()
    };
    assert_eq!(line["result"], json!({"tools": [], "cacheScope": "private"}));
}

#[test]
fn a_list_that_cannot_be_filtered_is_not_shown() {
    for result in [
        json!({"tools": {"name": "a"}}),
        json!({"tools": [{"title": "nameless"}]}),
        json!({"tools": [{"name": 1}]}),
        json!({"tools": ["a"]}),
        json!({"tools": [{"name": "a", "Name": "b"}]}),
        json!({"Tools": [{"name": "a"}]}),
        json!({}),
    ] {
        let mut policy = policy(&["tools:*"]);
        policy.passes_from_client(request(1, "tools/list", json!({})));
        let Fate::Forwarded(line) = policy.server_says(&response(1, result.clone())) else {
            panic!()
        };
        assert!(
            line["error"]["code"].is_i64() && line.get("result").is_none(),
            "{result} → {line}"
        );
    }
}

#[test]
fn what_was_read_by_permission_is_not_cached_for_others() {
    let mut policy = policy(&["resources:a:b"]);
    policy.passes_from_client(request(1, "resources/read", json!({"uri": "a:b"})));
    let Fate::Forwarded(line) =
        policy.server_says(&response(1, json!({"contents": [], "cacheScope": "public"})))
    else {
        panic!()
    };
    assert_eq!(line["result"]["cacheScope"], "private");
    policy.passes_from_client(request(1, "resources/read", json!({"uri": "a:b"})));
    policy.passes_from_server(response(1, json!({"contents": []})));
}

#[test]
fn what_is_held_against_every_permission_has_a_limit() {
    use super::super::{client::MAX_LISTENED, list::MAX_ITEMS};
    let mut policy = policy(&["resources:a:*"]);
    let mut lists = |id: i32, items: usize| {
        policy.passes_from_client(request(id, "resources/list", json!({})));
        let resources = vec![json!({"uri": "a:1"}); items];
        let listed = policy.server_says(&response(id, json!({"resources": resources})));
        let Fate::Forwarded(listed) = listed else { panic!() };
        listed["result"]["resources"].as_array().map(Vec::len)
    };
    assert_eq!(lists(1, MAX_ITEMS), Some(MAX_ITEMS));
    assert_eq!(lists(2, MAX_ITEMS + 1), None);

    let filter = |key: &str, count: usize| json!({"notifications": {key: vec!["a:1"; count]}});
    for (nth, key) in ["resourceSubscriptions", "taskIds"].into_iter().enumerate() {
        let listen = |count| request(3 + nth, "subscriptions/listen", filter(key, count));
        policy.refuses(listen(MAX_LISTENED + 1), -32602);
        assert!(matches!(policy.client_says(&listen(MAX_LISTENED)), Fate::Forwarded(_)));
    }
    let agreed = |count| {
        let filter = filter("resourceSubscriptions", count);
        notification("notifications/subscriptions/acknowledged", filter)
    };
    policy.passes_from_server(agreed(MAX_LISTENED));
    assert_eq!(policy.server_says(&agreed(MAX_LISTENED + 1)), Fate::Dropped);
}
