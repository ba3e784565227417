//! Streamable HTTP on the gateway's port, over real TLS and real children.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so")]

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use vouchsafe_tests::{Client, HttpClient, RunningGateway, World, fixed};
use vouchsafe_transport::{Identity, LimitTable, PrincipalLimits, Rate};

const WAYS: [Option<&str>; 3] = [Some("h2"), Some("http/1.1"), None];

async fn connect(gateway: &RunningGateway, identity: &Identity) -> HttpClient {
    HttpClient::connect(gateway.address, identity, Some("http/1.1")).await
}

async fn status(client: &mut HttpClient, method: Method) -> StatusCode {
    let request = client.request(method, &Value::Null);
    client.send(request).await.unwrap().status
}

#[tokio::test]
async fn an_agent_sees_and_uses_what_its_certificate_permits_whatever_it_speaks() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let agent = world.agent("a", &["tools:echo"]);
    for way in WAYS {
        for has_session in [true, false] {
            let mut client = HttpClient::connect(gateway.address, &agent, way).await;
            if has_session {
                client.initialize().await;
            }
            let listed = client.ask(1, "tools/list", json!({})).await.unwrap().whole().await;
            assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1, "{way:?}");
            let called = client.call("echo", json!({"text": "hello"})).await;
            assert_eq!(called["result"]["content"][0]["text"], "hello", "{way:?}");
            let denied = client.call("environment", json!({})).await;
            assert_eq!(
                denied["error"],
                json!({"code": -32602, "message": "Unknown tool: environment"})
            );
        }
    }
    let denials = gateway.events().iter().filter(|event| event["event"] == "denied").count();
    assert_eq!(denials, 6);
}

#[tokio::test]
async fn a_session_is_its_owners_and_to_everybody_else_there_is_none() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let alice_identity = world.agent("alice", &["tools:*"]);
    let mut alice = connect(&gateway, &alice_identity).await;
    alice.initialize().await;
    let mut asked =
        alice.ask(5, "tools/call", json!({"name": "linger", "arguments": {}})).await.unwrap();
    assert_eq!(asked.status, StatusCode::OK);

    // Another principal, the same with other permissions, and with another certificate.
    for identity in [
        world.agent("bob", &["tools:*"]),
        world.agent("alice", &["tools:echo"]),
        world.agent("alice", &["tools:*"]),
    ] {
        let mut other = connect(&gateway, &identity).await;
        other.session.clone_from(&alice.session);
        let listed = other.ask(1, "tools/list", json!({})).await.unwrap();
        assert_eq!(listed.status, StatusCode::NOT_FOUND);
        assert_eq!(status(&mut other, Method::GET).await, StatusCode::NOT_FOUND);
        assert_eq!(status(&mut other, Method::DELETE).await, StatusCode::NOT_FOUND);
        let mut resume = other.request(Method::GET, &Value::Null);
        resume.headers_mut().insert("last-event-id", "2-0".parse().unwrap());
        assert_eq!(other.send(resume).await.unwrap().status, StatusCode::NOT_FOUND);
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
        assert_eq!(other.post(&cancel).await.unwrap().status, StatusCode::NOT_FOUND);
        // To them it is as one that never was.
        let foreign = other.ask(1, "tools/list", json!({})).await.unwrap().whole().await;
        other.session = Some("0".repeat(32));
        assert_eq!(other.ask(1, "tools/list", json!({})).await.unwrap().whole().await, foreign);
    }
    // Another connection of its owner goes on with it.
    let mut again = connect(&gateway, &alice_identity).await;
    again.session.clone_from(&alice.session);
    assert_eq!(status(&mut again, Method::DELETE).await, StatusCode::NO_CONTENT);
    assert!(asked.event().await.unwrap().is_none());
    gateway.wait_for("refused", "somebody else's").await;
}

