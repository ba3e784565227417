//! Enrolment, renewal and lineage: how devices get certificates when no operator is at hand.
//!
//! A *lineage* begins with an order or an enrolment and is named by the serial number of its first
//! certificate, generation 0. Each renewal adds a generation: the newest is the only one that can be
//! renewed. An older one that is shown again was either answered and the answer was lost (then the key
//! is that of the newest, and the same answer is given), or two hold what one should: theft.
//!
//! What a renewal grants is what the first certificate of the lineage granted, within the *limit* of
//! the device's record as it is on that day. So permissions narrow when an operator narrows the limit,
//! come back when the limit is lifted, and never go beyond what an operator once granted.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{Certificate, CertificateRequest, PermissionSet, Principal, Serial};

use crate::authority::{Authority, Issued};
use crate::consequences::{invited_before, issued_before};
use crate::error::Error;
use crate::invitation::{
    InvitationRecord, InvitationSecret, InvitationState, Invited, Inviter, Offer, draw_id, opens,
};
use crate::ledger::Ledger;
use crate::pending::Pending;
use crate::profile::{Order, Planned, within};
use crate::reason::Reason;
use crate::record::{Actor, CertificateRecord, DeviceRecord, Event, ListRecord, Origin};
use crate::refusal::Refusal;
use crate::text;

/// How many generations of a lineage live at the same time, about: each is renewed only when a tenth
/// of its life is over. Renewers come at two thirds; whoever comes all the time would otherwise have
/// as many certificates as they like, and a revocation of them all a list as long as they like.
const GENERATIONS: u64 = 10;

/// What revoking everything issued before a point in time came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sweep {
    /// How many certificates this revoked that would still count.
    pub certificates: u64,
    /// How many invitations this withdrew.
    pub invitations: u64,
    /// The list that says so.
    pub list: ListRecord,
}

impl Authority {
    /// Invites somebody to enrol.
    ///
    /// # Errors
    /// [`OfferError`](crate::OfferError) and [`ProfileError`](crate::ProfileError) if the offer breaks
    /// a limit, [`Refusal::DeviceRevoked`], [`Refusal::BeyondLimit`], [`Refusal::Reserved`],
    /// [`Refusal::CallerUnknown`], [`Refusal::CallerRevoked`], [`Refusal::InviterRevoked`], or see
    /// [`Error`].
    pub fn invite(&self, by: &Inviter, offer: Offer) -> Result<Invited, Error> {
        let now = self.now()?;
        let (by, inviter) = match by {
            Inviter::Home => (Actor::Home, None),
            Inviter::Holder(shown) => {
                let (principal, serial) = self.caller(shown)?;
                (Actor::Holder(principal, *shown), Some(serial))
            }
        };
        by.demand_say(&offer.principal)?;
        offer.judge()?;
        self.signing(now)?.profile.judge(&offer, now)?;
        let (id, secret) = (draw_id()?, InvitationSecret::draw()?);
        let expires_at = offer.expires_at(now);
        let secret_sha256 = secret.sha256();
        let event = Event::Invited { id: id.clone(), secret_sha256, inviter, offer };
        self.record(&by, &event, now)?;
        Ok(Invited { id, secret, expires_at })
    }

    /// Takes an invitation back. What it was redeemed for stays as it is.
    ///
    /// # Errors
    /// [`Refusal::NoSuchInvitation`], or see [`Error`].
    pub fn withdraw(&self, by: &Actor, id: &str) -> Result<InvitationRecord, Error> {
        let now = self.now()?;
        let find = || {
            let found = self.look_up(|ledger| ledger.invitation(id))?;
            found.ok_or_else(|| Error::from(Refusal::NoSuchInvitation(id.to_owned())))
        };
        let invitation = find()?;
        if matches!(invitation.state(now), InvitationState::Withdrawn | InvitationState::Used) {
            self.look_up(Ledger::settle)?;
            return Ok(invitation);
        }
        self.record(by, &Event::Withdrawn { id: id.to_owned() }, now)?;
        find()
    }

    /// Redeems an invitation for a certificate. The same key gets the same certificate again, whatever
    /// became of the answer the first time.
    ///
    /// # Errors
    /// [`Refusal::UnknownInvitation`] whether it is the id or the secret that is wrong; with the right
    /// secret, the [`Refusal`] says what is the matter; or see [`Error`]. None of them spends a use.
    pub fn enroll(
        &self,
        id: &str,
        secret: &str,
        request: &CertificateRequest,
    ) -> Result<Issued, Error> {
        once_more(|| self.begin_enroll(id, secret, request)?.wait())
    }

