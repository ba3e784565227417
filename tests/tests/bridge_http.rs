//! A bridge that speaks Streamable HTTP to a gateway: held to the same certificates as in lines, and
//! ending in the same words.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::sync::watch;
use vouchsafe_tests::upstream::{
    Asked, HttpServer, Step, accepted, chunk, end, json as message, status, stream,
};
use vouchsafe_tests::{BridgedClient, World, fixed};
use vouchsafe_transport::{BridgeEnd, ConnectError, Connector, Denial, Endpoint, Identity, Limits};

fn connector(
    world: &World,
    address: SocketAddr,
    present: watch::Receiver<Arc<Identity>>,
) -> Connector {
    let trust = world.trust(&present.borrow());
    let name = ServerName::try_from("localhost").unwrap();
    let endpoint = Endpoint::parse(&format!("https://localhost:{}/mcp", address.port())).unwrap();
    Connector::over_http(endpoint, name, present, trust, &Limits::default()).unwrap()
}

fn start(world: &World, server: &HttpServer) -> BridgedClient {
    let agent = fixed(Arc::new(world.agent("a", &["tools:*"])));
    BridgedClient::start(connector(world, server.address, agent), Limits::default())
}

/// A server of the eras with sessions that knows `echo`; its sessions are numbered.
fn serve(asked: &Asked, session: &str) -> Vec<Step> {
    let headers = format!("Content-Type: application/json\r\nMcp-Session-Id: {session}\r\n");
    let result = |result: serde_json::Value| {
        json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result}).to_string()
    };
    match asked.method() {
        "initialize" => {
            let about = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {"listChanged": true}}});
            status("200 OK", &headers, &result(about))
        }
        "tools/call" => {
            let text = &asked.body["params"]["arguments"]["text"];
            message(&result(json!({"content": [{"type": "text", "text": text}]})))
        }
        "GET" => status("405 Method Not Allowed", "", ""),
        _ => accepted(),
    }
}

