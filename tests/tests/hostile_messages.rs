//! Messages that two parsers could read in two ways, messages without an end, and clients that do
//! not read: each is refused with one line, and whoever else is there notices nothing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vouchsafe_tests::hostile::Honest;
use vouchsafe_tests::{Client, Memory, RunningGateway, World};

/// What the audit holds of one principal.
fn events_of(gateway: &RunningGateway, name: &str) -> Vec<Value> {
    let principal = format!("spiffe://acme.example/{name}");
    gateway.events().into_iter().filter(|event| event["principal"] == *principal).collect()
}

/// How a session ended, and why.
async fn end_of(gateway: &RunningGateway, name: &str) -> (String, String) {
    let is_end = |event: &&Value| event["event"] == "closed" || event["event"] == "cut";
    gateway.wait_until(|_| events_of(gateway, name).iter().any(|event| is_end(&event))).await;
    let events = events_of(gateway, name);
    let ends: Vec<_> = events.iter().filter(is_end).collect();
    assert_eq!(ends.len(), 1, "{events:#?}");
    let text = |member: &str| ends[0][member].as_str().unwrap().to_owned();
    (text("event"), text("reason"))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
async fn what_can_be_read_in_two_ways_is_not_passed_on() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let honest = Honest::of(&world);
    let agent = world.agent("hostile", &["tools:echo"]);
    let mut client = Client::connect(gateway.address, &agent).await;
    let twice = "a key appears twice in one object";
    let variant = "a key differs from a protocol key only in case";
    let unfit = "the parameters do not fit the method";
    let not_rpc = "the message is not JSON-RPC 2.0";
    for (line, reason, id) in [
        // What the policy would read is permitted; what the server might read is not.
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"environment"}}"#,
            twice,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"environment"}}"#,
            twice,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":{"b":1,"b":2}}}}"#,
            twice,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","n\u0061me":"environment"}}"#,
            twice,
            None,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
            variant,
            Some(json!(1)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","PARAMS":{"name":"environment"}}"#,
            variant,
            Some(json!(1)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","Name":"environment"}}"#,
            variant,
            Some(json!(1)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","\u004eame":"environment"}}"#,
            variant,
            Some(json!(1)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_META":{}}}"#,
            variant,
            Some(json!(1)),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"progresstoken":1}}}"#,
            variant,
            Some(json!(1)),
        ),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "batches are not allowed", None),
        ("[]", "batches are not allowed", None),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, not_rpc, None),
        (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, not_rpc, None),
        (r#"{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}"#, not_rpc, None),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, not_rpc, Some(json!(1))),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, not_rpc, Some(json!(1))),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, not_rpc, Some(json!(1))),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["environment"]}}"#,
            unfit,
            Some(json!(1)),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, unfit, Some(json!(1))),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {"jsonrpc":"2.0","id":2,"method":"ping"}"#,
            "the message is not JSON",
            None,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#, "the message is not JSON", None),
        ("\u{feff}{}", "the message is not JSON", None),
        ("7", "the message is not an object", None),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":"\ud800"}"#,
            "a string holds half of a surrogate pair",
            None,
        ),
    ] {
        client.write(format!("{line}\n").as_bytes()).await.unwrap();
        is_denied(&gateway, &mut client, reason, id).await;
    }
    client.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}\n").await.unwrap();
    is_denied(&gateway, &mut client, "the message is not UTF-8", None).await;
    let deep = format!("{{\"a\":{}{}}}\n", "[".repeat(100_000), "]".repeat(100_000));
    client.write(deep.as_bytes()).await.unwrap();
    is_denied(&gateway, &mut client, "the message is nested too deeply", None).await;
    // Nothing of all that has reached the server, and the session is as good as ever.
    assert_eq!(client.call("echo", json!({"text": "still here"})).await, "still here");
    client.close().await;
    assert_eq!(gateway.wait_for("closed", "").await["calls"], 1);
    honest.calls(&gateway).await;
}

/// The last line was answered with this refusal, and the audit has one line of it.
async fn is_denied(gateway: &RunningGateway, client: &mut Client, reason: &str, id: Option<Value>) {
    let answer = client.line().await.unwrap().unwrap();
    let error = &answer["error"];
    assert_eq!(error["message"], format!("Refused: {reason}"));
    assert_eq!(answer.get("id"), id.as_ref(), "{answer}");
    let events = events_of(gateway, "hostile");
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["from"]), (&json!("denied"), &json!("client")));
    assert_eq!(last["reason"], reason);
    let before = &events[events.len() - 2]["event"];
    assert!(before == "denied" || before == "opened", "{events:#?}");
}