    /// As [`enroll`](Self::enroll), without keeping a thread for as long as the disk takes. Whoever was
    /// overtaken ([`Error::is_overtaken`]) may ask once more.
    ///
    /// # Errors
    /// As [`enroll`](Self::enroll).
    pub fn begin_enroll(
        &self,
        id: &str,
        secret: &str,
        request: &CertificateRequest,
    ) -> Result<Pending<Issued>, Error> {
        let now = self.now()?;
        let found = self.look_up(|ledger| ledger.invitation(id))?;
        let known = opens(secret, found.as_ref());
        let Some(invitation) = found.filter(|_| known) else {
            return Err(Refusal::UnknownInvitation.into());
        };
        let principal = invitation.offer.principal.clone();
        let limit = self.limit_of(&principal)?;
        let key = &request.public_key;
        if let Some(record) = self.look_up(|ledger| ledger.redeemed(id, key))? {
            return self.hand_out_again(&record, now);
        }
        invitation.demand_open(now)?;
        self.look_up(|ledger| ledger.demand_inviter(&invitation))?;
        let Offer { kind, permissions, lifetime, .. } = invitation.offer;
        let order = Order {
            principal: principal.clone(),
            kind,
            permissions: within(&permissions, limit.as_ref()),
            lifetime,
            public_key: key.clone(),
        };
        self.certify(Actor::Principal(principal), order, Origin::Invitation(id.to_owned()), now)
    }

    /// Renews a certificate whose possession was proven, for the same key or another. The same request
    /// again gets the same certificate, as long as that is the newest of its lineage.
    ///
    /// # Errors
    /// [`Refusal::CertificateExpired`], [`Refusal::CertificateRevoked`], [`Refusal::DeviceRevoked`];
    /// [`Refusal::TooYoung`] if it was renewed only lately, for another key, and nothing but the dates
    /// would change; [`Refusal::Stolen`] after the lineage has been revoked and the list that says so
    /// published; or see [`Error`].
    pub fn renew(
        &self,
        current: &Certificate,
        request: &CertificateRequest,
    ) -> Result<Issued, Error> {
        once_more(|| self.begin_renew(current, request)?.wait())
    }

