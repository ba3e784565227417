//! What clients may do to an endpoint, with a server behind it that says what the test wants.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{advance, timeout};

use super::*;
use crate::http::Body;
use crate::streamable::{LAST_EVENT_ID, METHOD, NAME, PROTOCOL_VERSION, SESSION_ID, STATELESS};

const SECOND: Duration = Duration::from_secs(1);

/// An endpoint, and the servers behind its sessions as they are opened.
struct Served {
    endpoint: Arc<Endpoint>,
    opened: Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
    opener: mpsc::UnboundedSender<DuplexStream>,
}

/// The server behind one session.
struct Line(BufReader<DuplexStream>);

impl Line {
    /// The next message from the endpoint.
    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        let read = timeout(SECOND, self.0.read_line(&mut line)).await;
        assert!(read.expect("nothing was sent").unwrap() > 0, "the session is over");
        serde_json::from_str(&line).unwrap()
    }

    async fn say(&mut self, message: &Value) {
        self.0.get_mut().write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// Hears a request and answers it.
    async fn answer(&mut self, result: Value) -> Value {
        let request = self.hear().await;
        self.say(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await;
        request
    }

    /// Before the first call of a stateless session the tools are listed.
    async fn lists(&mut self, tools: Value) {
        assert_eq!(self.answer(json!({"tools": tools})).await["method"], "tools/list");
    }

    /// Whether the other side has closed.
    async fn is_over(&mut self) -> bool {
        self.0.read_line(&mut String::new()).await.unwrap() == 0
    }
}

impl Served {
    fn new() -> Self {
        let limits = EndpointLimits::new(1024 * 1024, 10 * SECOND, 60 * SECOND, 30 * SECOND);
        let (opener, opened) = mpsc::unbounded_channel();
        let endpoint = Arc::new(Endpoint::new(Site::Loopback, limits));
        Self { endpoint, opened: Mutex::new(opened), opener }
    }

    /// The server behind the session that was opened last.
    async fn line(&self) -> Line {
        let mut opened = self.opened.lock().await;
        Line(BufReader::new(timeout(SECOND, opened.recv()).await.unwrap().unwrap()))
    }

    fn is_quiet(&self) -> bool {
        self.opened.try_lock().unwrap().try_recv().is_err()
    }

    async fn ask(&self, request: Request<Bytes>) -> Response<Body> {
        let opener = self.opener.clone();
        let open: Open = Box::new(move |stream| {
            opener.send(stream).unwrap();
            Box::pin(async {})
        });
        self.endpoint.answer(Owner(None), open, request).await
    }

    /// Asks in the background: the answer waits for the test's server.
    fn asking(&self, request: Request<Bytes>) -> tokio::task::JoinHandle<Response<Body>> {
        let opener = self.opener.clone();
        let endpoint = Arc::clone(&self.endpoint);
        let open: Open = Box::new(move |stream| {
            opener.send(stream).unwrap();
            Box::pin(async {})
        });
        tokio::spawn(async move { endpoint.answer(Owner(None), open, request).await })
    }

    /// A session, initialized.
    async fn session(&self, version: &str) -> (String, Line) {
        let asked = self.asking(post(&initialize(version)));
        let mut line = self.line().await;
        line.answer(json!({"protocolVersion": version})).await;
        let response = asked.await.unwrap();
        let id = response.headers()[SESSION_ID].to_str().unwrap().to_owned();
        assert_eq!(whole(response).await.1["result"]["protocolVersion"], version);
        (id, line)
    }
}

fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": version}})
}

fn call(id: impl Into<Value>, token: Option<&str>) -> Value {
    let id: Value = id.into();
    let mut call =
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo"}});
    if let Some(token) = token {
        call["params"]["_meta"] = json!({"progressToken": token});
    }
    call
}

fn post(message: &Value) -> Request<Bytes> {
    Request::post("/mcp")
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .body(Bytes::from(message.to_string()))
        .unwrap()
}

fn with(
    mut request: Request<Bytes>,
    name: hyper::header::HeaderName,
    value: &str,
) -> Request<Bytes> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn within(session: &str, message: &Value) -> Request<Bytes> {
    with(post(message), SESSION_ID, session)
}

fn bare(method: Method, session: &str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri("/mcp").header(HOST, "localhost");
    let request = request.header(ACCEPT, "text/event-stream").header(SESSION_ID, session);
    request.body(Bytes::new()).unwrap()
}

