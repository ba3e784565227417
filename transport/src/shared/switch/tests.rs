//! Two sessions and one server: what is one's is not the other's.

use serde_json::{Value, json};

use super::*;

const A: Seat = Seat(1);
const B: Seat = Seat(2);

/// What goes to the server and to each session, as JSON.
#[derive(Debug, Default)]
struct Done {
    to_server: Vec<Value>,
    to_a: Vec<Value>,
    to_b: Vec<Value>,
    closed: Vec<Seat>,
}

fn done(actions: Vec<Action>) -> Done {
    let mut done = Done::default();
    for action in actions {
        let read = |line: Vec<u8>| serde_json::from_slice(&line).unwrap();
        match action {
            Action::ToServer(line) => done.to_server.push(read(line)),
            Action::ToClient(A, line) => done.to_a.push(read(line)),
            Action::ToClient(_, line) => done.to_b.push(read(line)),
            Action::Close(seat) => done.closed.push(seat),
        }
    }
    done
}

#[derive(Default)]
struct Sessions(Switch);

impl Sessions {
    fn client(&mut self, seat: Seat, message: &Value) -> Done {
        done(self.0.hear_client(seat, message.to_string().as_bytes()))
    }

    fn server(&mut self, message: &Value) -> Done {
        done(self.0.hear_server(message.to_string().as_bytes()))
    }

    /// Asks, and gives the number that the server knows the request by.
    fn ask(&mut self, seat: Seat, id: &Value, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let asked = self.client(seat, &request);
        assert_eq!(asked.to_server.len(), 1, "{asked:?}");
        asked.to_server[0]["id"].clone()
    }

    fn answer(&mut self, number: &Value, result: Value) -> Done {
        self.server(&json!({"jsonrpc": "2.0", "id": number, "result": result}))
    }

    fn notify(&mut self, method: &str, params: Value) -> Done {
        self.server(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
    }
}

#[test]
fn the_same_id_and_token_of_two_sessions_are_two() {
    let mut sessions = Sessions::default();
    let call = || json!({"name": "echo", "_meta": {"progressToken": "t"}});
    let a = sessions.ask(A, &json!(1), "tools/call", call());
    let b = sessions.ask(B, &json!(1), "tools/call", call());
    assert_ne!(a, b);
    let told =
        sessions.notify("notifications/progress", json!({"progressToken": b, "progress": 1}));
    assert_eq!((told.to_a.len(), &told.to_b[0]["params"]["progressToken"]), (0, &json!("t")));
    let answered = sessions.answer(&b, json!({"of": "b"}));
    assert_eq!(answered.to_b, [json!({"jsonrpc": "2.0", "id": 1, "result": {"of": "b"}})]);
    assert!(answered.to_a.is_empty());
    // Progress after the answer, a second answer, and an answer to what was never asked.
    assert!(sessions.notify("notifications/progress", json!({"progressToken": b})).to_b.is_empty());
    for number in [b, json!(999), json!("1"), json!(-1)] {
        let answered = sessions.answer(&number, json!({}));
        assert!(answered.to_a.is_empty() && answered.to_b.is_empty());
    }
    assert_eq!(sessions.answer(&a, json!({})).to_a.len(), 1);
}

#[test]
fn a_session_cancels_its_own_requests_alone() {
    let mut sessions = Sessions::default();
    let a = sessions.ask(A, &json!("x"), "tools/call", json!({}));
    let cancel = |id: &Value| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    for id in [&json!("x"), &a] {
        assert!(sessions.client(B, &cancel(id)).to_server.is_empty());
    }
    let cancelled = sessions.client(A, &cancel(&json!("x")));
    assert_eq!(cancelled.to_server[0]["params"]["requestId"], a);
    assert!(sessions.client(A, &cancel(&json!("x"))).to_server.is_empty());
    assert!(sessions.answer(&a, json!({})).to_a.is_empty());
}

#[test]
fn the_server_is_initialized_once_and_says_the_same_to_everybody() {
    let mut sessions = Sessions::default();
    let initialize = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {"protocolVersion": "2025-06-18", "capabilities": {"sampling": {}}}});
    let asked = sessions.client(A, &initialize(7));
    let params = &asked.to_server[0]["params"];
    // It must not take one session's abilities for everybody's, nor its revision.
    assert_eq!(
        (&params["protocolVersion"], &params["capabilities"]),
        (&json!("2025-11-25"), &json!({}))
    );
    let number = asked.to_server[0]["id"].clone();
    assert!(sessions.client(B, &initialize(8)).to_server.is_empty());
    let said =
        json!({"protocolVersion": "2025-06-18", "capabilities": {"logging": {}, "tools": {}}});
    let settled = sessions.answer(&number, said);
    assert_eq!(settled.to_server[0]["method"], "notifications/initialized");
    assert_eq!((&settled.to_a[0]["id"], &settled.to_b[0]["id"]), (&json!(7), &json!(8)));
    assert_eq!(settled.to_b[0]["result"]["capabilities"], json!({"tools": {}}));
    let later = sessions.client(B, &initialize(9));
    assert_eq!((later.to_server.len(), &later.to_b[0]["id"]), (0, &json!(9)));
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert!(sessions.client(A, &initialized).to_server.is_empty());
    // Who has not said so hears of nothing yet.
    let changed = sessions.notify("notifications/tools/list_changed", json!({}));
    assert_eq!((changed.to_a.len(), changed.to_b.len()), (1, 0));

    // A refusal is everybody's too, and the next one may try again.
    let mut sessions = Sessions::default();
    let number = sessions.client(A, &initialize(1)).to_server[0]["id"].clone();
    let refused = sessions.server(
        &json!({"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": "no"}}),
    );
    assert_eq!(refused.to_a[0]["error"]["message"], "no");
    assert_eq!(sessions.client(B, &initialize(1)).to_server.len(), 1);
}

