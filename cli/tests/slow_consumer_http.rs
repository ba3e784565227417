//! A client of Streamable HTTP that asks for more than it reads, in both versions of HTTP: what it has
//! asked for waits at the server, and comes when it reads after all.
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
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use serving::Serving;
use tokio::spawn;
use tokio::time::{sleep, timeout};
use vouchsafe_tests::{Answer, HttpClient, Memory, identity_in};
use vouchsafe_transport::Identity;

const MEGABYTE: u64 = 1024 * 1024;

/// Nothing of it takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What passes within this time and more would pass if it only could.
const SETTLED: Duration = Duration::from_secs(1);

/// A server whose results are as long as its tool is named, in megabytes, and which says whose child it
/// is. `news` is answered at once, and followed by notifications without end.
const LAVISH: &str = r#"
echo "gateway $PPID" >&2
one=$(head -c 1048576 /dev/zero | tr '\0' x)
ten=$one$one$one$one$one$one$one$one$one$one
while read -r line; do
    id=${line#*\"id\":}
    case $line in
    *'"name":"ten"'*) big=$ten ;;
    *'"name":"one"'*) big=$one ;;
    *) big=small ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}\n' "${id%%,*}" "$big"
    case $line in
    *'"name":"news"'*)
        while :; do
            printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"why":"%s"}}\n' "$one"
        done ;;
    esac
done
"#;

/// A gateway with such a server behind it.
struct Scene {
    serving: Serving,
    identity: Identity,
    _home: Home,
}

impl Scene {
    fn new(options: &[&str]) -> Self {
        let home = Home::new();
        home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
        home.run(&["issue", "a", "--allow", "tools:*"]);
        let serving = Serving::start(&home, options, &["sh", "-c", LAVISH]);
        let identity = identity_in(&home.path("a"));
        Self { serving, identity, _home: home }
    }

    /// One connection of this protocol, with a session.
    async fn client(&self, protocol: &str) -> HttpClient {
        let mut client = self.connection(protocol).await;
        client.initialize().await;
        client
    }

    async fn connection(&self, protocol: &str) -> HttpClient {
        let address = self.serving.address.parse().unwrap();
        HttpClient::connect(address, &self.identity, Some(protocol)).await
    }

    /// Memory of the gateway.
    fn memory(&self, which: Memory) -> u64 {
        let (_, line) = self.serving.says.wait_for(0, "gateway ");
        which.of(line.rsplit_once(' ').unwrap().1)
    }
}

/// How a client asks for a thousand megabytes: with so many sessions, of so many connections each, over
/// which it asks so often.
struct Greed {
    protocol: &'static str,
    tool: &'static str,
    sessions: u64,
    connections: u64,
    requests: u64,
}

const GREED: [Greed; 2] = [
    Greed { protocol: "h2", tool: "one", sessions: 4, connections: 2, requests: 125 },
    Greed { protocol: "http/1.1", tool: "ten", sessions: 2, connections: 50, requests: 1 },
];

impl Greed {
    /// Asks, and reads no more than that an answer begins: the answers of each session, in order.
    async fn asks(&self, scene: &Scene) -> Vec<Vec<(HttpClient, Answer)>> {
        let mut sessions = Vec::new();
        for _ in 0..self.sessions {
            let mut asking = Vec::new();
            let session = scene.client(self.protocol).await.session;
            for connection in 0..self.connections {
                let mut client = scene.connection(self.protocol).await;
                client.session.clone_from(&session);
                if self.requests == 1 {
                    asking.push(spawn(asked(client, connection + 1, self.tool)));
                    continue;
                }
                let ids = (1..=self.requests).map(|id| connection * self.requests + id);
                asking.extend(ids.map(|id| spawn(asked(client.beside(), id, self.tool))));
            }
            let mut answers = Vec::new();
            for asked in asking {
                answers.push(asked.await.unwrap());
            }
            sessions.push(answers);
        }
        sessions
    }
}

/// A call whose answer has begun.
async fn asked(mut client: HttpClient, id: u64, tool: &'static str) -> (HttpClient, Answer) {
    let params = json!({"name": tool, "arguments": {}});
    let answer = client.ask(id, "tools/call", params).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    (client, answer)
}

#[tokio::test]
async fn a_gigabyte_that_nobody_reads_waits_at_the_server_until_it_is_read() {
    for greed in GREED {
        let scene = Scene::new(&["--write-timeout", "300"]);
        drop(asked(scene.client(greed.protocol).await, 1, greed.tool).await.1.octets().await);
        let before = scene.memory(Memory::Now);
        let mut sessions = greed.asks(&scene).await;
        sleep(SETTLED).await;
        // All of it comes to whoever reads after all.
        let length = if greed.tool == "one" { 1 } else { 10 };
        let reading = sessions.remove(0).into_iter().map(|(client, answer)| {
            spawn(async {
                let octets = answer.octets().await;
                drop(client);
                octets
            })
        });
        for read in reading.collect::<Vec<_>>() {
            let octets = timeout(PATIENCE, read).await.unwrap().unwrap().unwrap();
            assert!(u64::try_from(octets).unwrap() > length * MEGABYTE, "{octets}");
        }
        // Of each session a message that comes, one that goes and one that is kept to be resumed, as
        // they are copied on their way; of each connection what HTTP and TLS have taken of it.
        let connections = greed.sessions * greed.connections;
        let limit = greed.sessions * (5 * length + 1) + connections + 32;
        let grown = (scene.memory(Memory::Peak) - before) / MEGABYTE;
        assert!(grown < limit, "{grown} MB of {limit} over {}", greed.protocol);
    }
}

#[tokio::test]
async fn notifications_without_end_wait_for_whoever_listens() {
    for protocol in ["h2", "http/1.1"] {
        let scene = Scene::new(&["--write-timeout", "300"]);
        let client = scene.client(protocol).await;
        let mut listening = scene.connection(protocol).await;
        listening.session.clone_from(&client.session);
        let listen = listening.request(Method::GET, &Value::Null);
        let mut news = listening.send(listen).await.unwrap();
        assert_eq!(news.status, StatusCode::OK);
        let before = scene.memory(Memory::Now);
        drop(asked(client, 1, "news").await);
        sleep(SETTLED).await;
        for _ in 0..20 {
            let event = news.event().await.unwrap().unwrap();
            assert_eq!(event["method"], "notifications/tools/list_changed");
        }
        let grown = (scene.memory(Memory::Peak) - before) / MEGABYTE;
        assert!(grown < 16, "{grown} MB over {protocol}");
    }
}