#[tokio::test]
async fn a_message_of_a_hundred_megabytes_is_not_kept() {
    const MEGABYTE: u64 = 1024 * 1024;
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let honest = Honest::of(&world);
    let mut client = Client::connect(gateway.address, &world.agent("hostile", &["tools:*"])).await;
    let before = Memory::Peak.of("self");
    let part = vec![b'x'; 1024 * 1024];
    let mut written = 0;
    while written < 100 && client.write(&part).await.is_ok() {
        written += 1;
    }
    // No more than the limit and what the system keeps in between.
    assert!(written < 40, "{written} MB of 100 were taken");
    let told = client.line().await.unwrap().unwrap();
    let reason = "from the client: a message is longer than 16777216 octets";
    assert_eq!(told["error"]["message"], reason);
    assert_eq!(told.get("id"), None);
    let ended = ("closed".to_owned(), reason.to_owned());
    assert_eq!(end_of(&gateway, "hostile").await, ended);
    let grown = (Memory::Peak.of("self") - before) / MEGABYTE;
    assert!(grown < 100, "{grown} MB were needed");
    honest.calls(&gateway).await;
}

#[tokio::test]
async fn a_message_up_to_the_limit_passes_and_a_longer_one_does_not() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.line = 10_000).await;
    let agent = world.agent("hostile", &["tools:echo"]);
    let mut client = Client::connect(gateway.address, &agent).await;
    let message = |length: usize| {
        let frame =
            json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": ""}}).to_string();
        let filled = format!("\"{}\"", "x".repeat(length - frame.len() - 1));
        frame.replace("\"\"", &filled) + "\n"
    };
    client.write(message(10_000).as_bytes()).await.unwrap();
    assert_eq!(client.line().await.unwrap().unwrap()["result"], json!({}));
    client.write(message(40_000).as_bytes()).await.unwrap();
    let reason = "from the client: a message is longer than 10000 octets";
    assert_eq!(client.line().await.unwrap().unwrap()["error"]["message"], reason);
    assert_eq!(client.ending().await, "closed");
    assert_eq!(end_of(&gateway, "hostile").await.1, reason);
}

#[tokio::test]
async fn whoever_begins_a_message_must_end_it() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.message = Duration::from_millis(500)).await;
    let honest = Honest::of(&world);
    let reason = "from the client: a message was begun and not ended within 500ms";
    let half = br#"{"jsonrpc":"2.0","id":1,"meth"#;

    let mut silent = Client::connect(gateway.address, &world.agent("silent", &[])).await;
    silent.write(half).await.unwrap();
    let told = silent.line().await.unwrap().unwrap();
    assert_eq!(told["error"]["message"], reason);
    assert_eq!(silent.ending().await, "closed");
    assert_eq!(end_of(&gateway, "silent").await, ("closed".into(), reason.into()));

    // An octet now and then does not count as progress.
    let mut slow = Client::connect(gateway.address, &world.agent("slow", &[])).await;
    let begun = Instant::now();
    let mut octets = half.iter().cycle();
    while slow.write(&[*octets.next().unwrap()]).await.is_ok()
        && events_of(&gateway, "slow").len() < 2
    {
        assert!(begun.elapsed() < Duration::from_secs(5), "octets are taken for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(end_of(&gateway, "slow").await, ("closed".into(), reason.into()));
    honest.calls(&gateway).await;
}

#[tokio::test]
async fn whoever_says_nothing_leaves() {
    let world = World::new();
    let gateway = world
        .gateway(|config| {
            config.limits.first_message = Duration::from_millis(200);
            config.limits.idle = Duration::from_millis(400);
        })
        .await;
    let mut silent = Client::connect(gateway.address, &world.agent("silent", &[])).await;
    assert_eq!(silent.ending().await, "closed");
    let reason = "the client sent no message in time";
    assert_eq!(end_of(&gateway, "silent").await, ("closed".into(), reason.into()));
    // Empty lines are no messages.
    let mut blank = Client::connect(gateway.address, &world.agent("blank", &[])).await;
    let writing = async {
        while blank.write(b"\n \n").await.is_ok() && events_of(&gateway, "blank").len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), writing).await.unwrap();
    assert_eq!(end_of(&gateway, "blank").await, ("closed".into(), reason.into()));
    // Who has said something once may be idle for longer, but not for ever.
    let agent = world.agent("idle", &["tools:echo"]);
    let mut idle = Client::connect(gateway.address, &agent).await;
    assert_eq!(idle.call("echo", json!({"text": "once"})).await, "once");
    let since = Instant::now();
    assert_eq!(idle.ending().await, "closed");
    assert!(since.elapsed() >= Duration::from_millis(300), "{:?}", since.elapsed());
    assert_eq!(end_of(&gateway, "idle").await, ("closed".into(), reason.into()));
    Honest::of(&world).calls(&gateway).await;
}

#[tokio::test]
async fn whoever_does_not_read_is_left() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.write = Duration::from_millis(300)).await;
    let honest = Honest::of(&world);
    let agent = world.agent("hostile", &["tools:large"]);
    let mut client = Client::connect(gateway.address, &agent).await;
    let params = json!({"name": "large", "arguments": {"octets": 9_000_000}});
    for id in 0..4 {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        client.write(format!("{call}\n").as_bytes()).await.unwrap();
    }
    // Meanwhile others are served.
    honest.calls(&gateway).await;
    let reason = "from the client: the peer did not read for 300ms";
    assert_eq!(end_of(&gateway, "hostile").await, ("closed".into(), reason.into()));
    drop(client);
    honest.calls(&gateway).await;
    // Its child is gone as well, though it had more to say.
    gateway.stop().await;
}
