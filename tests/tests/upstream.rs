//! Servers that run already, behind a gateway: what they are sent, and what becomes of what they say.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use vouchsafe_tests::upstream::{
    Asked, HttpServer, Step, accepted, chunk, end, json as message, status, stream,
};
use vouchsafe_tests::{Client, RunningGateway, World};
use vouchsafe_transport::{Endpoint, HttpUpstream, Limits, SocketUpstream, Upstream};

/// How a server answers a call.
type Answering = fn(&Asked) -> Vec<Step>;

const SESSION: &str = "Mcp-Session-Id: s-1\r\nContent-Type: application/json\r\n";

fn at(address: SocketAddr) -> Upstream {
    let endpoint = Endpoint::parse(&format!("http://{address}/mcp?tenant=7")).unwrap();
    Upstream::Http(Box::new(HttpUpstream::plain(endpoint)))
}

async fn gateway(world: &World, server: &HttpServer) -> RunningGateway {
    gateway_with(world, server, |_| ()).await
}

async fn gateway_with(
    world: &World,
    server: &HttpServer,
    adjust: impl FnOnce(&mut Limits),
) -> RunningGateway {
    let upstream = at(server.address);
    world
        .gateway(|config| {
            config.upstream = upstream;
            adjust(&mut config.limits);
        })
        .await
}

async fn client(world: &World, gateway: &RunningGateway) -> Client {
    Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await
}

fn result(asked: &Asked, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked.id())
}

fn text(asked: &Asked, text: &str) -> String {
    result(asked, &format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#))
}

/// A well-behaved server of the eras with sessions, but for what it does when it is called.
fn with_session(asked: &Asked, called: impl FnOnce() -> Vec<Step>) -> Vec<Step> {
    match asked.method() {
        "initialize" => {
            let about = r#"{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}"#;
            status("200 OK", SESSION, &result(asked, about))
        }
        "tools/call" => called(),
        "GET" => status("405 Method Not Allowed", "", ""),
        _ => accepted(),
    }
}

async fn initialize(client: &mut Client) {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    });
    let answer = client.request("initialize", params).await.unwrap().unwrap();
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    client.write(format!("{initialized}\n").as_bytes()).await.unwrap();
}

fn modern(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    params
}

#[tokio::test]
async fn a_session_of_the_older_eras_goes_from_initialize_to_delete() {
    let world = World::new();
    let server = HttpServer::plain(|asked| {
        with_session(asked, || {
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"half"}}"#;
            vec![
                stream(),
                chunk(&format!("event: message\ndata: {progress}\n\n: alive\n\n")),
                chunk(&format!("data: {}\n\n", text(asked, "done"))),
                end(),
            ]
        })
    });
    let gateway = gateway(&world, &server).await;
    let agent = world.agent("team/a", &["tools:*", "prompts:naïve, \"x\""]);
    let mut client = Client::connect(gateway.address, &agent).await;
    initialize(&mut client).await;
    let half = client.try_call("work", json!({})).await.unwrap().unwrap();
    assert_eq!(half["params"]["data"], "half");
    let done = client.line().await.unwrap().unwrap();
    assert_eq!(done["result"]["content"][0]["text"], "done");
    server.wait_for("GET").await;
    client.close().await;
    let delete = server.wait_for("DELETE").await;
    gateway.wait_for("closed", "client closed").await;

    assert_eq!(delete.header("mcp-session-id"), Some("s-1"));
    let asked = server.asked();
    let methods: Vec<&str> = asked.iter().map(Asked::method).collect();
    assert_eq!(methods[..2], ["initialize", "notifications/initialized"]);
    for asked in &asked {
        let is_first = asked.method() == "initialize";
        assert_eq!(asked.target, "/mcp?tenant=7");
        assert_eq!(asked.header("host"), Some(&*server.address.to_string()));
        let session = (!is_first).then_some("s-1");
        assert_eq!(asked.header("mcp-session-id"), session, "{asked:?}");
        let version = (!is_first).then_some("2025-06-18");
        assert_eq!(asked.header("mcp-protocol-version"), version, "{asked:?}");
        assert_eq!(asked.header("mcp-method"), None);
        assert_eq!(asked.header("vouchsafe-principal"), Some("spiffe://acme.example/team/a"));
        let serial = agent.certificate.serial.to_string();
        assert_eq!(asked.header("vouchsafe-serial"), Some(&*serial));
        let permissions: Vec<String> =
            serde_json::from_str(asked.header("vouchsafe-permissions").unwrap()).unwrap();
        assert_eq!(permissions, ["prompts:naïve, \"x\"", "tools:*"]);
        match &*asked.verb {
            "POST" => {
                assert_eq!(asked.header("accept"), Some("application/json, text/event-stream"));
                assert_eq!(asked.header("content-type"), Some("application/json"));
            }
            "GET" => assert_eq!(asked.header("accept"), Some("text/event-stream")),
            verb => assert_eq!(verb, "DELETE"),
        }
    }
}

