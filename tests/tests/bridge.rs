//! A bridge whose connection is lost, whose certificate is renewed, and whose device is revoked.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vouchsafe_tests::{RunningGateway, World, fixed};
use vouchsafe_transport::{
    Bridge, BridgeEnd, BridgeNews, ConnectError, Connector, Identity, Limits,
};

/// Nothing on this machine takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// An MCP client with a bridge behind its stdio.
struct Client {
    hears: BufReader<ReadHalf<DuplexStream>>,
    says: WriteHalf<DuplexStream>,
    bridge: JoinHandle<BridgeEnd>,
    news: mpsc::UnboundedReceiver<String>,
    next: u64,
}

impl Client {
    fn start(world: &World, address: SocketAddr, present: watch::Receiver<Arc<Identity>>) -> Self {
        let trust = world.trust(&present.borrow());
        let name = ServerName::try_from("localhost").unwrap();
        let limits = Limits::default();
        let connector =
            Connector::new(&address.to_string(), name, present, trust, &limits).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(far);
        let (tell, news) = mpsc::unbounded_channel();
        let bridge = tokio::spawn(async move {
            let tell = |news: &BridgeNews<'_>| drop(tell.send(news.to_string()));
            Bridge::run(&connector, input, output, &limits, &tell).await
        });
        let (hears, says) = tokio::io::split(near);
        Self { hears: BufReader::new(hears), says, bridge, news, next: 0 }
    }

    /// One that has agreed on a version of MCP, as up to 2025-11-25.
    async fn begin(world: &World, gateway: &RunningGateway, permissions: &[&str]) -> Self {
        let agent = world.agent("a", permissions);
        let mut client = Self::start(world, gateway.address, fixed(Arc::new(agent)));
        client.initialize().await;
        client
    }

    async fn initialize(&mut self) {
        let info = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info});
        let answer = self.request("initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    }

    async fn say(&mut self, message: Value) {
        self.says.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.hears.read_line(&mut line)).await;
        read.unwrap_or_else(|_| panic!("nothing came")).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    async fn ask(&mut self, method: &str, params: Value) {
        self.next += 1;
        let id = self.next;
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
    }

    /// One request, and the next line that comes: its answer.
    async fn request(&mut self, method: &str, params: Value) -> Value {
        self.ask(method, params).await;
        let answer = self.hear().await.unwrap();
        assert_eq!(answer["id"], self.next, "{answer}");
        answer
    }

    async fn echo(&mut self, text: &str) -> Value {
        let arguments = json!({"text": text});
        let answer = self.request("tools/call", json!({"name": "echo", "arguments": arguments}));
        answer.await["result"]["content"][0]["text"].clone()
    }

    /// Waits until the bridge says this.
    async fn wait_for(&mut self, news: &str) {
        let said = async { while !self.news.recv().await.unwrap().contains(news) {} };
        timeout(PATIENCE, said).await.unwrap();
    }

    async fn end(mut self) -> BridgeEnd {
        self.says.shutdown().await.unwrap();
        timeout(PATIENCE, self.bridge).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_client_does_not_notice_that_its_gateway_was_restarted() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = Client::begin(&world, &gateway, &["tools:echo"]).await;
    assert_eq!(client.echo("before").await, "before");
    let address = gateway.address;
    gateway.stop().await;
    let gateway = world.gateway_at(address, |_| ()).await;
    // Nobody asks the bridge to. Whoever asks the server meanwhile may be told to try again.
    client.wait_for("; connected again").await;
    assert_eq!(client.echo("after").await, "after");
    // The new server has been told what the old one was told.
    let methods: Vec<_> = gateway.events().iter().map(|event| event["method"].clone()).collect();
    assert_eq!(methods[1], "initialize");
    assert!(matches!(client.end().await, BridgeEnd::Done));
}

#[tokio::test]
async fn what_was_in_flight_is_answered_with_leave_to_try_again() {
    let world = World::new();
    let gateway =
        world.gateway(|config| config.limits.child_grace = Duration::from_millis(50)).await;
    let mut client = Client::begin(&world, &gateway, &["tools:*"]).await;
    client.ask("tools/call", json!({"name": "linger"})).await;
    gateway.wait_until(|events| events.iter().any(|event| event["name"] == "linger")).await;
    let address = gateway.address;
    gateway.stop().await;
    let answer = client.hear().await.unwrap();
    assert_eq!(answer["id"], client.next);
    assert!(answer["error"]["message"].as_str().unwrap().ends_with("try again"), "{answer}");
    // A client that asks while nobody is there is told so, in time.
    let answer = client.request("tools/list", json!({})).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("The server cannot be reached at present"), "{answer}");
    let _gateway = world.gateway_at(address, |_| ()).await;
    let back = async {
        while client.echo("back").await != "back" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, back).await.unwrap();
}

