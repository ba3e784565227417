//! Accepting: a handshake with a deadline, a bounded number of them, and a refusal that arrives.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::denial::why_it_failed;
use crate::present::Present;
use crate::source::Source;
use crate::{
    Denial, HTTP, HTTP_2, Identity, Limits, Peer, Role, Session, Spoken, TlsError, Trust, tls,
};

/// How long, and how much, is read from a refused peer so that it gets to see the alert.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_LEN: u64 = 64 * 1024;

/// A dead network is noticed after this, where nothing is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Why a connection did not become a session.
#[derive(Debug, Error)]
pub(crate) enum AcceptError {
    /// The peer is not trusted.
    #[error("{0}")]
    Denied(#[from] Denial),
    /// The peer does not speak as it must.
    #[error("{}", why_it_failed(.0))]
    Tls(rustls::Error),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The handshake took too long.
    #[error("the TLS handshake was not finished within {0:?}")]
    TooSlow(Duration),
    /// The identity in force does not serve.
    #[error("{0}")]
    Identity(#[from] TlsError),
    /// Newer handshakes needed the place.
    #[error("the TLS handshake was the oldest of too many and gave way")]
    GaveWay,
}

/// What is spoken in a session, as the handshake has settled it (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// MCP in lines.
    Mcp,
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// MCP in lines, on a stream within this process: a session behind requests of HTTP.
    Behind,
    /// The client did not say, and there is a choice: its first octet tells.
    Unsaid,
}

impl Protocol {
    /// The same, as whoever looks at the live sessions sees it.
    pub(crate) fn spoken(self) -> Spoken {
        match self {
            Self::Mcp => Spoken::Lines,
            Self::Http | Self::Http2 => Spoken::Connection,
            Self::Behind => Spoken::Http,
            Self::Unsaid => Spoken::Unsaid,
        }
    }
}

/// What may be spoken, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// MCP in lines, by agents.
    Lines,
    /// That, and HTTP by agents.
    Http,
    /// That, and HTTP/1.1 by everybody who has a certificate.
    HttpOfHolders,
}

impl Speaks {
    fn role(self) -> Role {
        if self == Self::HttpOfHolders { Role::Holder } else { Role::Client }
    }
}

/// Its state is more than a kilooctet, and every function that hands it on would have room for it twice.
type Tls = Box<TlsStream<TcpStream>>;

/// Turns connections into sessions.
pub(crate) struct Acceptor {
    tls: Present<ServerConfig>,
    deadline: Duration,
    handshakes: Handshakes,
    speaks: Speaks,
}

impl Acceptor {
    pub(crate) fn new(
        identity: watch::Receiver<Arc<Identity>>,
        trust: Trust,
        limits: &Limits,
        speaks: Speaks,
    ) -> Result<Self, TlsError> {
        let config = match speaks {
            Speaks::Lines => tls::server_config,
            Speaks::Http => tls::server_config_with_http,
            Speaks::HttpOfHolders => tls::server_config_for_holders,
        };
        Ok(Self {
            tls: Present::new(config, identity, trust)?,
            deadline: limits.handshake,
            handshakes: Handshakes::new(limits.handshakes),
            speaks,
        })
    }

    /// Performs the handshake and judges the peer.
    pub(crate) async fn accept(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
    ) -> Result<(Session<Tls>, Protocol), AcceptError> {
        let (config, trust) = self.tls.get()?;
        let mut place = self.handshakes.admit(Source::of(address.ip()));
        let stream = tokio::select! {
            outcome = timeout(self.deadline, handshake(config, tcp)) => {
                outcome.map_err(|_| AcceptError::TooSlow(self.deadline))??
            }
            () = place.gives_way() => return Err(AcceptError::GaveWay),
        };
        drop(place);
        session(Box::new(stream), trust, self.speaks)
    }
}

/// One handshake, and its end if it fails.
async fn handshake(
    config: Arc<ServerConfig>,
    tcp: TcpStream,
) -> Result<TlsStream<TcpStream>, AcceptError> {
    match TlsAcceptor::from(config).accept(tcp).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, tcp)) => {
            linger(tcp).await;
            Err(into_accept_error(error))
        }
    }
}