/// A request of the stateless era, with the headers it must have.
fn stateless(message: &Value) -> Request<Bytes> {
    let mut message = message.clone();
    let meta = &mut message["params"]["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = STATELESS.into();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let request = with(post(&message), PROTOCOL_VERSION, STATELESS);
    let request = with(request, METHOD, message["method"].as_str().unwrap());
    match message["params"]["name"].as_str() {
        Some(name) => with(request, NAME, name),
        None => request,
    }
}

async fn whole(response: Response<Body>) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let last = text.lines().rfind(|line| line.starts_with(['{', 'd'])).unwrap_or_default();
    let message = last.strip_prefix("data: ").unwrap_or(last);
    (status, serde_json::from_str(message).unwrap_or(Value::Null))
}

/// The next event of a stream: its id, if it has one, and its message.
async fn event(body: &mut Body) -> Option<(String, Value)> {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        let frame = timeout(30 * SECOND, body.frame()).await.expect("nothing came")?;
        text += std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap();
    }
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let message = serde_json::from_str(field("data: ").unwrap_or_default()).unwrap_or(Value::Null);
    Some((field("id: ").unwrap_or_default().to_owned(), message))
}

/// The last message of a stream.
async fn whole_stream(response: Response<Body>) -> Value {
    let (mut body, mut last) = (response.into_body(), Value::Null);
    while let Some((_, message)) = event(&mut body).await {
        last = message;
    }
    last
}

#[tokio::test]
async fn a_session_is_opened_used_and_ended() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-06-18").await;
    let asked =
        served.asking(within(&id, &json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list"})));
    assert_eq!(line.answer(json!({"tools": []})).await["method"], "tools/list");
    let (status, answer) = whole(asked.await.unwrap()).await;
    assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!("a")));

    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(served.ask(within(&id, &initialized)).await.status(), StatusCode::ACCEPTED);
    assert_eq!(line.hear().await, initialized);

    assert_eq!(served.ask(bare(Method::DELETE, &id)).await.status(), StatusCode::NO_CONTENT);
    assert!(line.is_over().await);
    for request in [within(&id, &initialized), bare(Method::GET, &id), bare(Method::DELETE, &id)] {
        assert_eq!(served.ask(request).await.status(), StatusCode::NOT_FOUND);
    }
    assert!(served.is_quiet());
}

#[tokio::test]
async fn a_server_that_refuses_to_initialize_leaves_no_session() {
    let served = Served::new();
    let asked = served.asking(post(&initialize("2025-06-18")));
    let mut line = served.line().await;
    let id = line.hear().await["id"].clone();
    line.say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "no"}}))
        .await;
    let response = asked.await.unwrap();
    assert!(!response.headers().contains_key(SESSION_ID));
    assert_eq!(whole(response).await.1["error"]["message"], "no");
    assert!(line.is_over().await);

    // Nor does a client that went away meanwhile.
    let asked = served.asking(post(&initialize("2025-06-18")));
    let mut line = served.line().await;
    line.hear().await;
    asked.abort();
    assert!(line.is_over().await);

    // Or says at the end why there is none.
    let asked = served.asking(post(&initialize("2025-06-18")));
    let mut line = served.line().await;
    line.hear().await;
    line.say(&json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "too many"}})).await;
    drop(line);
    let (status, answer) = whole(asked.await.unwrap()).await;
    assert_eq!(
        (status, answer["error"]["message"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("too many"))
    );
}

