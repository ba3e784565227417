//! What may follow the lists in force: no CA's number goes back, and each CA is judged by itself.
//!
//! Whoever has one issuing CA's key can sign lists of it with any number. That must not keep out the
//! lists of others, above all the root's, which is what takes that CA out of the world.

use std::collections::HashSet;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{
    CaCertificate, RevocationDelta, RevocationError, RevocationList, Serial, SignedList,
};

use super::bundle::Bundle;
use super::revocations::{Listed, Lists, Revocations, RevocationsError};

/// What comes of lists that were offered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Following {
    /// The lists in force from now on.
    pub revocations: Revocations,
    /// Whether they are others than before.
    pub is_news: bool,
    /// The CAs of which no list was taken, though there should be one: their lists stay as they were.
    pub not_taken: Vec<NotTaken>,
}

/// A CA whose list stays as it was, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotTaken {
    /// Of the CA's certificate.
    pub issuer: Serial,
    /// What was wrong with what was offered.
    pub error: RevocationsError,
    /// When its list in force goes stale.
    pub until: UnixTime,
}

impl Revocations {
    /// Reads lists for the first time. `issuers` are the roots that the reader trusts, and CAs below
    /// them that it knows; those in the bundle that such a root has signed count as well.
    ///
    /// A list by a CA that leads to no such root says nothing of anybody who could be let in, and is
    /// left out: so a reader that knows one of two roots goes on through a change of the root.
    ///
    /// # Errors
    /// See [`RevocationsError`].
    pub fn from_pem(pem: &[u8], issuers: &[CaCertificate]) -> Result<Self, RevocationsError> {
        let epoch = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        Ok(Self::Unreadable.followed_by(pem, issuers, epoch)?.revocations)
    }

    /// Reads lists, complete ones or deltas (RFC 5280 §5.2.4), that are to follow these.
    ///
    /// Each CA is judged by itself: a list that is older than its list in force, or that is missing
    /// before that one is stale, is not taken, and the others are. What a reader has once believed
    /// stays until then, also past its nextUpdate, when it lets nobody in: so an earlier list can
    /// never take its place. Out of force go the lists of CAs that no longer lead to a trusted root,
    /// and those of CAs that their root's list names: nobody could enter by them.
    ///
    /// # Errors
    /// Where a bundle is not to be believed at all. [`RevocationError::Baseless`] if a delta fits
    /// neither a list beside it nor the one in force.
    pub fn followed_by(
        &self,
        pem: &[u8],
        issuers: &[CaCertificate],
        now: UnixTime,
    ) -> Result<Following, RevocationsError> {
        let mut bundle = Bundle::read(pem, issuers, self.listed())?;
        let (mut next, mut not_taken) = (Lists::default(), Vec::new());
        for issuer in &bundle.known {
            let old = self.list_of(&issuer.id);
            let (list, error) = match bundle.offers.remove(&issuer.id) {
                Some(offer) => offer.after(old)?,
                None if next.0.contains_key(&issuer.id) => continue,
                None => (old.cloned(), old.map(|_| RevocationsError::Missing)),
            };
            let Some(list) = list else { continue };
            let is_over = error == Some(RevocationsError::Missing) && list.is_stale(now);
            if let Some(error) = error.filter(|_| !is_over) {
                not_taken.push(NotTaken { issuer: issuer.serial, error, until: list.next_update });
            }
            next.0.insert(issuer.id, Listed { list, issuer: Arc::clone(issuer) });
        }
        next.leave_out_revoked(&bundle.known);
        let remaining: HashSet<_> = next.0.values().map(|listed| listed.issuer.serial).collect();
        not_taken.retain(|not_taken| remaining.contains(&not_taken.issuer));
        let is_news = !self.is_same_as(&next);
        Ok(Following { revocations: Self::Lists(next), is_news, not_taken })
    }