#[tokio::test]
async fn a_client_talks_over_http_and_its_session_is_deleted_at_the_end() {
    let world = World::new();
    let server = HttpServer::tls(&world.server("g", &[]), |asked| serve(asked, "s-1"));
    let mut client = start(&world, &server);
    client.initialize().await;
    assert_eq!(client.echo("hello").await, "hello");
    assert!(matches!(client.end().await, BridgeEnd::Done));
    let delete = server.wait_for("DELETE").await;
    assert_eq!(delete.header("mcp-session-id"), Some("s-1"));
    assert_eq!(delete.header("host"), Some(&*format!("localhost:{}", server.address.port())));
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_session_to_begin_is_served_as_over_lines() {
    let world = World::new();
    let server = HttpServer::tls(&world.server("g", &[]), |asked| serve(asked, "s-1"));
    let mut client = start(&world, &server);
    let info = json!({"name": "test", "version": "1"});
    let about = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info});
    client.ask("initialize", about).await;
    client.ask("tools/call", json!({"name": "echo", "arguments": {"text": "early"}})).await;
    assert_eq!(client.hear().await.unwrap()["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(client.hear().await.unwrap()["result"]["content"][0]["text"], "early");
    let call = server.asked().into_iter().find(|asked| asked.method() == "tools/call").unwrap();
    assert_eq!(call.header("mcp-session-id"), Some("s-1"));
}

#[tokio::test]
async fn a_server_may_ping_before_the_session_begins() {
    let world = World::new();
    let (said, hears) = watch::channel(Vec::new());
    let server = HttpServer::tls(&world.server("g", &[]), move |asked| {
        if asked.body["id"] == "ping" {
            said.send_modify(|said| said.push("pong".to_owned()));
            return accepted();
        }
        if asked.method() != "initialize" {
            return serve(asked, "s-1");
        }
        let ping = r#"data: {"jsonrpc":"2.0","id":"ping","method":"ping"}"#;
        let about = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
        let answer = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": about});
        let (ping, answer) = (format!("{ping}\n\n"), format!("data: {answer}\n\n"));
        let until = Step::Until(hears.clone(), "pong".to_owned(), 1);
        vec![stream(), chunk(&ping), until, chunk(&answer)]
    });
    let mut client = start(&world, &server);
    let about = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    client.ask("initialize", about).await;
    assert_eq!(client.hear().await.unwrap()["method"], "ping");
    client.say(json!({"jsonrpc": "2.0", "id": "ping", "result": {}})).await;
    assert_eq!(client.hear().await.unwrap()["result"]["protocolVersion"], "2025-06-18");
}

#[tokio::test]
async fn a_server_that_lost_the_session_is_told_the_same_again() {
    let world = World::new();
    let is_lost = AtomicBool::new(false);
    let server = HttpServer::tls(&world.server("g", &[]), move |asked| {
        let is_lost_now = asked.body["params"]["arguments"]["text"] == "lose it"
            && !is_lost.swap(true, Ordering::Relaxed);
        match is_lost_now {
            true => status("404 Not Found", "", ""),
            false => serve(asked, if is_lost.load(Ordering::Relaxed) { "s-2" } else { "s-1" }),
        }
    });
    let mut client = start(&world, &server);
    client.initialize().await;
    let call = json!({"name": "echo", "arguments": {"text": "lose it"}});
    let lost = client.request("tools/call", call).await;
    assert_eq!(lost["error"]["message"], "The server has ended the session");
    client.wait_for("the server has ended the session; connected again").await;
    let changed = client.hear().await.unwrap();
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    assert_eq!(client.echo("again").await, "again");
    let last = server.asked().into_iter().rfind(|asked| asked.method() == "tools/call").unwrap();
    assert_eq!(last.header("mcp-session-id"), Some("s-2"));
}

#[tokio::test]
async fn a_server_is_held_to_its_certificate() {
    let world = World::new();
    let ask = |asked: &Asked| match (asked.method(), asked.body["error"]["message"].as_str()) {
        ("GET", _) => {
            let roots = r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#;
            vec![stream(), chunk(&format!("data: {roots}\n\n")), Step::Wait]
        }
        _ => serve(asked, "s-1"),
    };
    let server = HttpServer::tls(&world.server("g", &[]), ask);
    let mut client = start(&world, &server);
    client.initialize().await;
    client.wait_for("the server's roots/list was refused").await;
    assert_eq!(client.echo("undisturbed").await, "undisturbed");
}

#[tokio::test]
async fn a_server_that_asks_again_and_again_fills_no_log() {
    const TIMES: usize = 200;
    let world = World::new();
    let ask = |asked: &Asked| match asked.method() {
        "tools/call" => {
            let request = |id| json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"});
            let result = json!({"content": [{"type": "text", "text": "there"}]});
            let answer = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result});
            let events = (0..TIMES).map(request).chain([answer]);
            let events: String = events.map(|event| format!("data: {event}\n\n")).collect();
            vec![stream(), chunk(&events), end()]
        }
        _ => serve(asked, "s-1"),
    };
    let server = HttpServer::tls(&world.server("g", &[]), ask);
    let mut client = start(&world, &server);
    client.initialize().await;
    assert_eq!(client.echo("are you there").await, "there");
    let news = client.end_with_news().await;
    let told = news.iter().filter(|news| news.contains("the server's roots/list was refused"));
    let counted = |news: &String| {
        news.strip_suffix(" further messages of the server were refused")?.parse::<usize>().ok()
    };
    let (told, counted) = (told.count(), news.iter().filter_map(counted).sum::<usize>());
    assert_eq!(told + counted, TIMES);
    assert!(told < TIMES, "every one of them was told");
}

#[tokio::test]
async fn whoever_is_no_server_of_that_name_is_not_spoken_to() {
    let world = World::new();
    let agent = world.agent("impostor", &["tools:*"]);
    let server = HttpServer::tls(&agent, |asked| serve(asked, "s-1"));
    let end = start(&world, &server).ended().await;
    assert!(matches!(&end, BridgeEnd::Refused(ConnectError::Denied(_))), "{end:?}");
    assert_eq!(server.asked().len(), 0);
}

#[tokio::test]
async fn a_revoked_server_is_left_in_the_middle_of_an_answer() {
    let world = World::new();
    let server = HttpServer::tls(&world.server("g", &[]), |asked| match asked.method() {
        "tools/call" => vec![stream(), Step::Wait],
        _ => serve(asked, "s-1"),
    });
    let mut client = start(&world, &server);
    client.initialize().await;
    let id = client.ask("tools/call", json!({"name": "slow", "arguments": {}})).await;
    server.wait_for("tools/call").await;
    world.revoke("g");
    let answer = client.hear().await.unwrap();
    assert_eq!(answer["id"], id);
    let end = client.ended().await;
    let is_revoked = matches!(
        &end,
        BridgeEnd::Refused(ConnectError::Denied(Denial::Revoked))
            | BridgeEnd::Denied(Denial::Revoked)
    );
    assert!(is_revoked, "{end:?}");
}

