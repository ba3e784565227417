//! A client of Streamable HTTP without manners: it sends what it is told to, and reports what came back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vouchsafe_transport::Identity;

use crate::{PATIENCE, tls_config};

/// The revision of MCP without sessions.
const STATELESS: &str = "2026-07-28";

/// A body of so many spaces that never ends.
struct Endless(usize);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b' '; 1024];
        let piece = PIECE.get(..self.0.min(PIECE.len())).unwrap_or_default();
        if piece.is_empty() {
            return Poll::Pending;
        }
        self.0 -= piece.len();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece)))))
    }
}

/// Begins so many requests over one connection of HTTP/2, each with so many octets of a body, as far as
/// the other side lets them in, and ends none of them until what is returned is dropped.
pub async fn hoard(
    address: SocketAddr,
    identity: &Identity,
    requests: usize,
    octets: usize,
) -> JoinSet<()> {
    let stream = stream(address, identity, Some("h2")).await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async { drop(connection.await) });
    for _ in 0..requests {
        let mut sender = sender.clone();
        tasks.spawn(async move {
            let request = Request::post("https://localhost/mcp").body(Endless(octets)).unwrap();
            drop(sender.send_request(request).await);
        });
    }
    tasks
}

async fn stream(
    address: SocketAddr,
    identity: &Identity,
    protocol: Option<&str>,
) -> TokioIo<TlsStream<TcpStream>> {
    let mut config = tls_config(identity);
    config.alpn_protocols = protocol.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap())
}

/// One connection.
pub struct HttpClient {
    sender: Sender,
    /// The session that `initialize` opened.
    pub session: Option<String>,
}

enum Sender {
    First(http1::SendRequest<Full<Bytes>>),
    Second(http2::SendRequest<Full<Bytes>>),
}

/// An answer, as far as it has come.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The id of the event that was read last.
    pub event_id: Option<String>,
    body: Incoming,
    unread: String,
}

impl HttpClient {
    /// Connects as `identity` and offers this application protocol, or none.
    pub async fn connect(address: SocketAddr, identity: &Identity, protocol: Option<&str>) -> Self {
        let stream = stream(address, identity, protocol).await;
        let sender = if protocol == Some("h2") {
            let handshake = http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = handshake.unwrap();
            tokio::spawn(connection);
            Sender::Second(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Sender::First(sender)
        };
        Self { sender, session: None }
    }

    /// Another client on the same connection, of which HTTP/2 can have many.
    #[must_use]
    pub fn beside(&self) -> Self {
        match &self.sender {
            Sender::Second(sender) => {
                Self { sender: Sender::Second(sender.clone()), session: self.session.clone() }
            }
            Sender::First(_) => panic!("HTTP/1.1 carries one request after the other"),
        }
    }

    /// A request to the endpoint, with the headers that it needs in any case.
    #[must_use]
    pub fn request(&self, method: Method, body: &Value) -> Request<Full<Bytes>> {
        let (uri, host) = match self.sender {
            Sender::First(_) => ("/mcp", Some("localhost")),
            Sender::Second(_) => ("https://localhost/mcp", None),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        for (name, value) in [("host", host), ("mcp-session-id", self.session.as_deref())] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let octets = if body.is_null() { String::new() } else { body.to_string() };
        request.body(Full::new(octets.into())).unwrap()
    }

    /// Sends a request as it is.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        let sent = async {
            match &mut self.sender {
                Sender::First(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Second(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        let response: Response<Incoming> =
            timeout(PATIENCE, sent).await.unwrap_or_else(|_| panic!("no answer came"))?;
        let (head, body) = response.into_parts();
        let (status, headers) = (head.status, head.headers);
        Ok(Answer { status, headers, event_id: None, body, unread: String::new() })
    }

    /// Posts a message.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn post(&mut self, message: &Value) -> hyper::Result<Answer> {
        let request = self.request(Method::POST, message);
        self.send(request).await
    }

    /// Opens a session of MCP.
    pub async fn initialize(&mut self) {
        let initialize = json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
        });
        let answer = self.post(&initialize).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        let session = answer.headers.get("mcp-session-id").unwrap().to_str().unwrap();
        self.session = Some(session.to_owned());
        drop(answer.whole().await);
    }

    /// Asks within the session, or, where there is none, as a request that stands for itself.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn ask(&mut self, id: u64, method: &str, params: Value) -> hyper::Result<Answer> {
        let mut message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        if self.session.is_some() {
            return self.post(&message).await;
        }
        let meta = &mut message["params"]["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = STATELESS.into();
        if meta["io.modelcontextprotocol/clientCapabilities"].is_null() {
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        let mut request = self.request(Method::POST, &message);
        let headers = request.headers_mut();
        headers.insert("mcp-protocol-version", STATELESS.parse().unwrap());
        headers.insert("mcp-method", method.parse().unwrap());
        let named = ["name", "taskId"].map(|member| message["params"][member].as_str());
        if let Some(name) = named.into_iter().flatten().next() {
            headers.insert("mcp-name", name.parse().unwrap());
        }
        self.send(request).await
    }

    /// One call, and its answer.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.ask(1, "tools/call", params).await.unwrap().whole().await
    }
}

impl Answer {
    /// All of it: the one message, or the last one of a stream.
    pub async fn whole(mut self) -> Value {
        let is_stream =
            self.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        if is_stream {
            let mut last = Value::Null;
            while let Some(message) = self.event().await.unwrap() {
                last = message;
            }
            return last;
        }
        let body = timeout(PATIENCE, self.body.collect()).await.unwrap().unwrap();
        serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null)
    }

    /// Reads to the end, and says how many octets there were.
    ///
    /// # Errors
    /// If the connection breaks off.
    pub async fn octets(mut self) -> hyper::Result<usize> {
        let mut octets = 0;
        while let Some(frame) = self.body.frame().await {
            octets += frame?.into_data().unwrap_or_default().len();
        }
        Ok(octets)
    }

    /// The next message of a stream; `None` at its end.
    ///
    /// # Errors
    /// If the connection breaks off.
    pub async fn event(&mut self) -> hyper::Result<Option<Value>> {
        // Of its whole coming: lines that mean nothing keep nobody waiting for ever.
        let coming = timeout(PATIENCE, self.next_event()).await;
        coming.unwrap_or_else(|_| panic!("nothing came"))
    }

    async fn next_event(&mut self) -> hyper::Result<Option<Value>> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
                let (id, data) = (field("id: ").map(str::to_owned), field("data: "));
                self.event_id = id.or_else(|| self.event_id.take());
                let message = data.and_then(|data| serde_json::from_str(data).ok());
                self.unread = rest.to_owned();
                if message.is_some() {
                    return Ok(message);
                }
                continue;
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let octets = frame?.into_data().unwrap_or_default();
                    self.unread.push_str(std::str::from_utf8(&octets).unwrap());
                }
            }
        }
    }
}