#[tokio::test]
async fn requests_of_the_stateless_era_repeat_in_headers_what_they_name() {
    let world = World::new();
    let server = HttpServer::plain(|asked| match asked.method() {
        "tools/list" => {
            let schema = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}"#;
            let tools = format!(r#"{{"tools":[{{"name":"deploy it","inputSchema":{schema}}}]}}"#);
            message(&result(asked, &tools))
        }
        _ => message(&text(asked, "deployed")),
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    client.request("tools/list", modern(json!({}))).await.unwrap().unwrap();
    let arguments = json!({"region": "Zürich\r\nVouchsafe-Principal: spiffe://acme.example/root"});
    let call = modern(json!({"name": "deploy it", "arguments": arguments}));
    let answer = client.request("tools/call", call).await.unwrap().unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "deployed");
    client.close().await;
    gateway.wait_for("closed", "client closed").await;

    let list = server.wait_for("tools/list").await;
    assert_eq!(list.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!((list.header("mcp-method"), list.header("mcp-name")), (Some("tools/list"), None));
    let call = server.wait_for("tools/call").await;
    assert_eq!(call.header("mcp-method"), Some("tools/call"));
    assert_eq!(call.header("mcp-name"), Some("deploy it"));
    let region = call.header("mcp-param-region").unwrap();
    assert!(region.starts_with("=?base64?WsO8cmljaA0K") && region.ends_with("?="), "{region}");
    assert_eq!(call.header("vouchsafe-principal"), Some("spiffe://acme.example/a"));
    // Neither a session nor a stream of its own, and so nothing to delete.
    assert_eq!(call.header("mcp-session-id"), None);
    assert!(server.asked().iter().all(|asked| asked.verb == "POST"));
    assert_eq!(list.connection, call.connection, "a connection is used again");
}

#[tokio::test]
async fn to_cancel_in_the_stateless_era_is_to_hang_up() {
    let world = World::new();
    let server = HttpServer::plain(|asked| match asked.method() {
        "tools/call" => vec![stream(), chunk(": working\n\n"), Step::Wait],
        _ => message(&result(asked, "{}")),
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    let params = modern(json!({"name": "slow", "arguments": {}}));
    let call = json!({"jsonrpc": "2.0", "id": 70, "method": "tools/call", "params": params});
    client.write(format!("{call}\n").as_bytes()).await.unwrap();
    server.wait_for("tools/call").await;
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 70}});
    client.write(format!("{cancel}\n").as_bytes()).await.unwrap();
    // What comes next is the answer to this, and not to what was cancelled.
    let answer = client.request("server/discover", modern(json!({}))).await.unwrap().unwrap();
    assert_eq!(answer["result"], json!({}));
    assert!(server.asked().iter().all(|asked| asked.method() != "notifications/cancelled"));
}

#[tokio::test]
async fn what_was_cancelled_is_waited_for_no_longer_than_a_process_that_should_end() {
    let world = World::new();
    let gone = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&gone);
    // As MCP up to 2025-11-25 wants it: no answer to what was cancelled. And the stream stays open.
    let server = HttpServer::plain(move |asked| {
        with_session(asked, || vec![stream(), Step::Wait, Step::Count(Arc::clone(&counted))])
    });
    let grace = Duration::from_millis(100);
    let gateway = gateway_with(&world, &server, |limits| limits.child_grace = grace).await;
    let mut client = client(&world, &gateway).await;
    initialize(&mut client).await;
    for id in 0..20 {
        let call = json!({"jsonrpc": "2.0", "id": format!("call-{id}"), "method": "tools/call", "params": {"name": "slow"}});
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": format!("call-{id}")}});
        client.write(format!("{call}\n{cancel}\n").as_bytes()).await.unwrap();
    }
    while gone.load(Ordering::Relaxed) < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn principals_share_neither_connections_nor_sessions() {
    let world = World::new();
    let server = HttpServer::plain(|asked| {
        with_session(asked, || {
            status(
                "200 OK",
                "Set-Cookie: who=you\r\nContent-Type: application/json\r\n",
                &text(asked, "ok"),
            )
        })
    });
    let gateway = gateway(&world, &server).await;
    for name in ["a", "b", "a"] {
        let agent = world.agent(name, &["tools:*"]);
        let mut client = Client::connect(gateway.address, &agent).await;
        initialize(&mut client).await;
        assert_eq!(client.call("x", json!({})).await, "ok");
        assert_eq!(client.call("x", json!({})).await, "ok");
        client.close().await;
    }
    let asked = server.asked();
    assert!(asked.iter().all(|asked| asked.header("cookie").is_none()));
    let serials = |connection| {
        let over = asked.iter().filter(move |asked| asked.connection == connection);
        over.map(|asked| asked.header("vouchsafe-serial").unwrap())
    };
    for connection in asked.iter().map(|asked| asked.connection) {
        let first = serials(connection).next().unwrap();
        assert!(serials(connection).all(|serial| serial == first), "{connection}");
    }
}

/// What a client is told when the server of the stateless era answers its call like this.
async fn told(limits: impl FnOnce(&mut Limits), steps: Answering) -> Value {
    let world = World::new();
    let server = HttpServer::plain(move |asked| match asked.method() {
        "tools/call" => steps(asked),
        _ => message(&result(asked, r#"{"content":[{"type":"text","text":"next"}]}"#)),
    });
    let gateway = gateway_with(&world, &server, limits).await;
    let mut client = client(&world, &gateway).await;
    let call = modern(json!({"name": "x", "arguments": {}}));
    let answer = client.request("tools/call", call).await.unwrap().unwrap();
    assert_eq!(answer["id"], 1, "{answer}");
    // It is that request which has failed, and nothing else.
    let next = client.request("server/discover", modern(json!({}))).await.unwrap().unwrap();
    assert_eq!((&next["id"], &next["result"]["content"][0]["text"]), (&json!(2), &json!("next")));
    answer["error"].clone()
}

fn failed(message: &str) -> Value {
    json!({"code": -32603, "message": message})
}

#[tokio::test]
async fn whatever_is_no_answer_becomes_an_error_of_the_request_that_it_was_given_to() {
    const HTML: &str = "Content-Type: text/html\r\n";
    let plain: [(Answering, &str); 12] = [
        (
            |_| status("502 Bad Gateway", HTML, "<h1>"),
            "The server answered with HTTP status 502 Bad Gateway",
        ),
        (|_| status("404 Not Found", "", ""), "The server answered with HTTP status 404 Not Found"),
        (
            |_| {
                status(
                    "401 Unauthorized",
                    "WWW-Authenticate: Bearer\r\nContent-Type: application/json\r\n",
                    r#"{"error":"invalid_token"}"#,
                )
            },
            "The server answered with HTTP status 401 Unauthorized",
        ),
        (
            |_| status("307 Temporary Redirect", "Location: http://127.0.0.1:1/\r\n", ""),
            "The server answered with a redirect, which is not followed",
        ),
        (
            |_| status("200 OK", HTML, "<h1>"),
            "The server's answer is neither JSON nor a stream of events",
        ),
        (|_| accepted(), "The server's answer is neither JSON nor a stream of events"),
        (|_| message(""), "The server's answer is no answer to this request"),
        (
            |_| message(r#"{"jsonrpc":"2.0","id":99,"result":{}}"#),
            "The server's answer is no answer to this request",
        ),
        (
            |_| message(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#),
            "The server's answer is no answer to this request",
        ),
        (
            |_| vec![Step::Reset],
            "The connection to the server was lost before the answer came; try again",
        ),
        (
            |_| {
                vec![Step::Say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{".into()), Step::Close]
            },
            "The connection to the server was lost before the answer came; try again",
        ),
        (
            |_| vec![Step::Say("ICY 200 OK\r\n\r\n".into()), Step::Wait],
            "The connection to the server was lost before the answer came; try again",
        ),
    ];
    for (steps, expected) in plain {
        assert_eq!(told(|_| (), steps).await, failed(expected));
    }
}

#[tokio::test]
async fn streams_that_break_off_before_the_answer_are_told_of() {
    let broken = failed("The connection to the server was lost before the answer came; try again");
    let streams: [Answering; 4] = [
        |_| vec![stream(), end()],
        |_| vec![stream(), chunk("id: 1\ndata: \n\n"), Step::Reset],
        |asked| vec![stream(), chunk(&format!("data: {}\n", text(asked, "not whole"))), end()],
        |asked| {
            let other = text(asked, "other").replace("\"id\":1", "\"id\":2");
            vec![
                stream(),
                chunk(&format!("event: other\ndata: {}\n\n", text(asked, "x"))),
                chunk(&format!("data: {other}\n\n")),
                end(),
            ]
        },
    ];
    for steps in streams {
        assert_eq!(told(|_| (), steps).await, broken);
    }
}

#[tokio::test]
async fn what_is_too_long_or_too_late_is_told_of() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let short = |limits: &mut Limits| limits.line = 4096;
    let lengthy: [Answering; 3] = [
        |asked| message(&text(asked, &"x".repeat(5000))),
        |_| vec![Step::Say(format!("{HEAD}\r\n")), Step::SayForever(" ".repeat(100))],
        |_| vec![stream(), chunk("data: x"), Step::SayForever("5\r\nxxxxx\r\n".into())],
    ];
    let long = failed("The server's answer is longer than 4096 octets");
    for steps in lengthy {
        assert_eq!(told(short, steps).await, long);
    }

    let hasty = |limits: &mut Limits| limits.answer = Duration::from_millis(300);
    let silent: [Answering; 3] = [
        |_| vec![Step::Wait],
        |_| vec![Step::Say("HTTP/1.1 200 OK\r\nContent-".into()), Step::Wait],
        |_| vec![stream(), Step::Wait],
    ];
    let late = failed("The server did not answer in time");
    for steps in silent {
        assert_eq!(told(hasty, steps).await, late);
    }
    let whole = |limits: &mut Limits| limits.message = Duration::from_millis(300);
    let unfinished: [Answering; 2] = [
        // Not longer than it may be, but without an end.
        |_| vec![stream(), Step::SayForever("a\r\nretry: 10\n\r\n".into())],
        |_| vec![Step::Say(format!("{HEAD}Content-Length: 9\r\n\r\n{{")), Step::Wait],
    ];
    for steps in unfinished {
        assert_eq!(told(whole, steps).await, late);
    }
}

#[tokio::test]
async fn an_error_of_the_server_arrives_as_it_is_whatever_the_status() {
    let error = json!({"code": -32020, "message": "Header mismatch", "data": {"header": "x"}});
    let with_id: Answering = |asked| {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32020,"message":"Header mismatch","data":{{"header":"x"}}}}}}"#,
            asked.id()
        );
        status("400 Bad Request", "Content-Type: application/json; charset=utf-8\r\n", &body)
    };
    assert_eq!(told(|_| (), with_id).await, error);
    let without: Answering = |_| {
        let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"Header mismatch","data":{"header":"x"}}}"#;
        status("404 Not Found", "Content-Type: Application/JSON\r\n", body)
    };
    assert_eq!(told(|_| (), without).await, error);
}

