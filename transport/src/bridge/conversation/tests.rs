//! What is kept of a talk when its session is lost, and what is begun again in the next.

use serde_json::{Value as Json, json};

use super::*;

/// A client and its server, of whose messages the bridge takes note.
#[derive(Default)]
struct Talk(Conversation);

impl Talk {
    /// One that has begun with `initialize`, as up to 2025-11-25.
    fn begun() -> Self {
        let mut talk = Self::default();
        talk.request(0, "initialize", json!({"protocolVersion": "2025-06-18"}));
        assert_eq!(talk.answer(0, agreed("2025-06-18")), Heard::ForClient);
        talk.client(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        talk
    }

    fn client(&mut self, message: Json) -> bool {
        self.0.hear_client(message.to_string().as_bytes())
    }

    fn request(&mut self, id: u64, method: &str, params: Json) {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        assert!(self.client(request));
    }

    fn server(&mut self, message: Json) -> Heard {
        let line = message.to_string();
        self.0.hear_server(&Message::read(line.as_bytes()).unwrap())
    }

    fn answer(&mut self, id: impl Into<Json>, result: Json) -> Heard {
        self.server(json!({"jsonrpc": "2.0", "id": id.into(), "result": result}))
    }

    fn server_asks(&mut self, id: u64) -> Heard {
        let heard = self.server(json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}));
        if heard == Heard::ForClient {
            self.0.asked(Id::Integer(i64::try_from(id).unwrap()));
        }
        heard
    }

    fn lost(&mut self) -> Vec<Json> {
        read(self.0.lose())
    }

    fn restored(&mut self) -> Vec<Json> {
        read(self.0.restore())
    }
}

/// What a server answers that says when its tools change, and does not when its prompts do.
fn agreed(version: &str) -> Json {
    let capabilities = json!({"tools": {"listChanged": true}, "prompts": {"listChanged": false}});
    json!({"protocolVersion": version, "capabilities": capabilities})
}

fn read(lines: Vec<Vec<u8>>) -> Vec<Json> {
    lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn a_lost_session_is_begun_again_with_all_that_was_set_up_in_it() {
    let mut talk = Talk::begun();
    talk.request(1, "logging/setLevel", json!({"level": "debug"}));
    talk.answer(1, json!({}));
    for (id, uri) in [(2, "file:///a"), (3, "file:///b"), (4, "file:///refused")] {
        talk.request(id, "resources/subscribe", json!({"uri": uri}));
    }
    talk.answer(2, json!({}));
    talk.answer(3, json!({}));
    talk.server(json!({"jsonrpc": "2.0", "id": 4, "error": {"code": -32602, "message": "no"}}));
    talk.request(5, "resources/unsubscribe", json!({"uri": "file:///b"}));
    talk.answer(5, json!({}));

    assert!(talk.lost().is_empty());
    let initialize = talk.0.begin_again().unwrap();
    assert_eq!(serde_json::from_slice::<Json>(&initialize).unwrap()["method"], "initialize");
    assert_eq!(talk.answer(0, agreed("2025-06-18")), Heard::Repeated);
    // The certificate may be a renewed one, and permit something else.
    let changed = read(talk.0.changed());
    let methods: Vec<_> = changed.iter().map(|line| line["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["notifications/tools/list_changed"]);
    let restored = talk.restored();
    let methods: Vec<_> = restored.iter().map(|line| line["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["notifications/initialized", "logging/setLevel", "resources/subscribe"]);
    assert_eq!(restored[1]["params"], json!({"level": "debug"}));
    assert_eq!(restored[2]["params"], json!({"uri": "file:///a"}));
    // The client knows nothing of these.
    for line in &restored[1..] {
        assert_eq!(talk.answer(line["id"].clone(), json!({})), Heard::ForNobody);
    }
}

#[test]
fn what_was_in_flight_is_answered_once_and_what_was_cancelled_not_at_all() {
    let mut talk = Talk::begun();
    talk.request(1, "tools/call", json!({"name": "slow"}));
    talk.request(2, "tools/call", json!({"name": "unwanted"}));
    talk.client(json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2},
    }));
    assert!(!talk.0.is_quiet());
    let lost = talk.lost();
    assert_eq!(lost.len(), 1);
    assert_eq!((&lost[0]["id"], &lost[0]["error"]["code"]), (&json!(1), &json!(-32603)));
    assert!(talk.0.is_quiet() && talk.lost().is_empty());
}

#[test]
fn a_request_of_a_lost_server_is_cancelled_and_its_late_answer_reaches_nobody() {
    let mut talk = Talk::begun();
    assert_eq!(talk.server_asks(7), Heard::ForClient);
    assert!(!talk.0.is_quiet());
    let lost = talk.lost();
    assert_eq!(lost[0]["method"], "notifications/cancelled");
    assert_eq!(lost[0]["params"]["requestId"], 7);
    // While that answer may still come, another request under the id would get it.
    assert_eq!(talk.server_asks(7), Heard::Ambiguous(Id::Integer(7)));
    let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {"roots": []}});
    assert!(!talk.client(answer.clone()));
    assert_eq!(talk.server_asks(7), Heard::ForClient);
    assert!(talk.client(answer));
    assert!(talk.0.is_quiet());
}

