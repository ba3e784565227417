//! The server side of Streamable HTTP: requests come in, sessions of lines stand behind.

mod endpoint;
mod events;
mod headers;
mod outbox;
mod refusal;
mod registry;
mod session;
mod site;
mod stateless;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use tokio::io::DuplexStream;

pub(crate) use endpoint::{Endpoint, EndpointLimits};
pub(crate) use site::Site;

use crate::Peer;

/// Who may use a session: whoever opened it, under the same certificate. `None` where only one can ask
/// at all.
#[derive(Clone)]
pub(crate) struct Owner(pub(crate) Option<Arc<Peer>>);

impl Owner {
    /// Whether both show the same certificate. Another one for the same name may permit something else,
    /// lives longer or is a thief's, and would stand in no record: its client opens a session of its own.
    fn is_same(&self, other: &Self) -> bool {
        let fingerprint = |owner: &Self| owner.0.as_ref().map(|peer| peer.fingerprint);
        fingerprint(self) == fingerprint(other)
    }
}

/// The other end of a session of lines, at work until its stream ends.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens a session of lines on a stream.
pub(crate) type Open = Box<dyn FnOnce(DuplexStream) -> Work + Send>;
