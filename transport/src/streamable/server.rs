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

/// Who may use a session: whoever opened it, with the permissions it had then. `None` where only one
/// can ask at all.
#[derive(Clone)]
pub(crate) struct Owner(pub(crate) Option<Arc<Peer>>);

impl Owner {
    /// Whether `other` may go on with what this one began. Another certificate for the same name and
    /// the same permissions may: a renewal.
    fn is_as(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => {
                own.principal == other.principal && own.permissions == other.permissions
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether both show the same certificate.
    fn is_same(&self, other: &Self) -> bool {
        let fingerprint = |owner: &Self| owner.0.as_ref().map(|peer| peer.fingerprint);
        fingerprint(self) == fingerprint(other)
    }
}

/// The other end of a session of lines, at work until its stream ends.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens a session of lines on a stream.
pub(crate) type Open = Box<dyn FnOnce(DuplexStream) -> Work + Send>;
