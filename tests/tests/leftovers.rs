//! What servers leave behind: whoever stays in the group has time to leave, and whoever went elsewhere
//! costs the gateway nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so")]

use serde_json::json;
use vouchsafe_tests::{Client, World, binary, command, eventually};

async fn until(what: &str, condition: impl Fn() -> bool) {
    assert!(eventually(|| condition().then_some(())).await.is_some(), "{what}");
}

/// One after the other, for descriptors are counted.
#[tokio::test]
async fn what_servers_leave_behind_has_its_time_and_costs_nothing() {
    whoever_is_left_of_a_group_has_time_to_leave().await;
    whoever_left_the_group_holds_no_descriptor_of_ours().await;
}

async fn whoever_is_left_of_a_group_has_time_to_leave() {
    let world = World::new();
    let (ready, gone) = (world.folder().join("ready"), world.folder().join("gone"));
    let (server, is, was) = (binary("echo-server"), ready.display(), gone.display());
    let orderly = format!(
        "trap 'sleep 0.3; echo >{was}; exit' TERM; echo >{is}; while :; do sleep 0.05; done"
    );
    let script =
        format!("sh -c \"{orderly}\" </dev/null >/dev/null 2>&1 & exec {}", server.display());
    let gateway = world.gateway(|config| config.upstream = command(&["sh", "-c", &script])).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    client.call("echo", json!({"text": "x"})).await;
    until("it does not begin", || ready.exists()).await;
    // The server itself leaves when its stdin is closed, long before the grace is over.
    client.close().await;
    until("it was killed before it was done", || gone.exists()).await;
    gateway.stop().await;
}

async fn whoever_left_the_group_holds_no_descriptor_of_ours() {
    let world = World::new();
    let server = binary("echo-server");
    // It keeps the server's stderr for as long as it lives.
    let script = format!("setsid sleep 30 </dev/null >/dev/null & exec {}", server.display());
    let gateway = world.gateway(|config| config.upstream = command(&["sh", "-c", &script])).await;
    let agent = world.agent("a", &["tools:*"]);
    let before = pipes();
    for _ in 0..5 {
        let mut client = Client::connect(gateway.address, &agent).await;
        client.call("echo", json!({"text": "x"})).await;
        client.close().await;
    }
    until("descriptors are left", || pipes() <= before).await;
}

/// Pipes that this process, and so the gateway in it, holds an end of.
fn pipes() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
}
