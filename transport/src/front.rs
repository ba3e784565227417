//! The front of a bridge: Streamable HTTP without TLS, for clients on this machine that can do
//! nothing else and cannot show a certificate.
//!
//! Whoever reaches it speaks in the bridge's name. So it listens on the loopback interface alone,
//! its path is a secret, and it answers no browser that was led here under another name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response, StatusCode};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::acceptor::Handshakes;
use crate::door::Door;
use crate::frame::LineWriter;
use crate::http::{Answer, Body, Caller, Server};
use crate::policy::protocol_error;
use crate::random::{is_same, secret_name};
use crate::source::Source;
use crate::streamable::server::{Endpoint, Open, Owner, Site, Work};
use crate::web::{nothing_there, of_endpoint, of_http};
use crate::{Limits, MCP_PATH};

/// Connections at once of those who have shown the secret.
const CONNECTIONS: usize = 256;

/// Connections at once of those who have not yet. Beyond that the oldest gives way to the newest: who
/// knows the secret says it with the first octets, and needs the place for a moment.
const STRANGERS: usize = 64;

/// For a stranger to show the secret.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// Letters of a secret.
const SECRET_LEN: usize = 32;

/// Why there is no front.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrontError {
    /// The system gives no random octets.
    #[error("the system gives no random octets")]
    NoRandom,
    /// Something else than 32 hexadecimal digits.
    #[error("a secret is 32 hexadecimal digits")]
    NoSecret,
    /// Others than this machine could reach it.
    #[error("{0} is not on the loopback interface: others could speak in this identity's name")]
    NotLoopback(SocketAddr),
}

/// The part of a front's URL that nobody can guess.
#[derive(Clone, PartialEq, Eq)]
pub struct FrontSecret(String);

impl fmt::Debug for FrontSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrontSecret")
    }
}

impl FrontSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`FrontError::NoRandom`].
    pub fn random() -> Result<Self, FrontError> {
        secret_name().map(Self).ok_or(FrontError::NoRandom)
    }

    /// One that was kept.
    ///
    /// # Errors
    /// [`FrontError::NoSecret`].
    pub fn parse(text: &str) -> Result<Self, FrontError> {
        let is_one =
            text.len() == SECRET_LEN && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        if is_one { Ok(Self(text.to_owned())) } else { Err(FrontError::NoSecret) }
    }

    /// Its text, to be shown to its user and kept from everybody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a path leads to the front. Takes as long for any wrong secret.
    fn opens(&self, path: &str) -> bool {
        let shown = path.strip_prefix('/').and_then(|path| path.strip_suffix(MCP_PATH));
        shown.is_some_and(|shown| is_same(shown, &self.0))
    }
}

/// Bridges one session of lines to wherever it leads, and says at the end why it could not go on.
type Bridging =
    Arc<dyn Fn(DuplexStream) -> Pin<Box<dyn Future<Output = Ended> + Send>> + Send + Sync>;

/// The stream of a session that has ended, and the reason, if it did not end well.
pub type Ended = (DuplexStream, Option<String>);

/// Streamable HTTP on the loopback interface, with a bridge behind each session.
pub struct Front {
    secret: FrontSecret,
    endpoint: Endpoint,
    server: Server,
    bridging: Bridging,
    patience: Duration,
    places: Arc<Semaphore>,
    strangers: Handshakes,
}

/// Who is at the other end of a connection: nobody, until the secret has been shown.
#[derive(Default)]
struct Acquaintance {
    place: Mutex<Option<OwnedSemaphorePermit>>,
    made: Notify,
}

impl Acquaintance {
    /// The secret has been shown. Whether there is a place among those who know it.
    fn make(&self, places: &Arc<Semaphore>) -> bool {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = Arc::clone(places).try_acquire_owned().ok();
            self.made.notify_one();
        }
        place.is_some()
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Front")
    }
}

impl Front {
    /// Behind which `bridge` serves each session, until the session's stream ends.
    pub fn new<W>(
        secret: FrontSecret,
        limits: &Limits,
        bridge: impl Fn(DuplexStream) -> W + Send + Sync + 'static,
    ) -> Self
    where
        W: Future<Output = Ended> + Send + 'static,
    {
        Self {
            secret,
            endpoint: Endpoint::new(Site::Loopback, of_endpoint(limits)),
            server: Server::new(of_http(limits), None),
            bridging: Arc::new(move |stream| Box::pin(bridge(stream))),
            patience: limits.drain,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            strangers: Handshakes::new(STRANGERS),
        }
    }

    /// Where clients find it, once `listener` is served.
    ///
    /// # Errors
    /// [`FrontError::NotLoopback`].
    pub fn url(&self, address: SocketAddr) -> Result<String, FrontError> {
        match address.ip().is_loopback() {
            true => Ok(format!("http://{address}/{}{MCP_PATH}", self.secret.expose())),
            false => Err(FrontError::NotLoopback(address)),
        }
    }