#[tokio::test]
async fn what_nobody_asked_for_goes_nowhere() {
    let world = World::new();
    let server = HttpServer::plain(|asked| {
        with_session(asked, || {
            let answer = text(asked, "once");
            let stranger = answer.replace("\"id\":2", "\"id\":777");
            let events = [&stranger, "no JSON", &answer, &answer, &stranger];
            let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
            vec![Step::Say("HTTP/1.1 100 Continue\r\n\r\n".into()), stream(), chunk(&events), end()]
        })
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    initialize(&mut client).await;
    assert_eq!(client.call("x", json!({})).await, "once");
    let next = client.request("ping", json!({})).await.unwrap().unwrap();
    assert_eq!(next["id"], 3, "{next}");
    client.close().await;
    let closed = gateway.wait_for("closed", "client closed").await;
    assert_eq!(closed["junk"], 1);
}

#[tokio::test]
async fn an_id_of_a_session_that_is_junk_is_refused() {
    for junk in ["a b", "\u{e9}", "a\tb"] {
        let world = World::new();
        let server = HttpServer::plain(move |asked| {
            let headers = format!("Mcp-Session-Id: {junk}\r\nContent-Type: application/json\r\n");
            status("200 OK", &headers, &result(asked, r#"{"protocolVersion":"2025-06-18"}"#))
        });
        let gateway = gateway(&world, &server).await;
        let mut client = client(&world, &gateway).await;
        let answer = client.request("initialize", json!({})).await.unwrap().unwrap();
        let expected = failed("The server's id of the session is not visible ASCII");
        assert_eq!(answer["error"], expected, "{junk:?}");
    }
}

#[tokio::test]
async fn a_stream_is_taken_up_where_it_was_left() {
    let world = World::new();
    let server = HttpServer::plain(|asked| match (&*asked.verb, asked.header("last-event-id")) {
        ("GET", Some("p-1")) => {
            vec![stream(), chunk("id: p-2\nretry: 1\ndata: \n\n"), Step::Close]
        }
        ("GET", Some("p-2")) => {
            let answer = r#"{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"resumed"}]}}"#;
            vec![stream(), chunk(&format!("id: p-3\ndata: {answer}\n\n")), end()]
        }
        _ => with_session(asked, || vec![stream(), chunk("id: p-1\nretry: 10\ndata: \n\n"), end()]),
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    initialize(&mut client).await;
    assert_eq!(client.call("x", json!({})).await, "resumed");
    let resumed =
        server.asked().into_iter().filter(|asked| asked.header("last-event-id").is_some());
    assert!(resumed.into_iter().all(|asked| asked.header("mcp-session-id") == Some("s-1")));
}

#[tokio::test]
async fn a_session_that_the_server_has_ended_ends_here_too() {
    let world = World::new();
    let server = HttpServer::plain(|asked| {
        with_session(asked, || {
            let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;
            status("404 Not Found", "Content-Type: application/json\r\n", body)
        })
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    initialize(&mut client).await;
    let answer = client.try_call("x", json!({})).await.unwrap().unwrap();
    assert_eq!(answer["error"], json!({"code": -32001, "message": "Session not found"}));
    assert_eq!(client.ending().await, "closed");
    gateway.wait_for("closed", "from the server: the server has ended the session").await;
}

#[tokio::test]
async fn what_a_server_asks_unasked_is_answered() {
    let world = World::new();
    let server = HttpServer::plain(|asked| match &*asked.verb {
        "GET" if asked.header("last-event-id").is_none() => {
            let roots = r#"{"jsonrpc":"2.0","id":"r-1","method":"roots/list"}"#;
            vec![stream(), chunk(&format!("id: g-1\nretry: 100\ndata: {roots}\n\n")), Step::Close]
        }
        "GET" => vec![stream(), Step::Wait],
        _ => with_session(asked, accepted),
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    initialize(&mut client).await;
    let asks = client.line().await.unwrap().unwrap();
    assert_eq!((&asks["id"], &asks["method"]), (&json!("r-1"), &json!("roots/list")));
    let roots = json!({"jsonrpc": "2.0", "id": "r-1", "result": {"roots": []}});
    client.write(format!("{roots}\n").as_bytes()).await.unwrap();
    for _ in 0..1000 {
        let asked = server.asked();
        let is_answered = asked.iter().any(|asked| asked.body["result"]["roots"] == json!([]));
        if is_answered && asked.iter().any(|asked| asked.header("last-event-id") == Some("g-1")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:#?}", server.asked());
}

#[tokio::test]
async fn large_answers_to_a_client_that_does_not_read_wait_where_they_are() {
    const CALLS: usize = 6;
    let world = World::new();
    let count = Arc::new(AtomicUsize::new(0));
    for is_stream in [false, true] {
        let sent = Arc::clone(&count);
        let server = HttpServer::plain(move |asked| {
            let answer = text(asked, &"x".repeat(15_000_000));
            let mut steps = match is_stream {
                true => vec![stream(), chunk(&format!("data: {answer}\n\n")), end()],
                false => message(&answer),
            };
            steps.push(Step::Count(Arc::clone(&sent)));
            steps
        });
        let gateway = gateway(&world, &server).await;
        let mut client = client(&world, &gateway).await;
        for id in 0..CALLS {
            let params = modern(json!({"name": "x", "arguments": {}}));
            let call =
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
            client.write(format!("{call}\n").as_bytes()).await.unwrap();
        }
        while server.asked().len() < CALLS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Whatever passes in this time and more would pass if it only could.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let sent = count.swap(0, Ordering::Relaxed);
        assert!(sent <= 2, "{sent} answers are held somewhere");
        let mut ids = Vec::new();
        for _ in 0..CALLS {
            ids.push(client.line().await.unwrap().unwrap()["id"].as_u64().unwrap());
        }
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
        count.store(0, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_revoked_client_is_cut_in_the_middle_of_an_answer_and_its_session_deleted() {
    let world = World::new();
    let server = HttpServer::plain(|asked| {
        with_session(asked, || {
            let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
            let event = format!("data: {log}\n\n");
            let Step::Say(octets) = chunk(&event) else { panic!("a chunk is said") };
            vec![stream(), Step::SayForever(octets)]
        })
    });
    let gateway = gateway(&world, &server).await;
    let mut client = client(&world, &gateway).await;
    initialize(&mut client).await;
    let endless = client.try_call("x", json!({})).await.unwrap().unwrap();
    assert_eq!(endless["method"], "notifications/message");
    world.revoke("a");
    gateway.wait_for("cut", "revoked").await;
    assert_eq!(server.wait_for("DELETE").await.header("mcp-session-id"), Some("s-1"));
}

#[tokio::test]
async fn a_server_with_a_certificate_must_have_one_of_the_roots_and_its_own_name() {
    let world = World::new();
    let identity = world.server("elsewhere", &[]);
    let server =
        HttpServer::tls(&identity, |asked| with_session(asked, || message(&text(asked, "safe"))));
    let roots =
        |world: &World| world.agent("r", &[]).roots.iter().map(|root| root.der.clone()).collect();
    let port = server.address.port();
    let cases: [(String, Vec<_>, Option<&str>); 3] = [
        (format!("https://localhost:{port}/mcp"), roots(&world), None),
        (format!("https://localhost:{port}/mcp"), roots(&World::new()), Some("UnknownIssuer")),
        (format!("https://127.0.0.2:{port}/mcp"), roots(&world), Some("refused")),
    ];
    for (url, roots, problem) in cases {
        let (notes, mut said) = tokio::sync::mpsc::channel(16);
        let clock = Arc::new(rustls::time_provider::DefaultTimeProvider);
        let endpoint = Endpoint::parse(&url).unwrap();
        let upstream = HttpUpstream::over_tls(endpoint, roots, clock).unwrap().with_notes(notes);
        let gateway =
            world.gateway(|config| config.upstream = Upstream::Http(Box::new(upstream))).await;
        let mut client = client(&world, &gateway).await;
        match problem {
            None => {
                initialize(&mut client).await;
                assert_eq!(client.call("x", json!({})).await, "safe");
            }
            Some(problem) => {
                let answer = client.request("initialize", json!({})).await.unwrap().unwrap();
                let expected = failed("The server cannot be reached at present; try again later");
                assert_eq!(answer["error"], expected);
                // Why is the operator's affair.
                let (session, said) = said.recv().await.unwrap();
                assert!(session == 1 && said.starts_with(&url) && said.contains(problem), "{said}");
            }
        }
    }
    // It gets to know its caller by headers, and not by our certificate.
    assert!(server.asked().iter().all(|asked| asked.header("vouchsafe-serial").is_some()));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_until_it_is_there_again() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = world.gateway(|config| config.upstream = at(address)).await;
    let mut client = client(&world, &gateway).await;
    let answer = client.request("ping", json!({})).await.unwrap().unwrap();
    let expected = failed("The server cannot be reached at present; try again later");
    assert_eq!(answer["error"], expected);
}

/// Answers each line with the text that it was called with, for as long as its client says anything.
async fn echo(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite) -> usize {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    let mut count = 0;
    while let Ok(Some(line)) = lines.next_line().await {
        let call: Value = serde_json::from_str(&line).unwrap();
        let content = json!([{"type": "text", "text": call["params"]["arguments"]["text"]}]);
        let answer = json!({"jsonrpc": "2.0", "id": call["id"], "result": {"content": content}});
        writer.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        count += 1;
    }
    // It has heard the end; its last word still arrives.
    let log =
        json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "bye"}});
    writer.write_all(format!("{log}\n").as_bytes()).await.unwrap();
    writer.shutdown().await.unwrap();
    count
}

/// Two sessions of a server of lines, each over a connection of its own.
async fn two_sessions(world: &World, upstream: Upstream) {
    let gateway = world.gateway(|config| config.upstream = upstream).await;
    let mut first = client(world, &gateway).await;
    let mut second = client(world, &gateway).await;
    assert_eq!(first.call("echo", json!({"text": "one"})).await, "one");
    assert_eq!(second.call("echo", json!({"text": "two"})).await, "two");
    assert_eq!(first.call("echo", json!({"text": "three"})).await, "three");
    first.close().await;
    second.close().await;
    gateway.wait_for("closed", "client closed").await;
}

#[tokio::test]
async fn servers_of_lines_get_a_connection_for_each_session_which_ends_with_it() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut served = Vec::new();
        for _ in 0..2 {
            served.push(tokio::spawn(echo(listener.accept().await.unwrap().0)));
        }
        let mut counts = Vec::new();
        for served in served {
            counts.push(served.await.unwrap());
        }
        counts.sort_unstable();
        counts
    });
    two_sessions(&world, Upstream::Socket(SocketUpstream::Tcp(address))).await;
    assert_eq!(serving.await.unwrap(), [1, 2]);

    let path = world.folder().join("mcp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = tokio::spawn(async move {
        for _ in 0..2 {
            tokio::spawn(echo(listener.accept().await.unwrap().0));
        }
    });
    two_sessions(&world, Upstream::Socket(SocketUpstream::Unix(path))).await;
    serving.await.unwrap();
}

#[tokio::test]
async fn a_server_of_lines_that_is_not_there_is_told_of_and_recorded() {
    let world = World::new();
    let path = world.folder().join("nobody.sock");
    let upstream = Upstream::Socket(SocketUpstream::Unix(path.clone()));
    let gateway = world.gateway(|config| config.upstream = upstream).await;
    let mut client = client(&world, &gateway).await;
    let told = client.request("ping", json!({})).await.unwrap().unwrap();
    assert_eq!(told["error"]["message"], "The session is closed: the server could not be reached");
    let reason = format!("unix:{} cannot be reached: No such file", path.display());
    gateway.wait_for("closed", &reason).await;
}
