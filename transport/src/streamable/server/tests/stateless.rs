//! The era without sessions: what requests share, and headers that must say the same as they do.

use super::*;

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

type Asking = tokio::task::JoinHandle<Response<Body>>;

fn calls(served: &Served, count: usize) -> Vec<Asking> {
    (0..count).map(|nth| served.asking(stateless(&call(nth, None)))).collect()
}

/// Whoever asked hangs up, whether its answer has begun or not.
async fn leave(asked: Vec<Asking>) {
    asked.iter().for_each(Asking::abort);
    drop(asked);
    settle().await;
}

/// Whoever waits has been polled, and whoever was told to end has ended.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_leaves_keeps_its_place_until_the_server_is_told() {
    let served = Served::new();
    let mut asked = calls(&served, 1);
    let mut line = served.line().await;
    line.lists(json!([])).await;
    line.hear().await;
    asked.extend(calls(&served, 999));
    for _ in 1..1000 {
        assert_eq!(line.hear().await["method"], "tools/call");
    }
    // The server reads no further than the beginning of a long message.
    let mut long = call("long", None);
    long["params"]["arguments"] = json!({"text": "x".repeat(500_000)});
    let long = served.asking(stateless(&long));
    assert!(!line.0.fill_buf().await.unwrap().is_empty());
    leave(asked).await;
    // They are a thousand, and with the long one there is room for few others.
    let more = calls(&served, 22);
    settle().await;
    let refused = timeout(SECOND, served.ask(stateless(&call("x", None)))).await;
    assert_eq!(refused.expect("it has a place").status(), StatusCode::SERVICE_UNAVAILABLE);
    // One that was never sent gives its place back at once, and is not cancelled.
    leave(more).await;
    let last = calls(&served, 20);
    settle().await;

    assert_eq!(line.hear().await["params"]["arguments"]["text"].as_str().unwrap().len(), 500_000);
    let (mut cancelled, mut called) = (0, 0);
    while cancelled < 1000 || called < 20 {
        match line.hear().await["method"].as_str().unwrap() {
            "notifications/cancelled" => cancelled += 1,
            method => {
                assert_eq!(method, "tools/call");
                called += 1;
            }
        }
    }
    assert_eq!((cancelled, called), (1000, 20));
    drop((long, last));
}

#[tokio::test]
async fn what_was_never_sent_is_not_cancelled() {
    const ROUNDS: usize = 20;
    let served = Served::new();
    let first = calls(&served, 1);
    let mut line = served.line().await;
    line.lists(json!([])).await;
    let number = line.hear().await["id"].clone();
    // The way to the server is full after some hundred of these.
    for _ in 0..ROUNDS {
        let asked = calls(&served, 100);
        settle().await;
        leave(asked).await;
    }
    leave(first).await;
    let (mut sent, mut cancelled) = (0, 0);
    loop {
        let message = line.hear().await;
        match message["method"].as_str().unwrap() {
            "tools/call" => sent += 1,
            _ if message["params"]["requestId"] == number => break,
            _ => cancelled += 1,
        }
    }
    assert!((100..1000).contains(&sent), "{sent}");
    // In each round one was about to be.
    assert!((sent..=sent + ROUNDS).contains(&cancelled), "{cancelled} of {sent}");
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
