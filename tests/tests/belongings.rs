//! What belongs to one client of Streamable HTTP, and somebody else who knows what it is called: over
//! real mutual TLS, before a child per session, one child for all, and a server asked over HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so"
)]

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use vouchsafe_tests::upstream::HttpServer;
use vouchsafe_tests::{
    Answer, HttpClient, Journal, RunningGateway, World, eventually, keeper_over_http,
};
use vouchsafe_transport::{
    ChildCommand, Endpoint, HttpUpstream, Identity, Limits, SharedServer, Upstream,
};

/// What stands behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    ChildOfEach,
    ChildOfAll,
    Http,
}

/// Whether requests have a session or stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Era {
    Sessions,
    Stateless,
}

/// A gateway with a server behind it that gives anything to whoever can name it.
struct Scene {
    gateway: RunningGateway,
    journal: Journal,
    http: HttpServer,
    alice: Identity,
    /// Another principal, and the same one with other permissions and another certificate.
    strangers: [Identity; 2],
    _world: World,
}

/// All that a client can tell answers apart by.
type Told = (StatusCode, Value);

impl Scene {
    async fn new(behind: Behind) -> Self {
        let world = World::new();
        let (journal, http) = (Journal::within(world.folder()), keeper_over_http());
        let command = ChildCommand::new(journal.command(), []).unwrap();
        let upstream = match behind {
            Behind::ChildOfEach => Upstream::Command(command),
            Behind::ChildOfAll => Upstream::Service(
                SharedServer::new(command, &Limits::default(), |error| panic!("{error}")).service(),
            ),
            Behind::Http => {
                let endpoint = Endpoint::parse(&format!("http://{}/mcp", http.address)).unwrap();
                Upstream::Http(Box::new(HttpUpstream::plain(endpoint)))
            }
        };
        let gateway = world.gateway(|config| config.upstream = upstream).await;
        let alice = world.agent("alice", &["tools:*", "resources:*"]);
        let strangers = [
            world.agent("bob", &["tools:*", "resources:*"]),
            world.agent("alice", &["tools:*", "resources:file:*"]),
        ];
        Self { _world: world, gateway, journal, http, alice, strangers }
    }

    async fn client(&self, identity: &Identity, era: Era) -> HttpClient {
        let mut client = HttpClient::connect(self.gateway.address, identity, Some("h2")).await;
        if era == Era::Sessions {
            client.initialize().await;
            let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
            let taken = client.post(&initialized).await.unwrap();
            assert_eq!(taken.status, StatusCode::ACCEPTED);
        }
        client
    }

    /// What the servers have heard of this method, by now.
    fn heard(&self, method: &str) -> Vec<Value> {
        let over_http = self.http.asked().into_iter().map(|asked| asked.body);
        let all = self.journal.heard().into_iter().chain(over_http);
        all.filter(|message| message["method"].as_str() == Some(method)).collect()
    }

    /// Waits until a server has heard of this method so often.
    async fn hears(&self, method: &str, times: usize) {
        let hears = eventually(|| (self.heard(method).len() == times).then_some(())).await;
        hears.unwrap_or_else(|| panic!("{method}: {:#?}", self.heard(method)));
    }
}

/// Tells a story before each kind of server.
async fn before_each(story: impl AsyncFn(&Scene, Behind)) {
    for behind in [Behind::ChildOfEach, Behind::ChildOfAll, Behind::Http] {
        let scene = Scene::new(behind).await;
        story(&scene, behind).await;
    }
}

async fn ask(client: &mut HttpClient, id: u64, method: &str, params: Value) -> Told {
    let answer = client.ask(id, method, params).await.unwrap();
    (answer.status, answer.whole().await)
}

/// What is said of something that there is not. A stream would have no end to be waited for.
async fn not_found(answer: Answer) -> Value {
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    answer.whole().await
}

/// Sends a message that is no request, and says whether it was taken.
async fn say(client: &mut HttpClient, method: &str, params: Value) -> StatusCode {
    let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    client.post(&message).await.unwrap().status
}

async fn get(client: &mut HttpClient, last_event: Option<&str>) -> Answer {
    let mut request = client.request(Method::GET, &Value::Null);
    if let Some(event) = last_event {
        request.headers_mut().insert("last-event-id", event.parse().unwrap());
    }
    client.send(request).await.unwrap()
}

