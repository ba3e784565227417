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

mod stateless;
mod streams;

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