    fn is_same_as(&self, next: &Lists) -> bool {
        let stays = |listed: &Listed| {
            let before = self.list_of(&listed.issuer.id);
            before.is_some_and(|before| Arc::ptr_eq(before, &listed.list))
        };
        self.listed().count() == next.0.len() && next.0.values().all(stays)
    }
}

impl Lists {
    /// Whoever has the key of a CA that its root has revoked can sign any list, so its lists say
    /// nothing. Its leaves fall with its certificate, which stands in their chains.
    fn leave_out_revoked(&mut self, known: &[Arc<CaCertificate>]) {
        let is_revoked = |ca: &Arc<CaCertificate>| {
            ca.issuer.is_some_and(|issuer| self.revokes(&issuer, &ca.serial))
        };
        // One that was certified twice counts for as long as one of its certificates does.
        let good: HashSet<_> = known.iter().filter(|ca| !is_revoked(ca)).map(|ca| ca.id).collect();
        self.0.retain(|issuer, _| good.contains(issuer));
    }
}

/// What a bundle holds of one CA.
#[derive(Default)]
pub(super) struct Offer {
    complete: Option<RevocationList>,
    delta: Option<RevocationDelta>,
}

/// The list in force from now on, if there is one, and why it is not what was offered.
type Succession = (Option<Arc<RevocationList>>, Option<RevocationsError>);

impl Offer {
    /// Takes a list in, unless there is one of its kind already.
    pub(super) fn add(&mut self, list: SignedList) -> Result<(), RevocationsError> {
        let is_second = match list {
            SignedList::Complete(list) => self.complete.replace(list).is_some(),
            SignedList::Delta(delta) => self.delta.replace(delta).is_some(),
            _ => return Err(RevocationError::CriticalExtension.into()),
        };
        if is_second { Err(RevocationsError::Twice) } else { Ok(()) }
    }

    /// What it comes to after the list in force.
    fn after(self, old: Option<&Arc<RevocationList>>) -> Result<Succession, RevocationError> {
        let (mut list, mut error) = (old.cloned(), None);
        if let Some(complete) = self.complete {
            match succeeding(old, complete) {
                Ok(next) => list = Some(next),
                Err(older) => error = Some(older),
            }
        }
        if let Some(delta) = self.delta {
            let base = list.as_ref().ok_or(RevocationError::Baseless)?;
            match changed(base, &delta)? {
                Ok(next) => list = Some(next),
                Err(older) => error = error.or(Some(older)),
            }
        }
        Ok((list, error))
    }
}

/// A complete list in the place of the one before it.
fn succeeding(
    old: Option<&Arc<RevocationList>>,
    new: RevocationList,
) -> Result<Arc<RevocationList>, RevocationsError> {
    let Some(old) = old else { return Ok(Arc::new(new)) };
    if new.number > old.number {
        return Ok(Arc::new(new));
    }
    must_be_old(old, &new)?;
    Ok(Arc::clone(old))
}

/// A list and what has changed since. The first error is one of the whole bundle: it speaks of a
/// list that is not known.
fn changed(
    base: &Arc<RevocationList>,
    delta: &RevocationDelta,
) -> Result<Result<Arc<RevocationList>, RevocationsError>, RevocationError> {
    if delta.changes().number > base.number {
        return Ok(Ok(Arc::new(base.with(delta)?)));
    }
    Ok(must_be_old(base, delta.changes()).map(|()| Arc::clone(base)))
}

/// A list that is no later than the one in force is the same, or says less: what deltas were added to
/// may hold certificates that have expired since.
fn must_be_old(old: &RevocationList, new: &RevocationList) -> Result<(), RevocationsError> {
    if new.number < old.number {
        return Err(RevocationsError::Older { found: new.number, current: old.number });
    }
    match new.serials().iter().all(|serial| old.revokes(serial)) {
        true => Ok(()),
        false => Err(RevocationsError::SameNumber(new.number)),
    }
}
