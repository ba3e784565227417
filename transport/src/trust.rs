//! Trust: one judge of "may this peer enter, may it stay".
//!
//! The latest revocation lists travel in a `watch`, not as events: whoever looks sees the present
//! state. A session subscribes before it is judged first, so no list can slip between.

mod bundle;
mod following;
mod lookout;
mod revocations;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use vouchsafe_certs::{CaCertificate, PermissionSet};

pub use self::following::{Following, NotTaken};
pub(crate) use self::lookout::Lookout;
use self::revocations::Cleared;
pub use self::revocations::{Lists, Revocations, RevocationsError};
use crate::{Denial, Peer};

/// How long a verdict stands at most before the question is asked again: bounds the harm of a clock that is set.
const RECHECK: Duration = Duration::from_secs(30);

/// The clock tells whole seconds, so the last second of validity is watched to its end.
const LAST_SECOND: Duration = Duration::from_millis(50);

/// What becomes of a peer while nobody knows whether it is revoked.
#[derive(Clone)]
enum InDoubt {
    /// It is turned away.
    Refused,
    /// Where a list is stale, it may go on with these permissions.
    Suspended(Arc<PermissionSet>),
    /// It is let in.
    Admitted,
}

/// A verdict in a peer's favour.
struct Standing {
    /// How long until the question must be asked again.
    again: Duration,
    /// Whether it rests on a list that is stale.
    is_stale: bool,
}

/// What one side demands of the other: a chain to a root, and a place on no revocation list.
#[derive(Clone)]
pub struct Trust {
    /// The roots in force.
    published: watch::Receiver<Arc<[CaCertificate]>>,
    /// Those that the peer's chain was verified against last.
    roots: Arc<[CaCertificate]>,
    revocations: watch::Receiver<Arc<Revocations>>,
    in_doubt: InDoubt,
    clock: Arc<dyn TimeProvider>,
}

impl Trust {
    /// Of a side that trusts the present `roots` and follows `revocations`.
    #[must_use]
    pub fn new(
        roots: watch::Receiver<Arc<[CaCertificate]>>,
        revocations: watch::Receiver<Arc<Revocations>>,
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        let present = Arc::clone(&roots.borrow());
        Self { published: roots, roots: present, revocations, in_doubt: InDoubt::Refused, clock }
    }

    /// Lets peers in while a list is stale, for these permissions and no others. A peer that the stale
    /// list names is turned away as ever; one revoked since is not known.
    #[must_use]
    pub fn with_stale_lists_for(self, permissions: PermissionSet) -> Self {
        Self { in_doubt: InDoubt::Suspended(Arc::new(permissions)), ..self }
    }

    /// Lets in whomever no list names, also where lists are stale or missing. For asking a CA for new
    /// lists: whoever had to have them first would never get them.
    #[must_use]
    pub fn unless_named(self) -> Self {
        Self { in_doubt: InDoubt::Admitted, ..self }
    }

    /// What goes on for such a peer while a list is stale.
    pub(crate) fn when_stale(&self, peer: &Peer) -> PermissionSet {
        match &self.in_doubt {
            InDoubt::Suspended(allowed) => peer.permissions.intersection(allowed),
            InDoubt::Refused | InDoubt::Admitted => PermissionSet::default(),
        }
    }

    /// For peers that are verified against the roots now in force.
    pub(crate) fn present(&self) -> Self {
        let roots = Arc::clone(&self.published.borrow());
        Self { roots, ..self.clone() }
    }

    /// Whether other roots are in force by now.
    pub(crate) fn is_outdated(&self) -> bool {
        !Arc::ptr_eq(&self.roots, &self.published.borrow())
    }

    /// Of a side that asks for chain and dates alone.
    #[must_use]
    pub fn unchecked(
        roots: watch::Receiver<Arc<[CaCertificate]>>,
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        let (_, revocations) = watch::channel(Arc::new(Revocations::Unchecked));
        Self::new(roots, revocations, clock)
    }