#[tokio::test(start_paused = true)]
async fn each_request_has_a_stream_of_its_own() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-06-18").await;
    let first = served.asking(within(&id, &call(1, Some("one"))));
    line.hear().await;
    let second = served.asking(within(&id, &call("1", Some("two"))));
    line.hear().await;
    // The same id again, while one is in flight.
    assert_eq!(served.ask(within(&id, &call(1, None))).await.status(), StatusCode::BAD_REQUEST);

    let progress = |token: &str| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
    line.say(&progress("two")).await;
    line.say(&progress("one")).await;
    line.say(&progress("nobody's")).await;
    line.say(&json!({"jsonrpc": "2.0", "id": "1", "result": {"of": "two"}})).await;
    line.say(&json!({"jsonrpc": "2.0", "id": 1, "result": {"of": "one"}})).await;
    let (mut first, mut second) =
        (first.await.unwrap().into_body(), second.await.unwrap().into_body());
    assert_eq!(event(&mut first).await.unwrap().1["params"]["progressToken"], "one");
    assert_eq!(event(&mut first).await.unwrap().1["result"]["of"], "one");
    assert!(event(&mut first).await.is_none());
    assert_eq!(event(&mut second).await.unwrap().1["params"]["progressToken"], "two");
    // What is about nothing in particular is about what began last.
    assert_eq!(event(&mut second).await.unwrap().1["params"]["progressToken"], "nobody's");
    assert_eq!(event(&mut second).await.unwrap().1["result"]["of"], "two");
    assert!(event(&mut second).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_lost_goes_on_where_it_ended() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-11-25").await;
    let asked = served.asking(within(&id, &call(1, Some("t"))));
    line.hear().await;
    let progress = |n: u32| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": n}});
    line.say(&progress(1)).await;
    let mut body = asked.await.unwrap().into_body();
    let (primed, nothing) = event(&mut body).await.unwrap();
    assert_eq!(nothing, Value::Null);
    let (seen, message) = event(&mut body).await.unwrap();
    assert_eq!(message["params"]["progress"], 1);
    drop(body);
    line.say(&progress(2)).await;
    line.say(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})).await;
    // The server has been heard once it is answered something else.
    let other = served.asking(within(&id, &call(2, None)));
    line.answer(json!({})).await;
    other.await.unwrap();

    let resumed = |after: &str| with(bare(Method::GET, &id), LAST_EVENT_ID, after);
    for (after, expected) in [(&seen, vec!["2", "null"]), (&primed, vec!["1", "2", "null"])] {
        let mut body = served.ask(resumed(after)).await.into_body();
        event(&mut body).await.unwrap();
        for expected in expected {
            let (_, message) = event(&mut body).await.unwrap();
            assert_eq!(message["params"]["progress"].to_string(), expected);
        }
        assert!(event(&mut body).await.is_none());
    }
    for unknown in ["999-1", "1-999", "1", "x-y", "18446744073709551615-18446744073709551615"] {
        assert_eq!(served.ask(resumed(unknown)).await.status(), StatusCode::NOT_FOUND, "{unknown}");
    }
    // Of one session, in another.
    let (other, _line) = served.session("2025-11-25").await;
    let foreign = with(bare(Method::GET, &other), LAST_EVENT_ID, &seen);
    assert_eq!(served.ask(foreign).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_pushes_out_nothing_that_is_still_to_be_read() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-11-25").await;
    let lost = served.asking(within(&id, &call(1, None)));
    line.hear().await;
    let mut lost = lost.await.unwrap().into_body();
    let (primed, _) = event(&mut lost).await.unwrap();
    drop(lost);
    // Somebody listens, and has read as much as a session may keep.
    let mut listening = served.ask(bare(Method::GET, &id)).await.into_body();
    event(&mut listening).await.unwrap();
    let text = "x".repeat(100_000);
    for _ in 0..20 {
        line.say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"text": text}})).await;
        event(&mut listening).await.unwrap();
    }
    line.say(&json!({"jsonrpc": "2.0", "id": 1, "result": {"still": "x".repeat(90_000)}})).await;
    line.say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
    event(&mut listening).await.unwrap();
    let resumed = with(bare(Method::GET, &id), LAST_EVENT_ID, &primed);
    let mut body = served.ask(resumed).await.into_body();
    event(&mut body).await.unwrap();
    assert_eq!(
        event(&mut body).await.unwrap().1["result"]["still"].as_str().unwrap().len(),
        90_000
    );
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_no_request_waits_for_whoever_listens() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-06-18").await;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    line.say(&changed).await;
    let mut listening = served.ask(bare(Method::GET, &id)).await.into_body();
    assert_eq!(event(&mut listening).await.unwrap().1, changed);
    assert_eq!(served.ask(bare(Method::GET, &id)).await.status(), StatusCode::CONFLICT);
    drop(listening);
    let mut listening = served.ask(bare(Method::GET, &id)).await.into_body();
    line.say(&changed).await;
    assert_eq!(event(&mut listening).await.unwrap().1, changed);

    // A server asks in the course of a request, and is answered by POST.
    let asked = served.asking(within(&id, &call(1, None)));
    line.hear().await;
    line.say(&json!({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage"})).await;
    let mut body = asked.await.unwrap().into_body();
    assert_eq!(event(&mut body).await.unwrap().1["id"], 7);
    let answer = json!({"jsonrpc": "2.0", "id": 7, "result": {}});
    assert_eq!(served.ask(within(&id, &answer)).await.status(), StatusCode::ACCEPTED);
    assert_eq!(line.hear().await, answer);
    // A request that is cancelled is not answered, and nobody waits for that.
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(served.ask(within(&id, &cancel)).await.status(), StatusCode::ACCEPTED);
    assert!(event(&mut body).await.is_none());
    // Somebody who listens keeps nobody's connection silent.
    advance(16 * SECOND).await;
    assert_eq!(event(&mut listening).await.unwrap(), (String::new(), Value::Null));
}

#[tokio::test(start_paused = true)]
async fn stateless_requests_share_a_session_and_do_not_meet() {
    let served = Served::new();
    let first = served.asking(stateless(&call(1, Some("t"))));
    let mut line = served.line().await;
    line.lists(json!([])).await;
    let one = line.hear().await;
    let second = served.asking(stateless(&call(1, Some("t"))));
    let two = line.hear().await;
    assert_ne!(one["id"], two["id"]);
    assert_eq!(one["params"]["_meta"]["progressToken"], one["id"]);

    let progress = |of: &Value| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": of["id"], "progress": of["id"]}});
    line.say(&progress(&two)).await;
    line.say(&json!({"jsonrpc": "2.0", "id": two["id"], "result": {"of": 2}})).await;
    line.say(&progress(&one)).await;
    for (asked, number) in [(second, &two), (first, &one)] {
        let mut body = asked.await.unwrap().into_body();
        let (id, message) = event(&mut body).await.unwrap();
        // Streams of this era are not resumed, so their events have no ids.
        assert_eq!((id, &message["params"]["progressToken"]), (String::new(), &json!("t")));
        assert_eq!(message["params"]["progress"], number["id"]);
        if number == &two {
            assert_eq!(event(&mut body).await.unwrap().1["id"], 1);
            assert!(event(&mut body).await.is_none());
        }
        // Of the first one nobody reads on: it is cancelled.
    }
    let cancelled = line.hear().await;
    assert_eq!(
        (&cancelled["method"], &cancelled["params"]["requestId"]),
        (&json!("notifications/cancelled"), &one["id"])
    );
    assert!(served.is_quiet());

    // There is no client for a server to ask.
    line.say(&json!({"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage"})).await;
    assert_eq!(line.hear().await["error"]["code"], -32601);
    // And whoever never uses it again has no server behind it.
    advance(200 * SECOND).await;
    assert!(line.is_over().await);
}

#[tokio::test]
async fn a_server_that_asks_while_it_reads_a_long_request_keeps_no_answer_back() {
    let served = Served::new();
    let first = served.asking(stateless(&call(1, None)));
    let mut line = served.line().await;
    line.lists(json!([])).await;
    let one = line.hear().await;
    // More than the way to the server holds, and the server does not read on.
    let mut long = call(2, None);
    long["params"]["arguments"] = json!({"text": "x".repeat(500_000)});
    let second = served.asking(stateless(&long));
    let begun = line.0.fill_buf().await.unwrap();
    assert!(!begun.is_empty());
    line.say(&json!({"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage"})).await;
    line.say(&json!({"jsonrpc": "2.0", "id": one["id"], "result": {"of": 1}})).await;
    let response = timeout(5 * SECOND, first).await.expect("the answer was kept back").unwrap();
    assert_eq!(whole_stream(response).await["result"]["of"], 1);
    let two = line.hear().await;
    assert_eq!(line.hear().await["error"]["code"], -32601);
    line.say(&json!({"jsonrpc": "2.0", "id": two["id"], "result": {"of": 2}})).await;
    assert_eq!(whole_stream(second.await.unwrap()).await["result"]["of"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_answered_keeps_no_session_that_nobody_uses() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-06-18").await;
    let asked = served.asking(within(&id, &call(1, None)));
    line.hear().await;
    // For as long as its client waits, it is used.
    let waiting = asked.await.unwrap();
    advance(300 * SECOND).await;
    let other = served.asking(within(&id, &json!({"jsonrpc": "2.0", "id": 2, "method": "ping"})));
    line.answer(json!({})).await;
    assert_eq!(other.await.unwrap().status(), StatusCode::OK);
    drop(waiting);
    advance(300 * SECOND).await;
    assert!(line.is_over().await);
}

#[tokio::test]
async fn whoever_hangs_up_before_the_answer_cancels() {
    let served = Served::new();
    let asked = served.asking(stateless(&call("x", None)));
    let mut line = served.line().await;
    line.lists(json!([])).await;
    let number = line.hear().await["id"].clone();
    asked.abort();
    assert_eq!(line.hear().await["params"]["requestId"], number);
}

#[tokio::test]
async fn a_stateless_request_must_say_the_same_in_its_headers() {
    let served = Served::new();
    let request = || stateless(&call(1, None));
    let without = |name: &hyper::header::HeaderName| {
        let mut request = request();
        request.headers_mut().remove(name);
        request
    };
    for (request, code) in [
        (with(request(), NAME, "another"), -32020),
        (with(request(), METHOD, "tools/list"), -32020),
        (with(request(), METHOD, "TOOLS/CALL"), -32020),
        (with(request(), PROTOCOL_VERSION, "2025-11-25"), -32020),
        (with(request(), NAME, "=?base64?!?="), -32020),
        (without(&NAME), -32020),
        (without(&METHOD), -32020),
        (without(&PROTOCOL_VERSION), -32020),
        (with(post(&call(1, None)), PROTOCOL_VERSION, STATELESS), -32602),
        (with(post(&call(1, None)), PROTOCOL_VERSION, "2099-01-01"), -32022),
    ] {
        let headers = format!("{:?}", request.headers());
        let (status, answer) = whole(served.ask(request).await).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (StatusCode::BAD_REQUEST, &json!(code)),
            "{headers}"
        );
        assert_eq!(answer["id"], 1);
    }
    let mut twice = request();
    twice.headers_mut().append(NAME, "echo".parse().unwrap());
    assert_eq!(served.ask(twice).await.status(), StatusCode::BAD_REQUEST);
    assert!(served.is_quiet());
    let mut message = call(1, None);
    message["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": STATELESS});
    let speechless = with(
        with(with(post(&message), PROTOCOL_VERSION, STATELESS), METHOD, "tools/call"),
        NAME,
        "echo",
    );
    let ask = |method: &str| {
        stateless(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}))
    };
    for (request, status, code) in [
        (speechless, 400, -32602),
        (ask("resources/subscribe"), 404, -32601),
        (ask("initialize"), 404, -32601),
        (ask("tasks/get"), 400, -32021),
    ] {
        let (got, answer) = whole(served.ask(request).await).await;
        assert_eq!((got.as_u16(), &answer["error"]["code"]), (status, &json!(code)));
    }
    assert!(served.is_quiet());
    // A name that a header could not hold.
    let encoded = with(request(), NAME, "=?base64?ZWNobw==?=");
    let asked = served.asking(encoded);
    let mut line = served.line().await;
    line.lists(json!([])).await;
    line.answer(json!({})).await;
    assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn arguments_that_a_tool_wants_in_headers_must_be_there() {
    let served = Served::new();
    let schema = json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    let tools = json!([{"name": "echo", "inputSchema": schema}]);
    let mut message = call(1, None);
    message["params"]["arguments"] = json!({"region": "w\u{e9}st"});
    let region = hyper::header::HeaderName::from_static("mcp-param-region");
    let request = |value: &str| with(stateless(&message), region.clone(), value);

    let asked = served.asking(request("=?base64?d8Opc3Q=?="));
    let mut line = served.line().await;
    line.lists(tools.clone()).await;
    line.answer(json!({})).await;
    assert_eq!(asked.await.unwrap().status(), StatusCode::OK);

    for wrong in [
        request("east"),
        request("=?base64?d8Opc3Q?="),
        stateless(&message),
        with(stateless(&call(1, None)), region.clone(), "west"),
    ] {
        let asked = served.asking(wrong);
        // The list may have changed since.
        line.lists(tools.clone()).await;
        let (status, answer) = whole(asked.await.unwrap()).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32020)));
    }
    // And if it has, what it says now counts.
    let asked = served.asking(stateless(&message));
    line.lists(json!([{"name": "echo", "inputSchema": {}}])).await;
    line.answer(json!({})).await;
    assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_call_waits_for_the_list_that_its_headers_are_held_to() {
    let served = Served::new();
    let asked = served.asking(stateless(&call("x", None)));
    let mut line = served.line().await;
    let mut refuse = async |error: Value| {
        let listed = line.hear().await;
        assert_eq!(listed["method"], "tools/list");
        line.say(&json!({"jsonrpc": "2.0", "id": listed["id"], "error": error})).await;
    };
    refuse(json!({"code": 429, "message": "too often", "data": {"retryAfterMs": 900}})).await;
    let response = asked.await.unwrap();
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    let (status, answer) = whole(response).await;
    assert_eq!((status, &answer["id"]), (StatusCode::TOO_MANY_REQUESTS, &json!("x")));
    // Nothing was learnt by that.
    let asked = served.asking(stateless(&call("x", None)));
    refuse(json!({"code": -32601, "message": "Method not found"})).await;
    // Of a server without lists nobody can know more.
    assert_eq!(line.answer(json!({})).await["method"], "tools/call");
    assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_request_reaches_no_server() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-06-18").await;
    let raw = |body: &'static str| {
        let mut request = within(&id, &Value::Null);
        *request.body_mut() = Bytes::from_static(body.as_bytes());
        request
    };
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let mut unknown = within(&id, &list);
    *unknown.method_mut() = Method::PUT;
    for (request, status) in [
        (raw("[]"), 400),
        (raw("nothing"), 400),
        (raw(r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#), 400),
        (raw(r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"x"}"#), 400),
        (with(within(&id, &list), CONTENT_TYPE, "text/plain"), 415),
        (with(within(&id, &list), ACCEPT, "application/json"), 406),
        (with(within(&id, &list), HOST, "evil.example"), 403),
        (with(within(&id, &list), hyper::header::ORIGIN, "http://evil.example"), 403),
        (with(within(&id, &list), PROTOCOL_VERSION, "1999-01-01"), 400),
        (unknown, 405),
        (post(&list), 400),
        (within("0123456789abcdef0123456789abcdef", &list), 404),
        (with(bare(Method::GET, &id), PROTOCOL_VERSION, STATELESS), 405),
        (with(bare(Method::GET, &id), ACCEPT, "text/html"), 406),
    ] {
        let request_in_words = format!("{request:?}");
        let response = served.ask(request).await;
        assert_eq!(response.status().as_u16(), status, "{request_in_words}");
        assert!(!response.headers().contains_key("www-authenticate"));
    }
    // A message that is laid out on several lines is one line behind.
    let asked =
        served.asking(raw("{\n \"jsonrpc\": \"2.0\",\r\n \"id\": 1,\n \"method\": \"ping\"\n}\n"));
    assert_eq!(line.answer(json!({})).await["method"], "ping");
    assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn errors_have_the_status_that_the_transport_gives_them() {
    let served = Served::new();
    for (error, status, after) in [
        (json!({"code": -32601, "message": ""}), 404, None),
        (json!({"code": -32021, "message": ""}), 400, None),
        (json!({"code": -32602, "message": ""}), 200, None),
        (json!({"code": 1, "message": "", "data": {"retryAfterMs": 1500}}), 429, Some("2")),
    ] {
        let asked = served.asking(stateless(&call(1, None)));
        let mut line = served.line().await;
        line.lists(json!([])).await;
        let id = line.hear().await["id"].clone();
        line.say(&json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
        let response = asked.await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        let said = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap());
        assert_eq!(said, after);
        drop(line);
        // The session is over, so the next request opens another.
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_loses_its_stream_and_nobody_elses() {
    let served = Served::new();
    let (id, mut line) = served.session("2025-06-18").await;
    let asked = served.asking(within(&id, &call(1, Some("t"))));
    line.hear().await;
    let large = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "message": "x".repeat(100_000)}});
    let (mut from_endpoint, mut to_endpoint) = tokio::io::split(line.0.into_inner());
    let flood = tokio::spawn(async move {
        for _ in 0..100 {
            to_endpoint.write_all(format!("{large}\n").as_bytes()).await.unwrap();
        }
        to_endpoint.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n").await.unwrap();
        to_endpoint
    });
    // Nobody reads this, and the connection stays open.
    let stalled = asked.await.unwrap();
    let other = served.asking(within(&id, &call(2, None)));
    let answered = timeout(60 * SECOND, other).await.unwrap().unwrap();
    let mut body = answered.into_body();
    let message = loop {
        let (_, message) = event(&mut body).await.unwrap();
        if message != Value::Null {
            break message;
        }
    };
    assert_eq!(message["id"], 2);
    flood.await.unwrap();
    let left = stalled.into_body().collect().await.unwrap().to_bytes();
    assert!(left.len() < 3_000_000, "{}", left.len());
    let mut rest = Vec::new();
    drop(
        timeout(SECOND, tokio::io::AsyncReadExt::read_to_end(&mut from_endpoint, &mut rest)).await,
    );
}
