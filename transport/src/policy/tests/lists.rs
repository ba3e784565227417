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
