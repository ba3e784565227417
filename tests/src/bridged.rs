//! An MCP client with a bridge behind its stdio.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vouchsafe_transport::{Bridge, BridgeEnd, BridgeNews, Connector, Limits};

use crate::PATIENCE;

/// A client that knows nothing of the bridge that carries it.
pub struct BridgedClient {
    hears: BufReader<ReadHalf<DuplexStream>>,
    says: WriteHalf<DuplexStream>,
    bridge: JoinHandle<BridgeEnd>,
    news: mpsc::UnboundedReceiver<String>,
    next: u64,
}

impl BridgedClient {
    /// Begins; nothing is said yet.
    #[must_use]
    pub fn start(connector: Connector, limits: Limits) -> Self {
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

    /// Agrees on a version of MCP, as up to 2025-11-25.
    pub async fn initialize(&mut self) {
        let info = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info});
        let answer = self.request("initialize", params).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
        self.say(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    }

    /// Says a message.
    pub async fn say(&mut self, message: Value) {
        self.says.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// The next message, or `None` at the end.
    pub async fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.hears.read_line(&mut line)).await;
        read.unwrap_or_else(|_| panic!("nothing came")).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    /// Makes a request, and says under which id.
    pub async fn ask(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let id = self.next;
        self.say(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
        id
    }

    /// One request, and the next line that comes: its answer.
    pub async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params).await;
        let answer = self.hear().await.unwrap();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Calls `echo`: what it says.
    pub async fn echo(&mut self, text: &str) -> Value {
        let arguments = json!({"text": text});
        let answer = self.request("tools/call", json!({"name": "echo", "arguments": arguments}));
        answer.await["result"]["content"][0]["text"].clone()
    }

    /// Waits until the bridge says this.
    pub async fn wait_for(&mut self, news: &str) {
        let said = async { while !self.news.recv().await.unwrap().contains(news) {} };
        timeout(PATIENCE, said).await.unwrap();
    }

    /// How the bridge ends by itself.
    pub async fn ended(&mut self) -> BridgeEnd {
        timeout(PATIENCE, &mut self.bridge).await.unwrap().unwrap()
    }

    /// Has said everything: what the bridge has said since the last wait.
    pub async fn end_with_news(mut self) -> Vec<String> {
        self.says.shutdown().await.unwrap();
        self.ended().await;
        let mut all = Vec::new();
        while let Some(news) = self.news.recv().await {
            all.push(news);
        }
        all
    }

    /// Has said everything.
    pub async fn end(mut self) -> BridgeEnd {
        self.says.shutdown().await.unwrap();
        self.ended().await
    }
}
