//! A session: a stream to a verified peer that ends when trust does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::policy::Held;
use crate::trust::Lookout;
use crate::woken::when_woken;
use crate::{Denial, Peer, Trust};

/// A stream to a verified peer. The stream is reachable only inside [`Session::run`].
#[derive(Debug)]
pub struct Session<S> {
    stream: S,
    peer: Arc<Peer>,
    trust: Trust,
    is_stale: Arc<AtomicBool>,
}

impl<S> Session<S> {
    pub(crate) fn new(stream: S, peer: Peer, trust: Trust) -> Self {
        Self { stream, peer: Arc::new(peer), trust, is_stale: Arc::default() }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// What another stream to the same peer needs.
    pub(crate) fn kin(&self) -> Kin {
        let (trust, is_stale) = (self.trust.clone(), Arc::clone(&self.is_stale));
        Kin { peer: Arc::clone(&self.peer), trust, is_stale }
    }

    /// The same peer, and another way of speaking with it.
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> Session<T> {
        let Self { stream, peer, trust, is_stale } = self;
        Session { stream: change(stream), peer, trust, is_stale }
    }

    /// What the peer may do, now and while a list is stale.
    pub(crate) fn held(&self) -> Held {
        let rest = self.trust.when_stale(&self.peer);
        Held::new(self.peer.permissions.clone(), rest, Arc::clone(&self.is_stale))
    }

    /// Works on the stream for as long as the peer may stay. The peer is judged before the first
    /// octet of work; when the verdict changes, the work and the stream are dropped where they are.
    ///
    /// # Errors
    /// The [`Denial`] that ended it.
    pub async fn run<W: Future>(mut self, work: impl FnOnce(S) -> W) -> Result<W::Output, Denial> {
        self.trust.admit(&self.peer, &self.is_stale)?;
        let work = work(self.stream);
        tokio::select! {
            // Polled first, so that a cause is never lost to work that happens to be done.
            biased;
            denial = when_woken(self.trust.lost(&self.peer, &self.is_stale)) => Err(denial),
            done = work => Ok(done),
        }
    }
}

/// Other streams to a peer whose session is there: requests of HTTP open sessions of their own, which
/// may outlive their connection, and which trust ends like any other.
#[derive(Clone)]
pub(crate) struct Kin {
    pub(crate) peer: Arc<Peer>,
    trust: Trust,
    is_stale: Arc<AtomicBool>,
}

impl Kin {
    pub(crate) fn session<S>(&self, stream: S) -> Session<S> {
        let (peer, trust) = (Arc::clone(&self.peer), self.trust.clone());
        Session { stream, peer, trust, is_stale: Arc::default() }
    }

    /// For the work of the session that is there: whether its peer may still stay.
    pub(crate) fn lookout(&self) -> Lookout {
        Lookout::new(self.trust.clone(), Arc::clone(&self.peer), Arc::clone(&self.is_stale))
    }
}
