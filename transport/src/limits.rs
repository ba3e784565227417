//! A limit on everything that an outsider can cause.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::LimitTable;

/// How much of everything one gateway or bridge bears. Each limit is told to whoever runs into it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// From the first octet of TCP to the end of the TLS handshake.
    pub handshake: Duration,
    /// Handshakes under way at once; beyond that the oldest gives way to the newest.
    pub handshakes: usize,
    /// From the end of the handshake to the first whole message.
    pub first_message: Duration,
    /// From the first octet of a message to its last.
    pub message: Duration,
    /// Without a message from the client; noticed after twice as long at the latest.
    pub idle: Duration,
    /// Of a session over HTTP, without a request or an open stream.
    pub http_idle: Duration,
    /// From a request to its answer where the server speaks HTTP, unless it gives a sign of life.
    pub answer: Duration,
    /// One message written to a peer that does not read.
    pub write: Duration,
    /// Octets of one message, line end included.
    pub line: usize,
    /// Sessions at once.
    pub sessions: usize,
    /// Sessions at once of one principal.
    pub sessions_per_principal: usize,
    /// What each principal may use up over all of its sessions, as it changes. `None` counts nothing.
    pub principals: Option<watch::Receiver<Arc<LimitTable>>>,
    /// From closing a child's stdin to SIGTERM, and from there to SIGKILL.
    pub child_grace: Duration,
    /// For what a side still has to say after the other one has ended.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            handshakes: 512,
            first_message: Duration::from_secs(60),
            message: Duration::from_secs(60),
            idle: Duration::from_secs(24 * 60 * 60),
            http_idle: Duration::from_secs(10 * 60),
            answer: Duration::from_secs(60 * 60),
            write: Duration::from_secs(60),
            line: 16 * 1024 * 1024,
            sessions: 1024,
            sessions_per_principal: 256,
            principals: None,
            child_grace: Duration::from_secs(2),
            drain: Duration::from_secs(10),
        }
    }
}