#[tokio::test]
async fn whoever_comes_while_a_gateway_sees_its_sessions_off_is_refused_at_once() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.child_grace = PATIENCE / 4).await;
    let mut client = Client::begin(&world, &gateway, &["tools:*"]).await;
    client.ask("tools/call", json!({"name": "linger"})).await;
    gateway.wait_until(|events| events.iter().any(|event| event["name"] == "linger")).await;
    let address = gateway.address;
    // Its server does not end by itself.
    let stopping = tokio::spawn(gateway.stop());
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert!(!stopping.is_finished());
}

#[tokio::test]
async fn a_server_that_leaves_is_replaced_by_another() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = Client::begin(&world, &gateway, &["tools:*"]).await;
    let answer = client.request("tools/call", json!({"name": "leave"})).await;
    assert_eq!(answer["error"]["message"], "The server ended");
    assert_eq!(client.echo("another").await, "another");
}

#[tokio::test]
async fn a_session_outlives_the_certificate_it_was_opened_with() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let short = world.short_lived_agent("a", &["tools:echo"], "3s");
    let (identity, present) = watch::channel(Arc::new(short));
    let mut client = Client::start(&world, gateway.address, present);
    client.initialize().await;
    let renewed = world.agent("a", &["tools:echo"]);
    let serial = renewed.certificate.serial.to_string();
    identity.send_replace(Arc::new(renewed));
    let is_second =
        |event: &Value| event["event"] == "opened" && event["serial"].as_str() == Some(&serial);
    gateway.wait_until(|events| events.iter().any(is_second)).await;
    assert_eq!(client.echo("renewed").await, "renewed");
    assert!(matches!(client.end().await, BridgeEnd::Done));
}

#[tokio::test]
async fn a_bridge_whose_certificate_expired_waits_for_the_renewal() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let short = world.short_lived_agent("a", &["tools:echo"], "2s");
    let (identity, present) = watch::channel(Arc::new(short));
    let mut client = Client::start(&world, gateway.address, present);
    client.initialize().await;
    client.wait_for("our own certificate has expired; waiting for its renewal").await;
    identity.send_replace(Arc::new(world.agent("a", &["tools:echo"])));
    assert_eq!(client.echo("renewed").await, "renewed");
    // It knew better than to knock with the expired one.
    assert!(gateway.events().iter().all(|event| event["event"] != "refused"));
    assert!(matches!(client.end().await, BridgeEnd::Done));
}

#[tokio::test]
async fn a_revoked_device_learns_that_it_is_and_does_not_try_again() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = Client::begin(&world, &gateway, &["tools:echo"]).await;
    assert_eq!(client.echo("before").await, "before");
    world.revoke("a");
    let end = timeout(PATIENCE, &mut client.bridge).await.unwrap().unwrap();
    assert!(matches!(end, BridgeEnd::Refused(ConnectError::Refused(_))), "{end:?}");
    assert!(end.to_string().contains("revoked"), "{end}");
    assert!(client.hear().await.is_none());
}

#[tokio::test]
async fn a_client_that_was_never_served_is_not_kept_waiting() {
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.sessions = 0).await;
    let agent = fixed(Arc::new(world.agent("a", &["tools:*"])));
    let mut client = Client::start(&world, gateway.address, agent);
    let end = timeout(PATIENCE, &mut client.bridge).await.unwrap().unwrap();
    let reason = "The session is closed: too many sessions are open";
    assert!(matches!(&end, BridgeEnd::Closed(Some(said)) if said == reason), "{end:?}");
}