#[test]
fn whoever_subscribed_hears_of_it_and_the_last_one_ends_it() {
    let mut sessions = Sessions::default();
    for seat in [A, B] {
        let number =
            sessions.ask(seat, &json!(1), "resources/subscribe", json!({"uri": "file:///a"}));
        sessions.answer(&number, json!({}));
    }
    let updated = |sessions: &mut Sessions, uri: &str| {
        let told = sessions.notify("notifications/resources/updated", json!({"uri": uri}));
        (told.to_a.len(), told.to_b.len())
    };
    assert_eq!(updated(&mut sessions, "file:///a"), (1, 1));
    assert_eq!(updated(&mut sessions, "file:///a/b"), (1, 1));
    assert_eq!(updated(&mut sessions, "file:///ab"), (0, 0));
    // Who never subscribed ends nothing, and neither does who subscribes in vain.
    let other = json!({"jsonrpc": "2.0", "id": 3, "method": "resources/unsubscribe", "params": {"uri": "file:///c"}});
    assert!(sessions.client(A, &other).to_server.is_empty());
    let number = sessions.ask(A, &json!(4), "resources/subscribe", json!({"uri": "file:///c"}));
    sessions
        .server(&json!({"jsonrpc": "2.0", "id": number, "error": {"code": 1, "message": "no"}}));
    assert_eq!(updated(&mut sessions, "file:///c"), (0, 0));
    let unsubscribe = json!({"jsonrpc": "2.0", "id": 2, "method": "resources/unsubscribe", "params": {"uri": "file:///a"}});
    let unsubscribed = sessions.client(A, &unsubscribe);
    assert_eq!((unsubscribed.to_server.len(), &unsubscribed.to_a[0]["result"]), (0, &json!({})));
    assert_eq!(updated(&mut sessions, "file:///a"), (0, 1));
    let left = done(sessions.0.leave(B));
    assert_eq!(left.to_server[0]["method"], "resources/unsubscribe");
    assert_eq!(updated(&mut sessions, "file:///a"), (0, 0));
}

#[test]
fn a_listener_hears_under_its_own_name() {
    let mut sessions = Sessions::default();
    let number =
        sessions.ask(B, &json!("ears"), "subscriptions/listen", json!({"notifications": {}}));
    let meta = json!({"io.modelcontextprotocol/subscriptionId": number});
    let told = sessions.notify("notifications/tools/list_changed", json!({"_meta": meta}));
    assert_eq!(told.to_b[0]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "ears");
    assert!(told.to_a.is_empty());
    let left = done(sessions.0.leave(B));
    assert_eq!(left.to_server[0]["params"]["requestId"], number);
    let meta = json!({"io.modelcontextprotocol/subscriptionId": number});
    let told = sessions.notify("notifications/tools/list_changed", json!({"_meta": meta}));
    assert!(told.to_b.is_empty());
}