#[tokio::test(start_paused = true)]
async fn an_id_that_a_lost_server_left_behind_is_free_again_after_a_while() {
    let mut talk = Talk::begun();
    assert_eq!(talk.server_asks(7), Heard::ForClient);
    talk.lost();
    // The client was told that it is cancelled, and keeps quiet as it should.
    tokio::time::advance(LATE - Duration::from_secs(1)).await;
    assert_eq!(talk.server_asks(7), Heard::Ambiguous(Id::Integer(7)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(talk.server_asks(7), Heard::ForClient);
    // Its answer reaches the server that asks now.
    assert!(talk.client(json!({"jsonrpc": "2.0", "id": 7, "result": {"roots": []}})));
    assert!(talk.0.is_quiet());
}

#[test]
fn a_stateless_client_needs_nothing_but_its_subscriptions() {
    let mut talk = Talk::default();
    let listen = json!({"notifications": {"toolsListChanged": true}});
    talk.request(1, "subscriptions/listen", listen.clone());
    talk.request(2, "tools/list", json!({}));
    talk.answer(2, json!({"tools": []}));
    assert!(talk.0.is_quiet() && talk.0.is_under_way());
    assert!(talk.lost().is_empty());
    assert!(talk.0.begin_again().is_none());
    let restored = talk.restored();
    assert_eq!((&restored[0]["id"], &restored[0]["params"]), (&json!(1), &listen));
    assert_eq!(restored.len(), 1);
}

#[test]
fn a_session_in_which_there_is_nothing_to_say_is_kept_by_a_ping_of_our_own() {
    let mut talk = Talk::default();
    assert!(talk.restored().is_empty());
    talk.request(1, "tools/list", json!({}));
    talk.answer(1, json!({"tools": []}));
    let restored = talk.restored();
    assert_eq!((restored.len(), &restored[0]["method"]), (1, &json!("ping")));
    assert_eq!(talk.answer(restored[0]["id"].clone(), json!({})), Heard::ForNobody);
}

#[test]
fn a_server_that_is_not_what_it_was_cannot_take_its_own_place() {
    let mut talk = Talk::begun();
    talk.0.begin_again();
    assert_eq!(talk.answer(0, agreed("2025-11-25")), Heard::Otherwise);
    talk.0.begin_again();
    let failed = json!({"jsonrpc": "2.0", "id": 0, "error": {"code": 1, "message": "busy"}});
    assert_eq!(talk.server(failed), Heard::Failed("busy".into()));
}

#[test]
fn what_is_restored_too_fast_for_the_gateway_is_restored_more_slowly() {
    let mut talk = Talk::begun();
    talk.request(1, "resources/subscribe", json!({"uri": "a:1"}));
    talk.answer(1, json!({}));
    talk.lost();
    let subscribe = talk.restored().pop().unwrap();
    let refused = |wait: u64| {
        json!({"jsonrpc": "2.0", "id": subscribe["id"], "error": {
            "code": 429, "message": "", "data": {"retryAfterMs": wait}}})
    };
    for _ in 0..2 {
        let Heard::TooOften(line, wait) = talk.server(refused(20)) else { panic!("it is lost") };
        assert_eq!((&read(vec![line])[0], wait), (&subscribe, Duration::from_millis(20)));
    }
    assert_eq!(talk.answer(subscribe["id"].clone(), json!({})), Heard::ForNobody);
    // Nobody waits for ever, nor after another error.
    for refused in [
        refused(60_000),
        json!({"jsonrpc": "2.0", "id": subscribe["id"], "error": {"code": 1, "message": ""}}),
    ] {
        talk.lost();
        talk.restored();
        assert_eq!(talk.server(refused), Heard::ForNobody);
    }
}
