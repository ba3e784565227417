//! Sessions of the eras up to 2025-11-25: whose they are, what belongs to them, and how they end.

use serde_json::json;
use vouchsafe_tests::upstream::{Asked, HttpServer, Step, accepted, chunk, end, status, stream};
use vouchsafe_tests::{Client, World, eventually};

use crate::behind::{client, failed, gateway, initialize, result, text, with_session};

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
    let has_come = |what: &dyn Fn(&Asked) -> bool| server.asked().iter().any(what);
    let is_answered = eventually(|| {
        let is_answered = has_come(&|asked| asked.body["result"]["roots"] == json!([]));
        let is_resumed = has_come(&|asked| asked.header("last-event-id") == Some("g-1"));
        (is_answered && is_resumed).then_some(())
    });
    is_answered.await.unwrap_or_else(|| panic!("{:#?}", server.asked()));
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
