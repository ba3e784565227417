//! A look at trust between two messages, for work that may not pause between them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::watch;

use super::Trust;
use crate::Peer;

/// Sees what has come into force and was not judged by yet.
///
/// [`Trust::lost`] ends the work of a session when the session's task is polled next. Within one poll
/// that work may read and forward many messages that wait already, and meanwhile another thread may
/// bring a list into force. So before each message that is let through one looks here, which costs two
/// atomic loads.
pub(crate) struct Lookout {
    trust: Trust,
    peer: Arc<Peer>,
    is_stale: Arc<AtomicBool>,
    /// Whether the last lists, and the last roots, that there will ever be were looked at.
    is_last: [bool; 2],
}

impl Lookout {
    pub(crate) fn new(trust: Trust, peer: Arc<Peer>, is_stale: Arc<AtomicBool>) -> Self {
        Self { trust, peer, is_stale, is_last: [false; 2] }
    }

    /// One more, for the other direction.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.trust.clone(), Arc::clone(&self.peer), Arc::clone(&self.is_stale))
    }

    /// Goes on at once while the peer may stay; otherwise never, for whoever waits for
    /// [`Trust::lost`] beside this is about to hear of it.
    pub(crate) async fn clear(&mut self) {
        if self.has_news() && self.trust.admit(&self.peer, &self.is_stale).is_err() {
            std::future::pending().await
        }
    }

    fn has_news(&mut self) -> bool {
        let [lists, roots] = &mut self.is_last;
        // Both, for each notes that it was looked at.
        is_news(&self.trust.revocations, lists) | is_news(&self.trust.published, roots)
    }
}

/// What comes last from a publisher that is gone is looked at once more, and then no longer.
fn is_news<T>(watched: &watch::Receiver<T>, is_last: &mut bool) -> bool {
    watched.has_changed().unwrap_or_else(|_| !std::mem::replace(is_last, true))
}