fn session(
    stream: Tls,
    trust: Trust,
    speaks: Speaks,
) -> Result<(Session<Tls>, Protocol), AcceptError> {
    let (_, tls) = stream.get_ref();
    let (role, protocol) = match tls.alpn_protocol() {
        Some(HTTP) => (speaks.role(), Protocol::Http),
        Some(HTTP_2) => (speaks.role(), Protocol::Http2),
        None if speaks != Speaks::Lines => (speaks.role(), Protocol::Unsaid),
        _ => (Role::Client, Protocol::Mcp),
    };
    let chain = tls.peer_certificates().unwrap_or_default();
    let (leaf, intermediates) =
        chain.split_first().ok_or(AcceptError::Tls(rustls::Error::NoCertificatesPresented))?;
    let peer = Peer::from_chain(leaf, intermediates, trust.roots(), role)?;
    Ok((Session::new(stream, peer, trust), protocol))
}

pub(crate) fn configure(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEP_ALIVE)?;
    Ok(())
}

fn into_accept_error(error: io::Error) -> AcceptError {
    match error.downcast::<rustls::Error>() {
        Ok(error) => match Denial::from_tls(&error, Role::Client) {
            Some(denial) => AcceptError::Denied(denial),
            None => AcceptError::Tls(error),
        },
        Err(error) => AcceptError::Io(error),
    }
}

/// Closing with octets unread would reset the connection, and the peer would never see what was
/// written last: the alert, the answer.
pub(crate) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let farewell = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(LINGER_LEN), &mut tokio::io::sink()).await
    };
    // Whatever comes of it, the connection is closed now.
    drop(timeout(LINGER, farewell).await);
}

/// The handshakes under way, of each source the oldest first.
pub(crate) struct Handshakes {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    sources: HashMap<Source, BTreeMap<u64, oneshot::Sender<()>>>,
}

/// A place among the handshakes under way, left when it is dropped.
pub(crate) struct Place<'a> {
    handshakes: &'a Handshakes,
    source: Source,
    number: u64,
    signal: oneshot::Receiver<()>,
}

impl Place<'_> {
    /// Waits until it is needed for a newer one.
    pub(crate) async fn gives_way(&mut self) {
        if (&mut self.signal).await.is_err() {
            // The sender went without a word: the place is kept.
            std::future::pending().await
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.lock().leave(self.source, self.number);
    }
}

impl State {
    fn leave(&mut self, source: Source, number: u64) -> Option<oneshot::Sender<()>> {
        let own = self.sources.get_mut(&source)?;
        let signal = own.remove(&number);
        if own.is_empty() {
            self.sources.remove(&source);
        }
        signal
    }

    /// The oldest of the source that has most under way.
    fn dispensable(&self) -> Option<(Source, u64)> {
        let (source, own) = self.sources.iter().max_by_key(|(_, own)| own.len())?;
        own.first_key_value().map(|(number, _)| (*source, *number))
    }
}

impl Handshakes {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), state: Mutex::default() }
    }

    /// Takes a place. If there are too many, the oldest of the source with most gives way: an honest
    /// handshake takes milliseconds, and a flood from elsewhere does not take its place.
    pub(crate) fn admit(&self, source: Source) -> Place<'_> {
        let mut state = self.lock();
        while state.sources.values().map(BTreeMap::len).sum::<usize>() >= self.limit {
            let Some((crowd, oldest)) = state.dispensable() else { break };
            if let Some(signal) = state.leave(crowd, oldest) {
                // An error means that it has ended by itself a moment ago.
                let _ = signal.send(());
            }
        }
        let (sender, signal) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.sources.entry(source).or_default().insert(number, sender);
        Place { handshakes: self, source, number, signal }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    async fn stays(place: &mut Place<'_>) -> bool {
        timeout(Duration::from_millis(10), place.gives_way()).await.is_err()
    }

    #[tokio::test]
    async fn the_oldest_handshake_gives_way() {
        let handshakes = Handshakes::new(2);
        let admit = || handshakes.admit(source("192.0.2.1"));
        let mut first = admit();
        let second = admit();
        drop(second);
        let mut third = admit();
        let _fourth = admit();
        first.gives_way().await;
        assert!(stays(&mut third).await);
    }

    #[tokio::test]
    async fn a_flood_from_one_source_displaces_its_own_alone() {
        let handshakes = Handshakes::new(3);
        let mut honest = handshakes.admit(source("198.51.100.7"));
        let mut flood: Vec<_> =
            (0..20).map(|host| handshakes.admit(source(&format!("2001:db8::{host}")))).collect();
        assert!(stays(&mut honest).await);
        for displaced in &mut flood[..18] {
            displaced.gives_way().await;
        }
        assert!(stays(&mut flood[18]).await && stays(&mut flood[19]).await);
        drop((honest, flood));
        assert!(handshakes.lock().sources.is_empty());
    }
}