#[tokio::test]
async fn requests_without_a_session_share_a_child_with_their_own_principals_alone() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut clients = Vec::new();
    for name in ["alice", "bob"] {
        let identity = world.agent(name, &["tools:*"]);
        for way in WAYS {
            clients.push((name, HttpClient::connect(gateway.address, &identity, way).await));
        }
    }
    let calls = clients.into_iter().map(|(name, mut client)| {
        tokio::spawn(async move {
            for _ in 0..20 {
                let answer = client.call("environment", json!({})).await;
                let text = answer["result"]["content"][0]["text"].as_str().unwrap().to_owned();
                assert!(
                    text.contains(&format!("VOUCHSAFE_PRINCIPAL=spiffe://acme.example/{name}\n"))
                );
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    // One session of each behind six connections.
    let opened = gateway.events().iter().filter(|event| event["event"] == "opened").count();
    assert_eq!(opened, 6 + 2);
}

#[tokio::test]
async fn revocation_ends_streams_and_sessions_in_the_middle_of_an_answer() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let identity = world.agent("thief", &["tools:*"]);
    let mut streams = Vec::new();
    for way in WAYS {
        for has_session in [true, false] {
            let mut client = HttpClient::connect(gateway.address, &identity, way).await;
            if has_session {
                client.initialize().await;
            }
            let call = json!({"name": "linger", "arguments": {}});
            let answer = client.ask(1, "tools/call", call).await.unwrap();
            assert_eq!(answer.headers["content-type"], "text/event-stream");
            streams.push((client, answer));
        }
    }
    let mut honest = connect(&gateway, &world.agent("honest", &["tools:*"])).await;
    honest.initialize().await;
    world.revoke("thief");
    for (mut client, mut answer) in streams {
        let ended = timeout(Duration::from_secs(5), answer.event()).await.unwrap();
        assert!(ended.is_err(), "{ended:?}");
        assert!(client.ask(2, "tools/list", json!({})).await.is_err());
    }
    let cut = |events: &[Value]| {
        let is_cut = |event: &&Value| {
            event["event"] == "cut" && event["principal"] == "spiffe://acme.example/thief"
        };
        // Six connections, three sessions, and the one that those without a session share.
        events.iter().filter(is_cut).count() == 6 + 4
    };
    gateway.wait_until(cut).await;
    assert_eq!(
        honest.call("echo", json!({"text": "on"})).await["result"]["content"][0]["text"],
        "on"
    );
}

#[tokio::test]
async fn what_is_not_meant_for_the_gateway_gets_nothing_from_it() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = connect(&gateway, &world.agent("a", &["tools:*"])).await;
    for (uri, header, expected) in [
        ("/mcp", ("host", "evil.example"), StatusCode::FORBIDDEN),
        ("/mcp", ("origin", "https://evil.example"), StatusCode::FORBIDDEN),
        ("/mcp", ("origin", "http://localhost"), StatusCode::FORBIDDEN),
        ("/", ("accept", "*/*"), StatusCode::NOT_FOUND),
        ("/mcp/", ("accept", "*/*"), StatusCode::NOT_FOUND),
        ("/.well-known/oauth-protected-resource", ("accept", "*/*"), StatusCode::NOT_FOUND),
    ] {
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let mut request = client.request(Method::POST, &list);
        *request.uri_mut() = uri.parse().unwrap();
        request.headers_mut().insert(header.0, header.1.parse().unwrap());
        let answer = client.send(request).await.unwrap();
        assert_eq!(answer.status, expected, "{uri} {header:?}");
        // A challenge would send clients to log in somewhere.
        assert!(!answer.headers.contains_key("www-authenticate"));
        drop(answer.whole().await);
    }
    gateway.wait_for("refused", "Host").await;
    gateway.wait_for("refused", "Origin").await;
}

#[tokio::test]
async fn a_principal_that_asks_too_often_is_told_when_to_come_back() {
    let world = World::new();
    let mut each = PrincipalLimits::default();
    // `initialize` and one more; the next in a hundred seconds.
    each.requests = Some(Rate::new(0.01, Some(2)).unwrap());
    let limits = fixed(Arc::new(LimitTable::new(each)));
    let gateway = world.gateway(|config| config.limits.principals = Some(limits)).await;
    let mut client = connect(&gateway, &world.agent("a", &["tools:*"])).await;
    client.initialize().await;
    let ping = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    let answered = client.post(&ping(1)).await.unwrap();
    assert_eq!(answered.status, StatusCode::OK);
    assert_eq!(answered.whole().await["id"], 1);
    let refused = client.post(&ping(2)).await.unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    let error = refused.whole().await["error"].take();
    assert_eq!(error["code"], 429);
    let wait = error["data"]["retryAfterMs"].as_u64().unwrap();
    assert!(
        (90_000..=100_000).contains(&wait) && seconds == wait.div_ceil(1000),
        "{seconds} {error}"
    );
    gateway.wait_for("limited", "too many requests").await;
    // Another principal has a rate of its own.
    connect(&gateway, &world.agent("b", &["tools:*"])).await.initialize().await;
}

#[tokio::test]
async fn a_session_without_a_connection_ends_on_record_when_the_gateway_stops() {
    let world = World::new();
    let gateway = world.gateway(|_| {}).await;
    let mut client = connect(&gateway, &world.agent("a", &["tools:*"])).await;
    client.initialize().await;
    drop(client);
    gateway.wait_until(|events| events.iter().any(|event| event["event"] == "closed")).await;
    let audit = gateway.audit.clone();
    gateway.stop().await;
    let text = std::fs::read_to_string(audit).unwrap();
    let times = |event: &str| text.matches(&format!(r#""event":"{event}""#)).count();
    // The connection, and the session behind it.
    assert_eq!((times("opened"), times("closed")), (2, 2), "{text}");
}

#[tokio::test]
async fn a_principal_that_has_sessions_enough_is_told_so() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.sessions_per_principal = 2).await;
    let identity = world.agent("a", &["tools:*"]);
    let mut client = connect(&gateway, &identity).await;
    // The connection is none of the two.
    client.initialize().await;
    client.session = None;
    client.initialize().await;
    client.session = None;
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    let refused = client.post(&initialize).await.unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["retry-after"], "1");
    let said = refused.whole().await;
    assert!(said["error"]["message"].as_str().unwrap().contains("too many sessions"), "{said}");
    assert_eq!((&said["error"]["code"], &said["id"]), (&json!(429), &json!(0)));
    assert_eq!(said["error"]["data"]["retryAfterMs"], 1000);
    let mut other = connect(&gateway, &world.agent("b", &["tools:*"])).await;
    other.initialize().await;
}

#[tokio::test]
async fn large_requests_of_one_connection_wait_for_each_other_and_all_are_served() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.line = 1_500_000).await;
    let client =
        HttpClient::connect(gateway.address, &world.agent("a", &["tools:*"]), Some("h2")).await;
    let calls = (0..20).map(|_| {
        let mut client = client.beside();
        tokio::spawn(async move {
            let text = "x".repeat(1_000_000);
            let answer = client.call("echo", json!({"text": text})).await;
            assert_eq!(answer["result"]["content"][0]["text"], text);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    // One that is too long is refused, however it is announced.
    let mut client = client.beside();
    let params = json!({"name": "echo", "arguments": {"text": "x".repeat(2_000_000)}});
    let refused = client.ask(1, "tools/call", params).await.unwrap();
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_gateway_stops_although_somebody_listens() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let identity = world.agent("a", &["tools:*"]);
    let mut streams = Vec::new();
    for way in WAYS {
        let mut client = HttpClient::connect(gateway.address, &identity, way).await;
        client.initialize().await;
        let request = client.request(Method::GET, &Value::Null);
        let listening = client.send(request).await.unwrap();
        assert_eq!(listening.status, StatusCode::OK);
        streams.push((client, listening));
    }
    timeout(Duration::from_secs(10), gateway.stop()).await.unwrap();
    for (_client, mut listening) in streams {
        assert!(!matches!(listening.event().await, Ok(Some(_))));
    }
}

#[tokio::test]
async fn a_gateway_of_lines_alone_answers_no_http() {
    let world = World::new();
    let gateway = world.gateway(|config| config.streamable_http = false).await;
    let agent = world.agent("a", &["tools:echo"]);
    let mut lines = Client::connect(gateway.address, &agent).await;
    assert_eq!(lines.call("echo", json!({"text": "hello"})).await, "hello");
    let mut http = HttpClient::connect(gateway.address, &agent, None).await;
    let request = http.request(Method::POST, &json!({}));
    assert!(http.send(request).await.is_err());
}