/// A call that is not answered before somebody releases it; its first progress has come.
async fn hold(client: &mut HttpClient, id: u64, token: &str) -> Answer {
    let params = json!({"name": "hold", "arguments": {}, "_meta": {"progressToken": token}});
    let mut held = client.ask(id, "tools/call", params).await.unwrap();
    let progress = held.event().await.unwrap().unwrap();
    assert_eq!(progress["params"]["progressToken"], token, "{progress}");
    held
}

/// What comes next is the answer, and nothing after it.
async fn is_released(client: &mut HttpClient, mut held: Answer, id: u64) {
    client.call("release", json!({})).await;
    let answer = held.event().await.unwrap().unwrap();
    assert_eq!((&answer["id"], text(&answer)), (&json!(id), "released"));
    assert!(held.event().await.unwrap().is_none());
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_session_and_its_events_are_as_unknown_to_others_as_those_that_never_were() {
    before_each(async |scene, _| {
        let mut alice = scene.client(&scene.alice, Era::Sessions).await;
        for _ in 0..5 {
            alice.call("ask", json!({})).await;
        }
        let held = hold(&mut alice, 7, "p").await;
        let event = held.event_id.clone().unwrap();
        let before = scene.heard("tools/list").len();
        for stranger in &scene.strangers {
            let mut other = scene.client(stranger, Era::Sessions).await;
            let own = other.session.clone();
            let mut told = Vec::new();
            for session in [alice.session.clone(), Some("0".repeat(32))] {
                other.session = session;
                let mut all = Vec::new();
                for (id, method) in [(1, "tools/list"), (7, "ping"), (8, "resources/list")] {
                    let answer = other.ask(id, method, json!({})).await.unwrap();
                    all.push(not_found(answer).await);
                }
                for (verb, last_event) in
                    [(Method::GET, None), (Method::GET, Some(&*event)), (Method::DELETE, None)]
                {
                    let mut request = other.request(verb, &Value::Null);
                    if let Some(event) = last_event {
                        request.headers_mut().insert("last-event-id", event.parse().unwrap());
                    }
                    all.push(not_found(other.send(request).await.unwrap()).await);
                }
                let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
                let response = json!({"jsonrpc": "2.0", "id": 7, "result": {}});
                for message in [cancel, response] {
                    all.push(not_found(other.post(&message).await.unwrap()).await);
                }
                told.push(all);
            }
            assert_eq!(told[0], told[1]);

            // Within a session of one's own, another's event.
            other.session = own;
            let foreign = not_found(get(&mut other, Some(&event)).await).await;
            assert_eq!(foreign, not_found(get(&mut other, Some("999-1")).await).await);
            assert_eq!(ask(&mut other, 2, "tools/list", json!({})).await.0, StatusCode::OK);
        }
        assert_eq!(scene.heard("tools/list").len(), before + scene.strangers.len());
        assert_eq!(scene.heard("notifications/cancelled"), Vec::<Value>::new());
        assert_eq!(scene.heard("ping"), Vec::<Value>::new());
        is_released(&mut alice, held, 7).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_in_flight_is_cancelled_and_told_of_under_its_owners_id_alone() {
    before_each(async |scene, behind| {
        let mut alice = scene.client(&scene.alice, Era::Sessions).await;
        let held = hold(&mut alice, 7, "p").await;
        for (number, stranger) in scene.strangers.iter().enumerate() {
            let mut other = scene.client(stranger, Era::Sessions).await;
            // Under the same id there is nothing of theirs, no more than under any other.
            for id in [7, 999] {
                let cancel = json!({"requestId": id});
                let taken = say(&mut other, "notifications/cancelled", cancel).await;
                assert_eq!(taken, StatusCode::ACCEPTED);
            }
            for token in ["p", "q"] {
                let progress = json!({"progressToken": token, "progress": 99});
                let taken = say(&mut other, "notifications/progress", progress).await;
                assert_eq!(taken, StatusCode::ACCEPTED);
            }
            assert_eq!(ask(&mut other, 1, "tools/list", json!({})).await.0, StatusCode::OK);
            assert_eq!(scene.heard("notifications/cancelled").len(), number);
            assert_eq!(scene.heard("notifications/progress"), Vec::<Value>::new());

            // Of their own under the same id and the same token only that is cancelled.
            let mut own = hold(&mut other, 7, "p").await;
            let taken = say(&mut other, "notifications/cancelled", json!({"requestId": 7})).await;
            assert_eq!(taken, StatusCode::ACCEPTED);
            assert!(own.event().await.unwrap().is_none());
            scene.hears("notifications/cancelled", number + 1).await;
            if behind == Behind::ChildOfEach {
                // A server of their own answers nobody else, whatever it is asked.
                other.call("release", json!({})).await;
            }
        }
        is_released(&mut alice, held, 7).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_that_stands_for_itself_is_ended_by_whoever_asked_alone() {
    before_each(async |scene, behind| {
        let mut alice = scene.client(&scene.alice, Era::Stateless).await;
        let held = hold(&mut alice, 7, "p").await;
        for (number, stranger) in scene.strangers.iter().enumerate() {
            let mut other = scene.client(stranger, Era::Stateless).await;
            drop(hold(&mut other, 7, "p").await);
            if behind != Behind::Http {
                // Over HTTP to hang up is to cancel, there as here.
                scene.hears("notifications/cancelled", number + 1).await;
            }
        }
        is_released(&mut alice, held, 7).await;
    })
    .await;
}

#[tokio::test]
async fn a_task_is_not_found_by_anybody_else() {
    before_each(async |scene, _| {
        for (era, methods) in [
            (Era::Sessions, ["tasks/get", "tasks/result", "tasks/cancel"]),
            (Era::Stateless, ["tasks/get", "tasks/update", "tasks/cancel"]),
        ] {
            let mut alice = scene.client(&scene.alice, era).await;
            let made = alice.call("task", json!({})).await["result"].clone();
            let task = made["task"]["taskId"].as_str().or_else(|| made["taskId"].as_str()).unwrap();
            let named = |task: &str| {
                let extensions = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
                json!({"taskId": task, "_meta": {"io.modelcontextprotocol/clientCapabilities": extensions}})
            };
            for stranger in &scene.strangers {
                let mut other = scene.client(stranger, era).await;
                for method in methods {
                    let before = scene.heard(method).len();
                    let foreign = ask(&mut other, 1, method, named(task)).await;
                    let unknown = ask(&mut other, 1, method, named("task-of-nobody")).await;
                    assert_eq!(foreign, unknown, "{method}");
                    let error = json!({"code": -32602, "message": "Task not found"});
                    assert_eq!(foreign.1["error"], error, "{method}");
                    // A server is asked in turns, so this comes after whatever came before.
                    other.call("ask", json!({})).await;
                    assert_eq!(scene.heard(method).len(), before, "{method}");
                }
            }
            for method in methods {
                let before = scene.heard(method).len();
                let (_, own) = ask(&mut alice, 1, method, named(task)).await;
                assert!(own["result"].is_object(), "{own}");
                assert_eq!(scene.heard(method).len(), before + 1, "{method}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_subscription_is_neither_ended_nor_heard_by_anybody_else() {
    before_each(async |scene, behind| {
        let of = |uri: &str| json!({"uri": uri});
        let mut alice = scene.client(&scene.alice, Era::Sessions).await;
        let mut heard = get(&mut alice.beside(), None).await;
        assert!(alice.ask(1, "resources/subscribe", of("file:///alice")).await.is_ok());
        for (number, stranger) in scene.strangers.iter().enumerate() {
            let mut other = scene.client(stranger, Era::Sessions).await;
            let mut overheard = get(&mut other.beside(), None).await;
            let before = scene.heard("resources/unsubscribe").len();
            let foreign = ask(&mut other, 1, "resources/unsubscribe", of("file:///alice")).await;
            let unknown = ask(&mut other, 1, "resources/unsubscribe", of("file:///nobody")).await;
            assert_eq!(foreign, unknown);
            if behind == Behind::ChildOfAll {
                assert_eq!(scene.heard("resources/unsubscribe").len(), before);
            }
            alice.call("touch", of("file:///alice")).await;
            let updated = heard.event().await.unwrap().unwrap();
            assert_eq!(updated["params"]["uri"], "file:///alice");
            let own = format!("file:///stranger-{number}");
            ask(&mut other, 2, "resources/subscribe", of(&own)).await;
            other.call("touch", of(&own)).await;
            // The first that they hear is their own.
            let updated = overheard.event().await.unwrap().unwrap();
            assert_eq!(updated["params"]["uri"], own);
        }
        alice.call("touch", of("file:///alice")).await;
        // And of theirs she has heard nothing in between.
        let updated = heard.event().await.unwrap().unwrap();
        assert_eq!(updated["params"]["uri"], "file:///alice");
    })
    .await;
}

/// One stream of changes (MCP 2026-07-28), once the server has agreed to it.
async fn listen(client: &mut HttpClient, uri: &str, tasks: &[&str]) -> Answer {
    let filter = json!({"resourceSubscriptions": [uri], "taskIds": tasks});
    let asked = client.ask(70, "subscriptions/listen", json!({"notifications": filter})).await;
    let mut listening = asked.unwrap();
    let agreed = listening.event().await.unwrap().unwrap();
    assert_eq!(agreed["method"], "notifications/subscriptions/acknowledged", "{agreed}");
    listening
}

async fn hears_of(listening: &mut Answer, uri: &str) {
    let updated = listening.event().await.unwrap().unwrap();
    let subscription = &updated["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!((&updated["params"]["uri"], subscription), (&json!(uri), &json!(70)), "{updated}");
}

#[tokio::test]
async fn a_stream_of_changes_is_its_listeners() {
    before_each(async |scene, behind| {
        let mut alice = scene.client(&scene.alice, Era::Stateless).await;
        let made = alice.call("task", json!({})).await;
        let task = made["result"]["taskId"].as_str().unwrap();
        let mut heard = listen(&mut alice, "file:///alice", &[task]).await;
        let own = scene.heard("subscriptions/listen").pop().unwrap();
        assert_eq!(own["params"]["notifications"]["taskIds"], json!([task]));
        for (number, stranger) in scene.strangers.iter().enumerate() {
            let mut other = scene.client(stranger, Era::Stateless).await;
            let own = format!("file:///stranger-{number}");
            // Under the same id, and of a task that is not theirs.
            let mut overheard = listen(&mut other, &own, &[task]).await;
            let narrowed = scene.heard("subscriptions/listen").pop().unwrap();
            assert_eq!(narrowed["params"]["notifications"]["taskIds"], json!([]));
            alice.call("touch", json!({"uri": "file:///alice"})).await;
            hears_of(&mut heard, "file:///alice").await;
            other.call("touch", json!({"uri": own})).await;
            hears_of(&mut overheard, &own).await;
            drop(overheard);
            if behind != Behind::Http {
                scene.hears("notifications/cancelled", number + 1).await;
            }
        }
        alice.call("touch", json!({"uri": "file:///alice"})).await;
        hears_of(&mut heard, "file:///alice").await;
    })
    .await;
}

#[tokio::test]
async fn what_a_client_holds_for_a_server_opens_nothing_in_other_hands() {
    before_each(async |scene, _| {
        let with = |state: &str| json!({"name": "ask", "arguments": {}, "requestState": state});
        let states = || {
            let calls = scene.heard("tools/call").into_iter();
            calls.filter(|call| call["params"]["requestState"].is_string()).count()
        };
        let mut alice = scene.client(&scene.alice, Era::Stateless).await;
        let asked = alice.call("ask", json!({})).await;
        let state = asked["result"]["requestState"].as_str().unwrap();
        for stranger in &scene.strangers {
            let mut other = scene.client(stranger, Era::Stateless).await;
            let forged = format!("{}.step 1", "0".repeat(32));
            let foreign = ask(&mut other, 1, "tools/call", with(state)).await;
            for unknown in [&*forged, "step 1", ""] {
                assert_eq!(ask(&mut other, 1, "tools/call", with(unknown)).await, foreign);
            }
            assert_eq!(foreign.1["error"]["code"], -32602, "{foreign:?}");
            other.call("ask", json!({})).await;
            assert_eq!(states(), 0);
        }
        let (_, own) = ask(&mut alice, 1, "tools/call", with(state)).await;
        assert_eq!((text(&own), states()), ("step 1", 1));
    })
    .await;
}
