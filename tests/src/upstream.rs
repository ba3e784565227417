//! An MCP server over HTTP without manners: it answers whatever octets the test wants, and writes
//! down what it was asked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use vouchsafe_transport::Identity;

use crate::eventually;
use crate::world::listener;

/// One request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Asked {
    /// `POST`, `GET`, `DELETE`.
    pub verb: String,
    /// Path and query.
    pub target: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The message.
    pub body: Value,
    /// Over which connection it came, counted from 0.
    pub connection: usize,
}

impl Asked {
    /// The method of the message, or the verb where there is none.
    #[must_use]
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or(&self.verb)
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The id of the message, as JSON.
    #[must_use]
    pub fn id(&self) -> String {
        self.body["id"].to_string()
    }
}

/// What a server does next.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Step {
    /// Says these octets.
    Say(String),
    /// Says them again and again, for as long as somebody listens.
    SayForever(String),
    /// Waits until the other side has gone.
    Wait,
    /// Waits until this word has been said so often.
    Until(watch::Receiver<Vec<String>>, String, usize),
    /// Counts that it has come so far.
    Count(Arc<AtomicUsize>),
    /// Closes the connection.
    Close,
    /// Breaks the connection off (RFC 9293 §3.10.7.4: a reset).
    Reset,
}

/// A whole answer of one message.
#[must_use]
pub fn json(message: &str) -> Vec<Step> {
    status("200 OK", "Content-Type: application/json\r\n", message)
}

/// A whole answer.
#[must_use]
pub fn status(line: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head = format!("HTTP/1.1 {line}\r\n{headers}Content-Length: {length}\r\n\r\n");
    vec![Step::Say(head + body)]
}

/// What is answered to notifications.
#[must_use]
pub fn accepted() -> Vec<Step> {
    status("202 Accepted", "", "")
}

/// The beginning of a stream of events.
#[must_use]
pub fn stream() -> Step {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    Step::Say(format!("{head}Transfer-Encoding: chunked\r\n\r\n"))
}

/// Octets of a stream.
#[must_use]
pub fn chunk(text: &str) -> Step {
    Step::Say(format!("{:x}\r\n{text}\r\n", text.len()))
}

/// The end of a stream.
#[must_use]
pub fn end() -> Step {
    Step::Say("0\r\n\r\n".to_owned())
}

/// A free port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

type Answer = dyn Fn(&Asked) -> Vec<Step> + Send + Sync;

/// A server on a free port.
pub struct HttpServer {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Without TLS.
    pub fn plain(answer: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::plain_at(ANY, answer)
    }

    /// As [`plain`](Self::plain), at an address of which nobody else makes use.
    pub fn plain_at(
        address: SocketAddr,
        answer: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::start(listener(address), None, Arc::new(answer))
    }

    /// With TLS, as an identity. Whoever shows a certificate must show one of the same roots.
    pub fn tls(
        identity: &Identity,
        answer: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::tls_at(ANY, identity, answer)
    }

    /// As [`tls`](Self::tls), at an address of which nobody else makes use.
    pub fn tls_at(
        address: SocketAddr,
        identity: &Identity,
        answer: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        for root in identity.roots.iter() {
            roots.add(root.der.clone()).unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        );
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(identity.chain.clone(), identity.key.to_tls())
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::start(listener(address), Some(tls), Arc::new(answer))
    }

    fn start(listener: TcpListener, tls: Option<TlsAcceptor>, answer: Arc<Answer>) -> Self {
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            // They end when this task does.
            let mut connections = JoinSet::new();
            let mut count = 0;
            while let Ok((tcp, _)) = listener.accept().await {
                let (heard, answer, tls) = (Arc::clone(&heard), Arc::clone(&answer), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(tcp, count, &heard, &*answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                serve(stream, count, &heard, &*answer).await;
                            }
                        }
                    }
                });
                count += 1;
            }
        });
        Self { address, asked, task }
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until it was asked for this, and says what it was.
    pub async fn wait_for(&self, method: &str) -> Asked {
        let look = || self.asked().into_iter().find(|asked| asked.method() == method);
        let found = eventually(look).await;
        found.unwrap_or_else(|| panic!("nobody asked for {method}: {:#?}", self.asked()))
    }

    /// Ends it, and waits until its address is free.
    pub async fn stop(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a stream is broken off, if it can be.
trait Breakable {
    fn reset(&self) {}
}

impl Breakable for TcpStream {
    fn reset(&self) {
        self.set_zero_linger().unwrap();
    }
}

impl Breakable for tokio_rustls::server::TlsStream<TcpStream> {}

async fn serve<S>(mut stream: S, connection: usize, heard: &Mutex<Vec<Asked>>, answer: &Answer)
where
    S: AsyncRead + AsyncWrite + Unpin + Breakable,
{
    while let Some(asked) = read(&mut stream, connection).await {
        heard.lock().unwrap().push(asked.clone());
        for step in answer(&asked) {
            let said = match step {
                Step::Say(octets) => stream.write_all(octets.as_bytes()).await,
                Step::SayForever(octets) => loop {
                    if let Err(gone) = stream.write_all(octets.as_bytes()).await {
                        break Err(gone);
                    }
                },
                Step::Wait => {
                    drop(stream.read_u8().await);
                    Ok(())
                }
                Step::Until(mut said, word, times) => {
                    let is_said = |said: &Vec<String>| {
                        said.iter().filter(|said| **said == word).count() >= times
                    };
                    drop(said.wait_for(is_said).await);
                    Ok(())
                }
                Step::Count(count) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                Step::Close => return,
                Step::Reset => return stream.reset(),
            };
            // A client that has gone is no concern of ours.
            if said.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), connection: usize) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ').map(str::to_owned);
    let (verb, target) = (words.next().unwrap(), words.next().unwrap());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> =
        pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Some(Asked { verb, target, headers, body, connection })
}