#[test]
fn what_is_said_of_a_task_reaches_whoever_started_it() {
    let mut sessions = Sessions::default();
    let nested = sessions.ask(A, &json!(1), "tools/call", json!({"name": "t", "task": {}}));
    sessions.answer(&nested, json!({"task": {"taskId": "one"}}));
    let flat = sessions.ask(B, &json!(1), "tools/call", json!({"name": "t"}));
    sessions.answer(&flat, json!({"resultType": "task", "taskId": "two"}));
    let told = |sessions: &mut Sessions, task: &str| {
        let told = sessions.notify("notifications/tasks/status", json!({"taskId": task}));
        (told.to_a.len(), told.to_b.len())
    };
    assert_eq!(told(&mut sessions, "one"), (1, 0));
    assert_eq!(told(&mut sessions, "two"), (0, 1));
    assert_eq!(told(&mut sessions, "three"), (0, 0));
    sessions.0.leave(A);
    assert_eq!(told(&mut sessions, "one"), (0, 0));
}

#[test]
fn nobody_is_asked_and_nobody_gets_what_belongs_to_nobody() {
    let mut sessions = Sessions::default();
    sessions.client(A, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    for method in ["sampling/createMessage", "elicitation/create", "roots/list"] {
        let asked = sessions.server(&json!({"jsonrpc": "2.0", "id": "s", "method": method}));
        assert_eq!((asked.to_a.len(), &asked.to_server[0]["error"]["code"]), (0, &json!(-32601)));
    }
    let pinged = sessions.server(&json!({"jsonrpc": "2.0", "id": "s", "method": "ping"}));
    assert_eq!(pinged.to_server[0]["result"], json!({}));
    assert!(sessions.notify("notifications/message", json!({"data": "of b"})).to_a.is_empty());
    let level = json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {"level": "debug"}});
    let refused = sessions.client(A, &level);
    assert_eq!((refused.to_server.len(), &refused.to_a[0]["error"]["code"]), (0, &json!(-32601)));
}

#[test]
fn a_session_ends_when_it_has_said_everything_and_was_answered_everything() {
    let mut sessions = Sessions::default();
    let number = sessions.ask(A, &json!(1), "tools/call", json!({}));
    assert!(done(sessions.0.finish(A)).closed.is_empty());
    assert_eq!(sessions.answer(&number, json!({})).closed, [A]);
    assert_eq!(done(sessions.0.finish(B)).closed, [B]);
}

#[test]
fn an_answer_that_is_too_long_is_an_error_of_whoever_waits_for_it_and_of_nobody_else() {
    let mut sessions = Sessions::default();
    let of_a = sessions.ask(A, &json!("a"), "tools/call", json!({"name": "x"}));
    let of_b = sessions.ask(B, &json!("b"), "tools/call", json!({"name": "x"}));
    let number = of_a.as_u64().unwrap();
    let failed = done(sessions.0.is_too_long(Concerned::Request(number), 100));
    assert_eq!(
        (&failed.to_a[0]["id"], &failed.to_a[0]["error"]["code"]),
        (&json!("a"), &json!(-32603))
    );
    assert!(failed.to_b.is_empty() && failed.to_server.is_empty(), "{failed:?}");
    // It was answered, so whatever comes under that number is nobody's.
    assert!(sessions.answer(&of_a, json!({})).to_a.is_empty());
    let again = done(sessions.0.is_too_long(Concerned::Request(number), 100));
    assert!(again.to_a.is_empty() && again.to_b.is_empty());
    assert!(done(sessions.0.is_too_long(Concerned::Nobody, 100)).to_b.is_empty());
    assert_eq!(sessions.answer(&of_b, json!({})).to_b[0]["id"], "b");
}

#[test]
fn where_an_answer_that_is_too_long_may_be_anybodys_nobody_waits_for_ever() {
    let mut sessions = Sessions::default();
    let of_a = sessions.ask(A, &json!(1), "tools/call", json!({"name": "x"}));
    sessions.ask(B, &json!(1), "tools/list", json!({}));
    let initialize = json!({"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": {}});
    sessions.client(B, &initialize);
    let failed = done(sessions.0.is_too_long(Concerned::Unknown, 100));
    assert_eq!((failed.to_a.len(), failed.to_b.len()), (1, 2));
    for answer in failed.to_a.iter().chain(&failed.to_b) {
        assert_eq!(answer["error"]["code"], -32603, "{answer}");
    }
    // The server may still be at those, of which nobody hears any more.
    assert_eq!(failed.to_server.len(), 2);
    assert!(failed.to_server.iter().all(|said| said["method"] == "notifications/cancelled"));
    assert!(sessions.answer(&of_a, json!({})).to_a.is_empty());
    // Whoever initializes next asks the server anew.
    assert_eq!(sessions.client(A, &initialize).to_server[0]["method"], "initialize");
}
