//! In which order a server that speaks HTTP hears what concerns one call: each request goes over a
//! connection of its own, and one may be slower than another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vouchsafe_tests::World;

use crate::behind::{client, gateway_with};

/// Longer than what two kernels hold of a connection that nobody reads.
const LONG: usize = 12 * 1024 * 1024;

/// A server that reads no long body until it has been asked for `ping`.
struct Slow {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    has_told: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Slow {
    fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let (has_pinged, has_told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (hears, tells) = (Arc::clone(&heard), Arc::clone(&has_told));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let told = (Arc::clone(&hears), Arc::clone(&has_pinged), Arc::clone(&tells));
                tokio::spawn(async move { serve(tcp, &told.0, &told.1, &told.2).await });
            }
        });
        Self { address, heard, has_told, task }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(tcp: TcpStream, heard: &Mutex<Vec<String>>, pinged: &Notify, told: &Notify) {
    let mut stream = BufReader::new(tcp);
    while let Some(length) = head(&mut stream).await {
        if length > LONG {
            pinged.notified().await;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        heard.lock().unwrap().push(method.clone());
        told.notify_one();
        let answer = match &*method {
            "initialize" => {
                json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}})
            }
            "ping" => {
                pinged.notify_one();
                json!({})
            }
            "tools/call" => continue,
            _ => {
                let head = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(head).await.unwrap();
                continue;
            }
        };
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": answer}).to_string();
        let head = format!("Content-Type: application/json\r\nContent-Length: {}", answer.len());
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{answer}").as_bytes())
            .await
            .unwrap();
    }
}

/// The length of the body that a head announces; `None` where nobody asks any more.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            let length = headers.get("content-length").map_or("0", String::as_str);
            return length.parse().ok();
        }
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_owned());
        }
    }
}

#[tokio::test]
async fn a_cancellation_never_overtakes_the_call_that_it_cancels() {
    let world = World::new();
    let server = Slow::start();
    let grace = Duration::from_secs(60);
    let gateway = gateway_with(&world, server.address, |limits| limits.child_grace = grace).await;
    let mut client = client(&world, &gateway).await;
    let about = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    client.request("initialize", about).await.unwrap().unwrap();
    let params = json!({"name": "work", "arguments": {"text": "x".repeat(LONG)}});
    let call = json!({"jsonrpc": "2.0", "id": 70, "method": "tools/call", "params": params});
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 70}});
    client.write(format!("{call}\n{cancel}\n").as_bytes()).await.unwrap();
    // The server hears of this, and only then of what the call says.
    let pong = client.request("ping", json!({})).await.unwrap().unwrap();
    assert_eq!(pong["result"], json!({}));
    // Both are here once the call has left; before that, the cancellation was not.
    let all = async {
        while server.heard.lock().unwrap().len() < 4 {
            server.has_told.notified().await;
        }
    };
    timeout(Duration::from_secs(20), all).await.unwrap();
    let mut heard = server.heard.lock().unwrap().clone();
    assert_eq!(heard[..2], ["initialize", "ping"]);
    heard.sort();
    assert_eq!(heard, ["initialize", "notifications/cancelled", "ping", "tools/call"]);
}