#[tokio::test]
async fn a_server_that_shows_another_certificate_is_met_anew() {
    let world = World::new();
    let permitted = world.server("g", &["client:*"]);
    // Behind one name there are two, of which one may ask more than the other.
    let server = HttpServer::tls(&permitted, |asked| match asked.method() {
        "tools/call" => vec![stream(), Step::Wait],
        _ => serve(asked, "s-1"),
    });
    let mut client = start(&world, &server);
    client.initialize().await;
    client.ask("tools/call", json!({"name": "slow", "arguments": {}})).await;
    server.wait_for("tools/call").await;
    let address = server.address;
    server.stop().await;
    let lost = client.hear().await.unwrap();
    assert!(lost["error"]["message"].as_str().unwrap().contains("was lost"), "{lost}");
    let other = world.server("g", &[]);
    let other = HttpServer::tls_at(address, &other, |asked| serve(asked, "s-2"));
    let call = json!({"name": "echo", "arguments": {"text": "x"}});
    let changed = client.request("tools/call", call).await;
    let reason = "The server shows another certificate than when the session began";
    assert_eq!(changed["error"]["message"], reason);
    client.wait_for("the server shows another certificate now; connected again").await;
    assert_eq!(client.hear().await.unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(client.echo("anew").await, "anew");
    // The other one has only heard what was meant for it.
    let sessions: Vec<_> = other
        .asked()
        .iter()
        .map(|asked| asked.header("mcp-session-id").map(str::to_owned))
        .collect();
    assert!(sessions.iter().flatten().all(|session| session == "s-2"), "{sessions:?}");
}

#[tokio::test]
async fn a_client_whose_certificate_is_refused_learns_why() {
    let world = World::new();
    let elsewhere = World::new();
    let stranger = elsewhere.agent("a", &["tools:*"]);
    // It trusts the roots of both, the server only its own.
    let server = world.server("g", &[]);
    let roots: Arc<[_]> = server.roots.iter().chain(stranger.roots.iter()).cloned().collect();
    let server = HttpServer::tls(&server, |asked| serve(asked, "s-1"));
    let name = ServerName::try_from("localhost").unwrap();
    let endpoint = Endpoint::parse(&format!("https://{}/mcp", server.address)).unwrap();
    let clock = Arc::new(rustls::time_provider::DefaultTimeProvider);
    let trust = vouchsafe_transport::Trust::unchecked(fixed(roots), clock);
    let stranger = fixed(Arc::new(stranger));
    let limits = Limits::default();
    let connector = Connector::over_http(endpoint, name, stranger, trust, &limits).unwrap();
    let mut client = BridgedClient::start(connector, limits);
    client.ask("initialize", json!({})).await;
    let end = client.ended().await;
    let reason = "the gateway refused this identity: ";
    assert!(end.to_string().starts_with(reason), "{end}");
    assert!(matches!(end, BridgeEnd::Refused(ConnectError::Refused(_))), "{end:?}");
}

#[tokio::test]
async fn our_own_gateway_is_met_over_http_and_a_renewed_certificate_is_shown_from_then_on() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let short = world.short_lived_agent("a", &["tools:echo"], "3s");
    let (identity, present) = watch::channel(Arc::new(short));
    let connector = connector(&world, gateway.address, present);
    let mut client = BridgedClient::start(connector, Limits::default());
    client.initialize().await;
    assert_eq!(client.echo("before").await, "before");
    let renewed = world.agent("a", &["tools:echo"]);
    let serial = renewed.certificate.serial.to_string();
    identity.send_replace(Arc::new(renewed));
    client.wait_for("connected again with the renewed certificate").await;
    assert_eq!(client.echo("after").await, "after");
    let of_renewed = |event: &serde_json::Value| event["serial"].as_str() == Some(&serial);
    gateway.wait_until(|events| events.iter().any(of_renewed)).await;
    assert!(matches!(client.end().await, BridgeEnd::Done));
}

#[tokio::test]
async fn a_revoked_device_learns_over_http_that_it_is() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let agent = fixed(Arc::new(world.agent("a", &["tools:echo"])));
    let connector = connector(&world, gateway.address, agent);
    let mut client = BridgedClient::start(connector, Limits::default());
    client.initialize().await;
    assert_eq!(client.echo("before").await, "before");
    world.revoke("a");
    let end = client.ended().await;
    assert!(matches!(end, BridgeEnd::Refused(ConnectError::Refused(_))), "{end:?}");
    assert!(end.to_string().contains("revoked"), "{end}");
}