    /// As [`renew`](Self::renew), without keeping a thread for as long as the disk takes, unless there
    /// is a lineage to revoke. Whoever was overtaken ([`Error::is_overtaken`]) may ask once more.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub fn begin_renew(
        &self,
        current: &Certificate,
        request: &CertificateRequest,
    ) -> Result<Pending<Issued>, Error> {
        let now = self.now()?;
        let serial = current.serial;
        let held = self.look_up(|ledger| ledger.certificate(&serial))?;
        // Another CA may have drawn the same number.
        let held = held.filter(|held| held.is_of(current));
        let held = held.ok_or(Refusal::NoSuchCertificate(serial))?;
        let limit = self.limit_of(&held.planned.principal)?;
        self.demand_renewable(&held, now)?;
        let newest = self.look_up(|ledger| ledger.newest(&held.lineage))?;
        if newest == serial {
            return self.succeed(&held, limit.as_ref(), request, now);
        }
        let newest = self.look_up(|ledger| ledger.of_lineage(&newest))?;
        if newest.planned.public_key == request.public_key {
            return self.hand_out_again(&newest, now);
        }
        self.revoke_lineage(&held, newest.planned.serial, request, now)
    }

    /// Renews the newest certificate of a lineage.
    fn succeed(
        &self,
        newest: &CertificateRecord,
        limit: Option<&PermissionSet>,
        request: &CertificateRequest,
        now: UnixTime,
    ) -> Result<Pending<Issued>, Error> {
        let serial = newest.planned.serial;
        let earlier = if newest.lineage == serial {
            None
        } else {
            Some(self.look_up(|ledger| ledger.of_lineage(&newest.lineage))?)
        };
        let first = &earlier.as_ref().unwrap_or(newest).planned;
        let signer = self.signing(now)?;
        let order = signer.profile.succession(first, limit, request.public_key.clone());
        if let Some(refusal) = newest.is_too_young(&order, &signer.serial(), now) {
            // The same key again: the certificate that it would be for is there.
            let is_there = newest.planned.public_key == order.public_key;
            return if is_there { self.hand_out_again(newest, now) } else { Err(refusal.into()) };
        }
        let by = Actor::Principal(first.principal.clone());
        self.certify(by, order, Origin::Renewal(serial), now)
    }

    /// Two hold what one should; which of them is the thief cannot be known, so neither keeps it.
    fn revoke_lineage(
        &self,
        shown: &CertificateRecord,
        newest: Serial,
        request: &CertificateRequest,
        now: UnixTime,
    ) -> Result<Pending<Issued>, Error> {
        let event = Event::LineageRevoked {
            lineage: shown.lineage,
            newest,
            shown: shown.planned.serial,
            key_sha256: text::sha256(&request.public_key.to_der()),
        };
        let is_of_it = |record: &CertificateRecord| record.lineage == shown.lineage;
        self.conclude(&Actor::Itself, Some(event), now, is_of_it)?;
        let principal = shown.planned.principal.clone();
        Err(Refusal::Stolen { principal, shown: shown.planned.serial }.into())
    }

    /// The answer that was given before, if it still counts. Perhaps it was not given: then the record
    /// can be seen before it is on disk.
    fn hand_out_again(
        &self,
        record: &CertificateRecord,
        now: UnixTime,
    ) -> Result<Pending<Issued>, Error> {
        self.demand_renewable(record, now)?;
        let issued = self.hand_out(&record.certificate)?;
        Ok(self.look_up(Ledger::hand_over_nothing)?.map(|()| issued))
    }

    /// Whether a certificate counts, and if not, why not. It falls with the issuing CA that signed it.
    fn demand_renewable(&self, record: &CertificateRecord, now: UnixTime) -> Result<(), Error> {
        let issuer = self.look_up(|ledger| ledger.ca(&record.planned.issuer))?;
        Ok(record.demand_renewable(issuer.and_then(|issuer| issuer.revoked), now)?)
    }

    /// What a device may do at most.
    fn limit_of(&self, principal: &Principal) -> Result<Option<PermissionSet>, Error> {
        match self.look_up(|ledger| ledger.device(principal))? {
            None => Ok(None),
            Some(DeviceRecord { revoked: None, limit, .. }) => Ok(limit),
            Some(DeviceRecord { principal, revoked: Some(revoked), .. }) => {
                Err(Refusal::DeviceRevoked { principal, reason: revoked.reason }.into())
            }
        }
    }

    /// From its next certificate on, a device may do no more than this; `None` lifts the limit.
    /// Says whether that is new.
    ///
    /// # Errors
    /// [`Refusal::OwnLimit`], [`Refusal::Reserved`], or see [`Error`].
    pub fn limit(
        &self,
        by: &Actor,
        principal: &Principal,
        permissions: Option<PermissionSet>,
    ) -> Result<bool, Error> {
        by.demand_say_of_limit(principal)?;
        let now = self.now()?;
        if let Some(permissions) = &permissions {
            self.signing(now)?.profile.judge_grant(principal, permissions)?;
        }
        let device = self.look_up(|ledger| ledger.device(principal))?;
        if device.and_then(|device| device.limit) == permissions {
            self.look_up(Ledger::settle)?;
            return Ok(false);
        }
        let event = Event::Limited { principal: principal.clone(), permissions };
        self.record(by, &event, now)?;
        Ok(true)
    }

    /// Revokes every certificate issued before a point in time, and withdraws every invitation made
    /// before it; of one device, or of all. One act, however many there are.
    ///
    /// # Errors
    /// [`Refusal::NotYet`] if the point in time is still to come, [`Refusal::Reserved`], or see [`Error`].
    pub fn revoke_issued_before(
        &self,
        by: &Actor,
        scope: Option<&Principal>,
        before: UnixTime,
        reason: Reason,
    ) -> Result<Sweep, Error> {
        scope.map_or(Ok(()), |principal| by.demand_say(principal))?;
        let now = self.now()?;
        let (targets, invitations) = self.look_up(|ledger| {
            let store = ledger.store();
            let targets = issued_before(store, scope, before, reason)?;
            Ok((targets, invited_before(store, scope, before)?.len()))
        })?;
        let counting = targets.iter().filter(|target| target.not_after >= now).count();
        // Asked for a time to come, the record refuses it even if there is nothing to revoke yet.
        let event = Event::RevokedIssuedBefore { principal: scope.cloned(), before, reason };
        let is_news = !targets.is_empty() || invitations > 0 || before > now;
        drop(targets);
        let is_meant = |record: &CertificateRecord| {
            let of_scope = |scope: &Principal| record.planned.principal == *scope;
            record.issued_at < before && scope.is_none_or(of_scope)
        };
        let list = self.conclude(by, is_news.then_some(event), now, is_meant)?;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Sweep { certificates: count(counting), invitations: count(invitations), list })
    }
}

/// Asks once more if another request came in between: what it has changed decides.
fn once_more(ask: impl Fn() -> Result<Issued, Error>) -> Result<Issued, Error> {
    match ask() {
        Err(error) if error.is_overtaken() => ask(),
        answer => answer,
    }
}

impl CertificateRecord {
    /// Whether a renewal as `order` by `issuer` would give nothing that this does not, so soon after it
    /// was issued that it was for nothing. The first renewal of a lineage may come at once: whoever
    /// sets a device up sees whether it works.
    fn is_too_young(&self, order: &Order, issuer: &Serial, now: UnixTime) -> Option<Refusal> {
        let Planned { permissions, not_after, serial, .. } = &self.planned;
        let gives_more = order.permissions != *permissions || *issuer != self.planned.issuer;
        let issued_at = self.issued_at.as_secs();
        let life = not_after.as_secs().saturating_sub(issued_at);
        let from = issued_at.saturating_add(life.div_ceil(GENERATIONS));
        let again_in = from.saturating_sub(now.as_secs());
        if self.generation == 0 || gives_more || again_in == 0 {
            return None;
        }
        let again_at = UnixTime::since_unix_epoch(Duration::from_secs(from));
        let again_in = Duration::from_secs(again_in);
        Some(Refusal::TooYoung { serial: *serial, issued_at: self.issued_at, again_at, again_in })
    }

    /// Whether this is what is known of `certificate`.
    fn is_of(&self, certificate: &Certificate) -> bool {
        vouchsafe_certs::Fingerprint::of(&self.certificate) == certificate.fingerprint
    }
}
