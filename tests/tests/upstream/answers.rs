//! What is no answer to the request that was asked, and what is told instead.

use std::time::Duration;

use serde_json::{Value, json};
use vouchsafe_tests::World;
use vouchsafe_tests::upstream::{
    Asked, HttpServer, Step, accepted, chunk, end, json as message, status, stream,
};
use vouchsafe_transport::Limits;

use crate::behind::{
    client, failed, gateway, gateway_with, initialize, modern, result, text, with_session,
};

/// How a server answers a call.
type Answering = fn(&Asked) -> Vec<Step>;

/// What a client is told when the server of the stateless era answers its call like this.
async fn told(limits: impl FnOnce(&mut Limits), steps: Answering) -> Value {
    let world = World::new();
    let server = HttpServer::plain(move |asked| match asked.method() {
        "tools/call" => steps(asked),
        _ => message(&result(asked, r#"{"content":[{"type":"text","text":"next"}]}"#)),
    });
    let gateway = gateway_with(&world, server.address, limits).await;
    let mut client = client(&world, &gateway).await;
    let call = modern(json!({"name": "x", "arguments": {}}));
    let answer = client.request("tools/call", call).await.unwrap().unwrap();
    assert_eq!(answer["id"], 1, "{answer}");
    // It is that request which has failed, and nothing else.
    let next = client.request("server/discover", modern(json!({}))).await.unwrap().unwrap();
    assert_eq!((&next["id"], &next["result"]["content"][0]["text"]), (&json!(2), &json!("next")));
    answer["error"].clone()
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
