//! A client that asks for more than it reads: what it has asked for waits at the server, and the
//! gateway holds no more than the messages that are on their way.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of gateways and of who talks to them, this needs a part")]
mod serving;

use std::time::Duration;

use home::Home;
use serde_json::json;
use serving::Serving;
use tokio::time::timeout;
use vouchsafe_tests::{Client, Memory, identity_in};

const MEGABYTE: u64 = 1024 * 1024;

/// A server whose every result is a megabyte, and which says whose child it is.
const LAVISH: &str = r#"
echo "gateway $PPID" >&2
big=$(head -c 1048576 /dev/zero | tr '\0' x)
while read -r line; do
    id=${line#*\"id\":}
    printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}\n' "${id%%,*}" "$big"
done
"#;

/// A gateway with such a server behind it, which gives up on a peer after a few seconds.
struct Scene {
    home: Home,
    serving: Serving,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
        home.run(&["issue", "a", "--allow", "tools:lavish"]);
        let options = ["--write-timeout", "3"];
        let serving = Serving::start(&home, &options, &["sh", "-c", LAVISH]);
        Self { home, serving }
    }

    async fn client(&self) -> Client {
        let identity = identity_in(&self.home.path("a"));
        Client::connect(self.serving.address.parse().unwrap(), &identity).await
    }

    /// The most memory that the gateway has had so far.
    fn peak(&self) -> u64 {
        let (_, line) = self.serving.says.wait_for(0, "gateway ");
        Memory::Peak.of(line.rsplit_once(' ').unwrap().1)
    }
}

/// A client that reads what it asked for.
async fn is_served(client: &mut Client) {
    client.write(call(1, "lavish").as_bytes()).await.unwrap();
    assert!(client.line().await.unwrap().is_some());
}

fn call(id: usize, tool: &str) -> String {
    let params = json!({"name": tool, "arguments": {}});
    format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
}

/// Writes until the gateway takes no more.
async fn floods(client: &mut Client, calls: impl Iterator<Item = String>) -> usize {
    let mut written = 0;
    for call in calls {
        match timeout(Duration::from_secs(1), client.write(call.as_bytes())).await {
            Ok(Ok(())) => written += 1,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    written
}

#[tokio::test]
async fn a_gigabyte_that_nobody_reads_waits_at_the_server() {
    let scene = Scene::new();
    let mut reader = scene.client().await;
    is_served(&mut reader).await;
    let before = scene.peak();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = scene.client().await;
        assert_eq!(floods(&mut client, (1..=250).map(|id| call(id, "lavish"))).await, 250);
        clients.push(client);
    }
    is_served(&mut reader).await;
    let mut at = 0;
    for _ in &clients {
        at = scene.serving.says.wait_for(at, "from the client: the peer did not read for 3s").0 + 1;
    }
    // Of each session one message that was read and one that is being written, and a little besides.
    let grown = (scene.peak() - before) / MEGABYTE;
    assert!(grown < 4 * 3 + 8, "{grown} MB for a thousand results of one each");
    is_served(&mut reader).await;
}

#[tokio::test]
async fn thousands_of_requests_whose_answers_nobody_reads_are_not_read_either() {
    let scene = Scene::new();
    let mut reader = scene.client().await;
    is_served(&mut reader).await;
    let before = scene.peak();
    let mut client = scene.client().await;
    // What the gateway answers itself: a tool that is not permitted, and what is no message at all.
    let unknown = format!("no-such-{}", "x".repeat(200));
    let lines = (1..1_000_000).flat_map(|id| [call(id, &unknown), "{\n".to_owned()]);
    let taken = floods(&mut client, lines).await;
    // They stand in the buffers of the two ends of the connection.
    assert!(taken < 1_000_000, "{taken}");
    scene.serving.says.wait_for(0, "did not read for 3s");
    let grown = (scene.peak() - before) / MEGABYTE;
    assert!(grown < 8, "{grown} MB for {taken} lines");
    is_served(&mut reader).await;
}