    /// Serves until `shutdown` is done.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut door = Door::new(listener);
        let mut connections = JoinSet::new();
        let (stop, stopping) = watch::channel(false);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = door.next() => {
                    // Nobody keeps a record here; whoever was turned away sees it.
                    if let Ok((tcp, address)) = accepted {
                        connections.spawn(Arc::clone(&self).connection(tcp, address, stopping.clone()));
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(door);
        stop.send_replace(true);
        // Streams end with their sessions, and connections with their streams.
        let ended = async { while connections.join_next().await.is_some() {} };
        let ended = async { tokio::join!(self.endpoint.close(), ended) };
        drop(timeout(Duration::from_secs(1), ended).await);
    }

    async fn connection(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        stopping: watch::Receiver<bool>,
    ) {
        if address.ip().is_loopback() {
            self.converse(tcp, address, stopping).await;
        }
    }

    /// Answers what comes over a connection, whatever carries it.
    pub(crate) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        stream: S,
        address: SocketAddr,
        stopping: watch::Receiver<bool>,
    ) {
        let caller = Caller::new(address, None);
        // All are this machine's own, whatever addresses of it they take.
        let mut place = self.strangers.admit(Source::of(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let (front, gate) = (Arc::clone(&self), Arc::clone(&self));
        let acquaintance = Arc::<Acquaintance>::default();
        let shown = Arc::clone(&acquaintance);
        let answer = Answer::new(move |request| {
            let front = Arc::clone(&front);
            Box::pin(async move { front.answer(request).await })
        });
        // Of somebody who does not know the secret nothing more is read, and the place is free again.
        let answer = answer.behind(move |head| match gate.secret.opens(head.uri.path()) {
            false => Some(nothing_there()),
            true => (!shown.make(&gate.places)).then(no_place),
        });
        let mut served = pin!(self.server.serve(stream, &caller, &answer, || (), stopping));
        tokio::select! {
            biased;
            () = &mut served => return,
            () = acquaintance.made.notified() => {}
            () = place.gives_way() => return,
            () = sleep(INTRODUCTION) => return,
        }
        drop(place);
        served.await;
    }

    async fn answer(self: Arc<Self>, request: Request<Bytes>) -> Response<Body> {
        let front = Arc::clone(&self);
        let open: Open = Box::new(move |stream| front.behind(stream));
        self.endpoint.answer(Owner(None), open, request).await
    }

    fn behind(self: Arc<Self>, stream: DuplexStream) -> Work {
        Box::pin(async move {
            let (stream, reason) = (self.bridging)(stream).await;
            let mut writer = LineWriter::new(stream, self.patience);
            if let Some(reason) = reason {
                drop(writer.send(&protocol_error(&reason)).await);
            }
            drop(writer.close().await);
        })
    }
}

/// All places are taken by those who know the secret.
fn no_place() -> Response<Body> {
    let mut response = Response::new(Body::from("There are too many connections\n"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Asks for nothing that there is, and reads the head of the answer and its short body.
    async fn ask(stream: &mut TcpStream, secret: &FrontSecret) -> String {
        let path = format!("/{}/mcp", secret.expose());
        let head = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut octets = [0; 1024];
            let read = stream.read(&mut octets).await.unwrap();
            assert!(read > 0, "closed after {answer:?}");
            answer.push_str(std::str::from_utf8(&octets[..read]).unwrap());
        }
        answer
    }

    #[tokio::test]
    async fn strangers_take_no_place_from_those_who_know_the_secret() {
        let secret = FrontSecret::random().unwrap();
        let own = secret.clone();
        let front = Front::new(secret, &Limits::default(), |stream| async { (stream, None) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::new(front).serve(listener, std::future::pending()));
        // They say nothing, or half of something, and come again and again.
        let mut strangers = Vec::new();
        for number in 0..CONNECTIONS + STRANGERS {
            let mut stranger = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                stranger.write_all(b"POST /0123").await.unwrap();
            }
            strangers.push(stranger);
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut client, &own).await.starts_with("HTTP/1.1 405"));
        // Nor do they take one that is held.
        for _ in 0..STRANGERS * 2 {
            strangers.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(&mut client, &own).await.starts_with("HTTP/1.1 405"));
        // The first of them have given way.
        assert_eq!(strangers[1].read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn of_whoever_does_not_know_the_secret_nothing_is_read() {
        let secret = FrontSecret::random().unwrap();
        let front = Front::new(secret, &Limits::default(), |stream| async { (stream, None) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Arc::new(front).serve(listener, std::future::pending()));
        let mut stranger = TcpStream::connect(address).await.unwrap();
        // The body never comes.
        let head = "POST /0123456789abcdef0123456789abcdef/mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
        stranger.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stranger.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("connection: close"));
    }

    #[test]
    fn only_the_whole_secret_opens() {
        let secret = FrontSecret::random().unwrap();
        let text = secret.expose().to_owned();
        assert!(secret.opens(&format!("/{text}/mcp")));
        let mut other = text.clone();
        other.replace_range(31.., if text.ends_with('0') { "1" } else { "0" });
        for path in [
            "/mcp".to_owned(),
            "//mcp".to_owned(),
            format!("/{other}/mcp"),
            format!("/{text}"),
            format!("/{text}/mcp/"),
            format!("/{text}0/mcp"),
            format!("/{}/mcp", &text[1..]),
        ] {
            assert!(!secret.opens(&path), "{path}");
        }
        assert_eq!(FrontSecret::parse(&text).unwrap(), secret);
        for text in ["", "0123", &format!("{text} "), &text.replace(&text[..1], "/")] {
            assert!(FrontSecret::parse(text).is_err(), "{text}");
        }
        assert!(!format!("{secret:?}").contains(&text));
    }
}
