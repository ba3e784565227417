//! Accepting: a handshake with a deadline, a bounded number of them, and a refusal that arrives.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::{Denial, Identity, Limits, Peer, Role, Session, TlsError, Trust, tls};

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
    #[error("the TLS handshake failed: {0}")]
    Tls(rustls::Error),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The handshake took too long.
    #[error("the TLS handshake was not finished within {0:?}")]
    TooSlow(Duration),
    /// Newer handshakes needed the place.
    #[error("the TLS handshake was the oldest of too many and gave way")]
    GaveWay,
}

/// Turns connections into sessions.
pub(crate) struct Acceptor {
    tls: TlsAcceptor,
    trust: Trust,
    deadline: Duration,
    handshakes: Handshakes,
}

impl Acceptor {
    pub(crate) fn new(
        identity: &Identity,
        trust: Trust,
        limits: &Limits,
    ) -> Result<Self, TlsError> {
        let config = tls::server_config(identity, &trust)?;
        Ok(Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            trust,
            deadline: limits.handshake,
            handshakes: Handshakes::new(limits.handshakes),
        })
    }

    /// Performs the handshake and judges the peer.
    pub(crate) async fn accept(
        &self,
        tcp: TcpStream,
    ) -> Result<Session<TlsStream<TcpStream>>, AcceptError> {
        configure(&tcp)?;
        let mut place = self.handshakes.admit();
        let stream = tokio::select! {
            outcome = timeout(self.deadline, self.handshake(tcp)) => {
                outcome.map_err(|_| AcceptError::TooSlow(self.deadline))??
            }
            () = place.gives_way() => return Err(AcceptError::GaveWay),
        };
        drop(place);
        self.session(stream)
    }

    /// One handshake, and its end if it fails.
    async fn handshake(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, AcceptError> {
        match self.tls.accept(tcp).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, tcp)) => {
                linger(tcp).await;
                Err(into_accept_error(error))
            }
        }
    }

    fn session(
        &self,
        stream: TlsStream<TcpStream>,
    ) -> Result<Session<TlsStream<TcpStream>>, AcceptError> {
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let (leaf, intermediates) =
            chain.split_first().ok_or(AcceptError::Tls(rustls::Error::NoCertificatesPresented))?;
        let peer = Peer::from_chain(leaf, intermediates, self.trust.roots(), Role::Client)?;
        Ok(Session::new(stream, peer, self.trust.clone()))
    }
}

pub(crate) fn configure(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEP_ALIVE)?;
    Ok(())
}

fn into_accept_error(error: io::Error) -> AcceptError {
    match error.downcast::<rustls::Error>() {
        Ok(error) => match Denial::from_tls(&error) {
            Some(denial) => AcceptError::Denied(denial),
            None => AcceptError::Tls(error),
        },
        Err(error) => AcceptError::Io(error),
    }
}

/// Closing with octets unread would reset the connection, and the peer would never see the alert.
async fn linger(mut tcp: TcpStream) {
    let farewell = async {
        tcp.shutdown().await?;
        tokio::io::copy(&mut (&mut tcp).take(LINGER_LEN), &mut tokio::io::sink()).await
    };
    // Whatever comes of it, the connection is closed now.
    drop(timeout(LINGER, farewell).await);
}

/// The handshakes under way, oldest first.
struct Handshakes {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place among the handshakes under way, left when it is dropped.
struct Place<'a> {
    handshakes: &'a Handshakes,
    number: u64,
    signal: oneshot::Receiver<()>,
}

impl Place<'_> {
    async fn gives_way(&mut self) {
        if (&mut self.signal).await.is_err() {
            // The sender went without a word: the place is kept.
            std::future::pending().await
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.handshakes.lock().waiting.remove(&self.number);
    }
}

impl Handshakes {
    fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), state: Mutex::default() }
    }

    /// Takes a place; the oldest gives way if there are too many. An honest handshake takes
    /// milliseconds, so whoever is oldest when a place is needed is not the one that honest peers
    /// lose by.
    fn admit(&self) -> Place<'_> {
        let mut state = self.lock();
        while state.waiting.len() >= self.limit {
            let Some((_, oldest)) = state.waiting.pop_first() else { break };
            // An error means that it has ended by itself a moment ago.
            let _ = oldest.send(());
        }
        let (sender, signal) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, sender);
        Place { handshakes: self, number, signal }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a connection came from, for the audit.
pub(crate) fn address_of(tcp: &TcpStream) -> Option<SocketAddr> {
    tcp.peer_addr().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_handshake_gives_way() {
        let handshakes = Handshakes::new(2);
        let mut first = handshakes.admit();
        let second = handshakes.admit();
        drop(second);
        let mut third = handshakes.admit();
        let _fourth = handshakes.admit();
        first.gives_way().await;
        let kept = timeout(Duration::from_millis(10), third.gives_way()).await;
        assert!(kept.is_err());
    }
}