    pub(crate) fn roots(&self) -> &[CaCertificate] {
        &self.roots
    }

    /// Whether this certificate is one of the roots in force.
    #[must_use]
    pub fn is_rooted_in(&self, certificate: &[u8]) -> bool {
        self.published.borrow().iter().any(|root| *root.der == *certificate)
    }

    pub(crate) fn clock(&self) -> Arc<dyn TimeProvider> {
        Arc::clone(&self.clock)
    }

    /// Why this peer may not enter or stay, or how long until the question must be asked again.
    ///
    /// # Errors
    /// The [`Denial`].
    pub fn judge(&mut self, peer: &Peer) -> Result<Duration, Denial> {
        self.standing(peer).map(|standing| standing.again)
    }

    fn standing(&mut self, peer: &Peer) -> Result<Standing, Denial> {
        let now = self.clock.current_time().ok_or(Denial::ClockUnavailable)?;
        // RFC 5280 §4.1.2.5: notAfter is the last second of validity, inclusive.
        if now > peer.not_after {
            return Err(Denial::Expired);
        }
        self.must_be_rooted(peer, now)?;
        let revocations = self.revocations.borrow_and_update();
        let (until, is_stale) = match (revocations.clear(peer, now), &self.in_doubt) {
            (Ok(Cleared::Until(next_update)), _) => (next_update.min(peer.not_after), false),
            (Ok(Cleared::UntilExpiry), _) => (peer.not_after, false),
            (Err(Denial::Revoked), _) => return Err(Denial::Revoked),
            (_, InDoubt::Admitted) => (peer.not_after, false),
            (Ok(Cleared::Stale), InDoubt::Suspended(_)) => (peer.not_after, true),
            (Ok(Cleared::Stale), InDoubt::Refused) => return Err(Denial::RevocationListStale),
            (Err(denial), _) => return Err(denial),
        };
        let again = match until.as_secs().saturating_sub(now.as_secs()) {
            0 => LAST_SECOND,
            seconds => Duration::from_secs(seconds).min(RECHECK),
        };
        Ok(Standing { again, is_stale })
    }

    /// Where other roots are in force than those that the peer was verified against, it is verified
    /// again, by the same verifiers as in the handshake: the names in a chain prove nothing.
    fn must_be_rooted(&mut self, peer: &Peer, now: UnixTime) -> Result<(), Denial> {
        let roots = Arc::clone(&self.published.borrow_and_update());
        if !Arc::ptr_eq(&roots, &self.roots) {
            peer.verify_again(&roots, now)?;
            self.roots = roots;
        }
        Ok(())
    }

    /// As [`judge`](Self::judge), noting whether a list that the peer stays by is stale.
    pub(crate) fn admit(&mut self, peer: &Peer, is_stale: &AtomicBool) -> Result<Duration, Denial> {
        let standing = self.standing(peer)?;
        is_stale.store(standing.is_stale, Ordering::Relaxed);
        Ok(standing.again)
    }

    /// Waits until this peer may no longer stay, and says meanwhile whether a list is stale.
    pub(crate) async fn lost(&mut self, peer: &Peer, is_stale: &AtomicBool) -> Denial {
        loop {
            let again = match self.admit(peer, is_stale) {
                Ok(again) => again,
                Err(denial) => return denial,
            };
            tokio::select! {
                () = changed(&mut self.revocations) => {}
                () = changed(&mut self.published) => {}
                () = tokio::time::sleep(again) => {}
            }
        }
    }
}

async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        // The publisher is gone. That is no news of its own: lists go stale, and certificates expire.
        std::future::pending().await
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published: _, roots, revocations, in_doubt: _, clock: _ } = self;
        let revocations = revocations.borrow();
        f.debug_struct("Trust")
            .field("roots", &roots.len())
            .field("revocations", &revocations)
            .finish()
    }
}
