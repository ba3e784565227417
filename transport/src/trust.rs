//! Trust: one judge of "may this peer enter, may it stay".
//!
//! The latest revocation lists travel in a `watch`, not as events: whoever looks sees the present
//! state. A session subscribes before it is judged first, so no list can slip between.

mod bundle;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use thiserror::Error;
use tokio::sync::watch;
use vouchsafe_certs::{
    CaCertificate, CertificateError, IssuerId, PermissionSet, RevocationError, RevocationList,
};

use crate::{Denial, Peer};

/// How long a verdict stands at most before the question is asked again: bounds the harm of a clock that is set.
const RECHECK: Duration = Duration::from_secs(30);

/// The clock tells whole seconds, so the last second of validity is watched to its end.
const LAST_SECOND: Duration = Duration::from_millis(50);

/// The current revocation lists, at most one of each issuer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Revocations {
    /// What each issuer has revoked.
    Lists(HashMap<IssuerId, RevocationList>),
    /// The source cannot be read: nobody may enter or stay.
    Unreadable,
    /// The operator has decided not to ask.
    Unchecked,
}

/// Why revocation lists are not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevocationsError {
    /// No PEM block `X509 CRL`.
    #[error("there is no revocation list in it")]
    Empty,
    /// A list by someone else, or one that breaks a rule.
    #[error("{0}")]
    List(#[from] RevocationError),
    /// A CA's certificate that breaks a rule.
    #[error("a certificate in it is refused: {0}")]
    Certificate(#[from] CertificateError),
    /// More CAs than anybody has.
    #[error("it holds more than 512 certificates or lists")]
    TooMany,
    /// Two lists of one issuer.
    #[error("it holds two lists of one issuer")]
    Twice,
    /// RFC 5280 §5.2.3: a number lower than the one in force is a replay.
    #[error("its number {found} is lower than {current}, the number of the list in force")]
    Older {
        /// Of the list offered.
        found: u64,
        /// Of the list in force.
        current: u64,
    },
    /// The same number with another content, which no honest CA makes.
    #[error("its number {0} is that of the list in force, but its content is another")]
    SameNumber(u64),
    /// An issuer whose list is in force is missing.
    #[error("the list of an issuer is missing from it")]
    Missing,
}

impl Revocations {
    /// These lists, if they may follow those in force: no number goes back, and no issuer goes missing
    /// before its list is stale, as that of an issuing CA whose time is over is in the end. A stale list
    /// that went missing is kept, and lets nobody in: so an earlier one can never take its place.
    ///
    /// # Errors
    /// [`RevocationsError::Older`], [`RevocationsError::SameNumber`] or [`RevocationsError::Missing`].
    pub fn following(self, current: &Self, now: UnixTime) -> Result<Self, RevocationsError> {
        let Self::Lists(current) = current else { return Ok(self) };
        let Self::Lists(mut next) = self else { return Ok(self) };
        for (issuer, old) in current {
            let Some(new) = next.get(issuer) else {
                if !old.is_stale(now) {
                    return Err(RevocationsError::Missing);
                }
                next.insert(*issuer, old.clone());
                continue;
            };
            if new.number < old.number {
                return Err(RevocationsError::Older { found: new.number, current: old.number });
            }
            if new.number == old.number && new != old {
                // What deltas were added to may hold certificates that have expired since; the list
                // that says more stays.
                if !new.serials().iter().all(|serial| old.revokes(serial)) {
                    return Err(RevocationsError::SameNumber(new.number));
                }
                next.insert(*issuer, old.clone());
            }
        }
        Ok(Self::Lists(next))
    }

    /// The lists, if there are any.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        let lists = if let Self::Lists(lists) = self { Some(lists.values()) } else { None };
        lists.into_iter().flatten()
    }

    /// What is known of the peer's certificates.
    fn clear(&self, peer: &Peer, now: UnixTime) -> Result<Cleared, Denial> {
        let lists = match self {
            Self::Lists(lists) => lists,
            Self::Unreadable => return Err(Denial::RevocationListUnreadable),
            Self::Unchecked => return Ok(Cleared::UntilExpiry),
        };
        let mut is_stale = false;
        let mut until = None;
        for (issuer, serial) in &peer.links {
            let list = lists.get(issuer).ok_or(Denial::NoRevocationList)?;
            // A revoked peer is told so even where the list is old: it does not come back.
            if list.revokes(serial) {
                return Err(Denial::Revoked);
            }
            is_stale |= list.is_stale(now);
            until = Some(until.unwrap_or(list.next_update).min(list.next_update));
        }
        Ok(match until {
            _ if is_stale => Cleared::Stale,
            Some(next_update) => Cleared::Until(next_update),
            None => Cleared::UntilExpiry,
        })
    }
}

/// How long a peer is known not to be revoked.
enum Cleared {
    UntilExpiry,
    Until(UnixTime),
    /// No longer: a list of an issuer on its chain is past its nextUpdate.
    Stale,
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
    /// What goes on while a list is stale; `None` for nothing.
    when_stale: Option<Arc<PermissionSet>>,
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
        Self { published: roots, roots: present, revocations, when_stale: None, clock }
    }

    /// Lets peers in while a list is stale, for these permissions and no others. A peer that the stale
    /// list names is turned away as ever; one revoked since is not known.
    #[must_use]
    pub fn with_stale_lists_for(self, permissions: PermissionSet) -> Self {
        Self { when_stale: Some(Arc::new(permissions)), ..self }
    }

    /// What goes on for such a peer while a list is stale.
    pub(crate) fn when_stale(&self, peer: &Peer) -> PermissionSet {
        let allowed = self.when_stale.as_ref();
        allowed.map(|allowed| peer.permissions.intersection(allowed)).unwrap_or_default()
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
        let (until, is_stale) = match revocations.clear(peer, now)? {
            Cleared::Until(next_update) => (next_update.min(peer.not_after), false),
            Cleared::UntilExpiry => (peer.not_after, false),
            Cleared::Stale if self.when_stale.is_some() => (peer.not_after, true),
            Cleared::Stale => return Err(Denial::RevocationListStale),
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
        let Self { published: _, roots, revocations, when_stale: _, clock: _ } = self;
        let revocations = revocations.borrow();
        f.debug_struct("Trust")
            .field("roots", &roots.len())
            .field("revocations", &revocations)
            .finish()
    }
}
