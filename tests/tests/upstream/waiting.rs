//! What is waited for, and for how long: answers that were cancelled, and those that nobody reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use vouchsafe_tests::upstream::{HttpServer, Step, chunk, end, json as message, stream};
use vouchsafe_tests::{World, eventually};
use vouchsafe_transport::HttpUpstream;

use crate::behind::{client, gateway, gateway_with, initialize, modern, text, with_session};

#[tokio::test]
async fn what_was_cancelled_is_waited_for_no_longer_than_a_process_that_should_end() {
    // As many as reach the server at once: what has not left yet is not said at all.
    const CALLS: usize = HttpUpstream::CONNECTIONS_PER_SESSION;
    let world = World::new();
    let gone = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&gone);
    // As MCP up to 2025-11-25 wants it: no answer to what was cancelled. And the stream stays open.
    let server = HttpServer::plain(move |asked| {
        with_session(asked, || vec![stream(), Step::Wait, Step::Count(Arc::clone(&counted))])
    });
    let grace = Duration::from_millis(100);
    let gateway = gateway_with(&world, server.address, |limits| limits.child_grace = grace).await;
    let mut client = client(&world, &gateway).await;
    initialize(&mut client).await;
    for id in 0..CALLS {
        let call = json!({"jsonrpc": "2.0", "id": format!("call-{id}"), "method": "tools/call", "params": {"name": "slow"}});
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": format!("call-{id}")}});
        client.write(format!("{call}\n{cancel}\n").as_bytes()).await.unwrap();
    }
    let all = || (gone.load(Ordering::Relaxed) >= CALLS).then_some(());
    assert!(eventually(all).await.is_some(), "some are still waited for");
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
        let all = || (server.asked().len() >= CALLS).then_some(());
        assert!(eventually(all).await.is_some(), "too few calls reach the server");
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
