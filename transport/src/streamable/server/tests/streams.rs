//! Streams: whose answers they carry, how they are resumed, and readers that do not read.

use super::*;

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
