//! Tasks: whose they are, and for how long they are known.

use super::*;

#[test]
fn a_task_belongs_to_the_session_whose_call_started_it() {
    for created in [json!({"task": {"taskId": "T"}}), json!({"resultType": "task", "taskId": "T"})]
    {
        let mut policy = policy(&["tools:t"]);
        policy.refuses(request(1, "tasks/get", json!({"taskId": "T"})), -32602);
        policy.passes_from_client(request(
            1,
            "tools/call",
            json!({"name": "t", "task": {}, "_meta": {"progressToken": 9}}),
        ));
        policy.passes_from_server(response(1, created));
        for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/update"] {
            policy.passes_from_client(request(method, method, json!({"taskId": "T"})));
            policy.refuses(request(2, method, json!({"taskId": "U"})), -32602);
        }
        // The token of the call stays good for as long as its task.
        policy.passes_from_server(notification(
            "notifications/progress",
            json!({"progressToken": 9, "progress": 1}),
        ));
        policy
            .passes_from_server(notification("notifications/tasks/status", json!({"taskId": "T"})));
        assert_eq!(
            policy.server_says(&notification("notifications/tasks", json!({"taskId": "U"}))),
            Fate::Dropped
        );
        policy.passes_from_client(request(3, "tasks/list", json!({})));
        let Fate::Forwarded(list) =
            policy.server_says(&response(3, json!({"tasks": [{"taskId": "T"}, {"taskId": "U"}]})))
        else {
            panic!()
        };
        assert_eq!(list["result"]["tasks"], json!([{"taskId": "T"}]));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn of_too_many_tasks_the_oldest_is_forgotten() {
    let mut policy = policy(&["tools:t"]);
    for id in 0..=4096 {
        policy.passes_from_client(request(id, "tools/call", json!({"name": "t", "task": {}})));
        policy.passes_from_server(response(id, json!({"task": {"taskId": id.to_string()}})));
    }
    policy.refuses(request("old", "tasks/get", json!({"taskId": "0"})), -32602);
    for (id, task) in [("second", "1"), ("latest", "4096")] {
        policy.passes_from_client(request(id, "tasks/get", json!({"taskId": task})));
    }
}

#[test]
fn a_tool_result_is_no_task_unless_it_says_so() {
    let mut policy = policy(&["tools:t"]);
    policy.passes_from_client(request(1, "tools/call", json!({"name": "t"})));
    policy.passes_from_server(response(1, json!({"content": [], "taskId": "T"})));
    policy.refuses(request(2, "tasks/get", json!({"taskId": "T"})), -32602);
}

#[test]
fn a_task_is_heard_of_while_the_lists_are_stale_only_if_what_began_it_goes_on() {
    let is_stale = Arc::new(AtomicBool::new(false));
    let whole = held(&["tools:read_*", "tools:write"]);
    let rest = whole.intersection(&held(&["tools:read_*"]));
    let mut policy =
        ClientPolicy::of(Held::new(whole, rest, Arc::clone(&is_stale)), Arc::new(Rules::default()));
    for (id, tool) in [(1, "read_notes"), (2, "write")] {
        let call = json!({"name": tool, "task": {}, "_meta": {"progressToken": tool}});
        policy.passes_from_client(request(id, "tools/call", call));
        policy.passes_from_server(response(id, json!({"task": {"taskId": tool}})));
    }
    let status = |task| notification("notifications/tasks/status", json!({"taskId": task}));
    let progress = |token| notification("notifications/progress", json!({"progressToken": token}));
    is_stale.store(true, Ordering::Relaxed);
    for said in [status("read_notes"), progress("read_notes")] {
        policy.passes_from_server(said);
    }
    for unsaid in [status("write"), progress("write")] {
        assert_eq!(policy.server_says(&unsaid), Fate::Dropped);
    }
    policy.passes_from_client(request(3, "tasks/get", json!({"taskId": "read_notes"})));
    policy.refuses(request(4, "tasks/get", json!({"taskId": "write"})), -32600);
    is_stale.store(false, Ordering::Relaxed);
    for said in [status("write"), progress("write")] {
        policy.passes_from_server(said);
    }
    policy.passes_from_client(request(5, "tasks/get", json!({"taskId": "write"})));
}
