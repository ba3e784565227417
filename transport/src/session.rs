//! A session: a stream to a verified peer that ends when trust does.

use std::sync::Arc;

use crate::{Denial, Peer, Trust};

/// A stream to a verified peer. The stream is reachable only inside [`Session::run`].
#[derive(Debug)]
pub struct Session<S> {
    stream: S,
    peer: Arc<Peer>,
    trust: Trust,
}

impl<S> Session<S> {
    pub(crate) fn new(stream: S, peer: Peer, trust: Trust) -> Self {
        Self { stream, peer: Arc::new(peer), trust }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Works on the stream for as long as the peer may stay. The peer is judged before the first
    /// octet of work; when the verdict changes, the work and the stream are dropped where they are.
    ///
    /// # Errors
    /// The [`Denial`] that ended it.
    pub async fn run<W: Future>(mut self, work: impl FnOnce(S) -> W) -> Result<W::Output, Denial> {
        self.trust.judge(&self.peer)?;
        let work = work(self.stream);
        tokio::select! {
            // Polled first, so that a cause is never lost to work that happens to be done.
            biased;
            denial = self.trust.lost(&self.peer) => Err(denial),
            done = work => Ok(done),
        }
    }
}
