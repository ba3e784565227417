//! What stands behind a session: a child process, a server elsewhere, or a service within this process.

mod http;
mod socket;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use self::http::HttpUpstream;
pub use self::socket::SocketUpstream;
use crate::child::{ChildCommand, ChildError, Keeper};
use crate::{Peer, TlsError};

/// Octets that a service and its session may hold for each other, in each direction.
const BUFFER_LEN: usize = 64 * 1024;

/// The MCP server behind each session of a gateway. Whichever it is, the same policy, limits, audit
/// and cuts stand before it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Upstream {
    /// A process of its own for each session.
    Command(ChildCommand),
    /// A server that speaks lines, and a connection of its own for each session.
    Socket(SocketUpstream),
    /// A server that speaks Streamable HTTP.
    Http(Box<HttpUpstream>),
    /// A service within this process.
    Service(Service),
}

/// Why there is no server behind a session.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// Its process cannot be started.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Nobody answers there.
    #[error("{address} cannot be reached: {error}")]
    Unreachable {
        /// The address as it was given.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The address holds no name that a certificate could carry.
    #[error("{0} is neither a host name nor an IP address")]
    Name(String),
    /// Its certificate could not be judged.
    #[error("{0}")]
    Tls(TlsError),
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An MCP server within this process: a function that serves one session on its stream.
///
/// The stream ends when the client has said everything; a service that has not returned a grace
/// later ([`Limits::child_grace`](crate::Limits::child_grace)) is dropped where it waits, as it is
/// at once when trust in its client is lost. So whatever must not be left half done belongs
/// into a task or thread of its own.
#[derive(Clone)]
pub struct Service(Arc<dyn Fn(Arc<Peer>, DuplexStream) -> Work + Send + Sync>);

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl Service {
    /// Of a function that speaks the line framing of MCP with a session of this peer.
    pub fn new<W>(serve: impl Fn(Arc<Peer>, DuplexStream) -> W + Send + Sync + 'static) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |peer, stream| Box::pin(serve(peer, stream))))
    }

    /// Starts serving a session of `peer`, and gives the session's end of the stream.
    pub(crate) fn start(
        &self,
        peer: &Arc<Peer>,
        grace: Duration,
        keeper: Keeper,
    ) -> (Serving, DuplexStream) {
        let (near, far) = tokio::io::duplex(BUFFER_LEN);
        let work = (self.0)(Arc::clone(peer), far);
        let task = tokio::spawn(async move {
            work.await;
            drop(keeper);
        });
        (Serving { task, grace }, near)
    }
}

/// A service at work on one session. Dropping it ends the work where it waits.
pub(crate) struct Serving {
    task: JoinHandle<()>,
    grace: Duration,
}

impl Serving {
    /// Lets the service end by itself: its stream is closed by now.
    pub(crate) fn finish(mut self) {
        tokio::spawn(async move {
            // Whether it ended or not, it is dropped now.
            drop(timeout(self.grace, &mut self.task).await);
        });
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
