//! An invitation was made or taken back.

use std::ops::ControlFlow;

use rustls_pki_types::UnixTime;
use serde::Deserialize;
use vouchsafe_certs::{Fingerprint, Principal, Serial};

use super::{
    Draft, INVITATION_COUNT, RecordError, ca_key, certificate_key, device_key, fingerprint_key,
    invitation_key, invited_prefix, parse, read, read_newest, read_revocation, serial_from,
    suffixes,
};
use crate::invitation::{InvitationRecord, Offer};
use crate::record::Revocation;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::text;

/// How many invitations can be redeemed at the same time, those included that were not yet seen to be
/// expired: that is looked at whenever one is added.
pub(super) const MAX_INVITATIONS: u64 = 100_000;

/// How long an invitation that is over is remembered, in seconds: so long there is an answer that
/// says why it is refused, and the same answer for a device that asks once more.
const REMEMBERED: u64 = 7 * 86_400;

/// How many are forgotten, or seen to be expired, at once. More than come with it, so that they cannot
/// pile up.
const AT_ONCE: usize = 16;

const EXPIRING: &str = "expiring/";
const OUTSTANDING: &str = "outstanding/";

fn expiring_key(invitation: &InvitationRecord) -> String {
    // The digits keep the order.
    format!("{EXPIRING}{:020}/{}", invitation.expires_at.as_secs(), invitation.id)
}

fn outstanding_key(invitation: &InvitationRecord) -> String {
    format!("{OUTSTANDING}{:020}/{}", invitation.expires_at.as_secs(), invitation.id)
}

impl Draft<'_> {
    pub(super) fn invited(
        &mut self,
        id: &str,
        secret_sha256: &str,
        inviter: Option<Serial>,
        offer: &Offer,
        at: UnixTime,
    ) -> Result<(), RecordError> {
        let invitation = InvitationRecord {
            id: id.to_owned(),
            offer: offer.clone(),
            secret_sha256: secret_sha256.to_owned(),
            inviter,
            invited_at: at,
            expires_at: offer.expires_at(at),
            used: 0,
            withdrawn_at: None,
        };
        self.demand_inviter(&invitation)?;
        self.demand_admission(&offer.principal, &offer.permissions)?;
        self.forget(at)?;
        self.close_expired(at)?;
        let outstanding = self.outstanding()?.saturating_sub(self.closed);
        if outstanding >= MAX_INVITATIONS {
            return Err(Refusal::TooManyInvitations(outstanding).into());
        }
        self.put(format!("{}{id}", invited_prefix(&offer.principal)), None, Vec::new());
        self.put(expiring_key(&invitation), None, Vec::new());
        self.put(outstanding_key(&invitation), None, Vec::new());
        self.create(invitation_key(id), &invitation)
    }

    /// Whoever made an invitation must still be trusted.
    pub(super) fn demand_inviter(&self, invitation: &InvitationRecord) -> Result<(), RecordError> {
        match distrusted_inviter(self.store, invitation)? {
            None => Ok(()),
            Some((inviter, Revocation { reason, .. })) => {
                Err(Refusal::InviterRevoked { inviter, reason }.into())
            }
        }
    }

    fn outstanding(&self) -> Result<u64, RecordError> {
        Ok(read(self.store, INVITATION_COUNT)?.unwrap_or_default())
    }

    /// Keeps count of the invitations that can be redeemed.
    pub(super) fn count_invitations(&mut self, is_one_more: bool) -> Result<(), RecordError> {
        if !is_one_more && self.closed == 0 {
            return Ok(());
        }
        let count = self.outstanding()?.saturating_sub(self.closed) + u64::from(is_one_more);
        self.set(INVITATION_COUNT.to_owned(), &count)
    }

    /// One can be redeemed no more. It may have been seen to be expired before.
    pub(super) fn close(&mut self, invitation: &InvitationRecord) -> Result<(), RecordError> {
        let key = outstanding_key(invitation);
        if self.store.get(&key)?.is_some() {
            self.closed += 1;
            self.remove(key)?;
        }
        Ok(())
    }

    /// Some that have expired are outstanding no more, the oldest first.
    fn close_expired(&mut self, at: UnixTime) -> Result<(), RecordError> {
        for (key, _) in self.over(OUTSTANDING, at.as_secs())? {
            self.closed += 1;
            self.remove(key)?;
        }
        Ok(())
    }

    /// A few of the keys under a prefix whose time was over before then, with the ids they end in.
    fn over(&self, prefix: &str, before: u64) -> Result<Vec<(String, String)>, RecordError> {
        let mut over = Vec::new();
        self.store.scan(prefix, &mut |key, _| {
            let parts = key.strip_prefix(prefix).and_then(|rest| rest.split_once('/'));
            let parts = parts.and_then(|(seconds, id)| Some((seconds.parse::<u64>().ok()?, id)));
            match parts {
                Some((seconds, id)) if over.len() < AT_ONCE && seconds < before => {
                    over.push((key.to_owned(), id.to_owned()));
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            }
        })?;
        Ok(over)
    }

    /// Forgets some that have been over for long, the oldest first.
    fn forget(&mut self, at: UnixTime) -> Result<(), RecordError> {
        for (key, id) in self.over(EXPIRING, at.as_secs().saturating_sub(REMEMBERED))? {
            let (_, invitation) = self.invitation(&id)?;
            self.remove(key)?;
            self.remove(format!("{}{id}", invited_prefix(&invitation.offer.principal)))?;
            let redeemed = format!("redeemed/{id}/");
            for key in suffixes(self.store, &redeemed)? {
                self.remove(format!("{redeemed}{key}"))?;
            }
            self.remove(invitation_key(&id))?;
        }
        Ok(())
    }

    /// Takes an invitation back, if that still means something.
    pub(super) fn withdraw(&mut self, id: &str, at: UnixTime) -> Result<(), RecordError> {
        let (stored, invitation) = self.invitation(id)?;
        if invitation.withdrawn_at.is_some() || invitation.used >= invitation.offer.uses {
            return Ok(());
        }
        self.close(&invitation)?;
        let withdrawn = InvitationRecord { withdrawn_at: Some(at), ..invitation };
        self.put(invitation_key(id), Some(stored), super::encode(&withdrawn)?);
        Ok(())
    }

    /// Takes back what was promised to a device.
    pub(super) fn withdraw_all_of(
        &mut self,
        principal: &Principal,
        at: UnixTime,
    ) -> Result<(), RecordError> {
        for id in suffixes(self.store, &invited_prefix(principal))? {
            self.withdraw(&id, at)?;
        }
        Ok(())
    }

    fn invitation(&self, id: &str) -> Result<(Vec<u8>, InvitationRecord), RecordError> {
        let key = invitation_key(id);
        let no_such = || Refusal::NoSuchInvitation(id.to_owned());
        let stored = self.store.get(&key)?.ok_or_else(no_such)?;
        let invitation = parse(&key, &stored)?;
        Ok((stored, invitation))
    }
}

/// As much of a certificate's record as says whose it is: it is read for each key that enrols, by the
/// one who writes, and for each call of an operator. Reading all of it costs four times as much.
#[derive(Deserialize)]
struct Shown {
    #[serde(with = "text::as_text")]
    principal: Principal,
    #[serde(with = "text::as_text")]
    issuer: Serial,
    #[serde(with = "text::as_text")]
    lineage: Serial,
}

/// What a device's and a CA's record have in common.
#[derive(Deserialize)]
struct Revocable {
    #[serde(default)]
    revoked: Option<Revocation>,
}

fn shown(store: &dyn Store, serial: &Serial) -> Result<Shown, RecordError> {
    let found = read(store, &certificate_key(serial))?;
    Ok(found.ok_or(Refusal::NoSuchCertificate(*serial))?)
}

/// What is known of the revocation of a device or a CA.
fn revocation_of(store: &dyn Store, key: &str) -> Result<Option<Revocation>, RecordError> {
    let record: Option<Revocable> = read(store, key)?;
    Ok(record.and_then(|record| record.revoked))
}

/// Whose certificate was shown, and its serial number, if whoever shows it still has a say. Not the number
/// alone is asked for: whoever has stolen an issuing CA's key can give any to a certificate of their own.
pub(crate) fn caller(
    store: &dyn Store,
    shown: &Fingerprint,
) -> Result<(Principal, Serial), RecordError> {
    let key = fingerprint_key(shown);
    let serial = store.get(&key)?.ok_or(Refusal::CallerUnknown(*shown))?;
    let serial = serial_from(&key, &serial)?;
    match holder(store, &serial)? {
        (caller, None) => Ok((caller, serial)),
        (caller, Some(Revocation { reason, .. })) => {
            Err(Refusal::CallerRevoked { caller, reason }.into())
        }
    }
}

/// Who holds a certificate, and what is known of a revocation: of the device, of the certificate, or of
/// the CA that has issued it.
fn holder(
    store: &dyn Store,
    serial: &Serial,
) -> Result<(Principal, Option<Revocation>), RecordError> {
    let Shown { principal, issuer, .. } = shown(store, serial)?;
    let revoked = match revocation_of(store, &device_key(&principal))? {
        None => read_revocation(store, serial)?,
        revoked => revoked,
    };
    let revoked = match revoked {
        None => revocation_of(store, &ca_key(&issuer))?,
        revoked => revoked,
    };
    Ok((principal, revoked))
}

/// Whoever made an invitation, if that one is trusted no more: the device, the certificate that was
/// shown, what that was renewed to since, or the CA that has issued it.
fn distrusted_inviter(
    store: &dyn Store,
    invitation: &InvitationRecord,
) -> Result<Option<(Principal, Revocation)>, RecordError> {
    let Some(serial) = &invitation.inviter else { return Ok(None) };
    let Shown { principal, issuer, lineage } = shown(store, serial)?;
    let newest = read_newest(store, &lineage)?;
    let issuer = if newest == *serial { issuer } else { shown(store, &newest)?.issuer };
    for key in [device_key(&principal), ca_key(&issuer)] {
        if let Some(revoked) = revocation_of(store, &key)? {
            return Ok(Some((principal, revoked)));
        }
    }
    let revoked = read_revocation(store, serial)?.or(read_revocation(store, &newest)?);
    Ok(revoked.map(|revoked| (principal, revoked)))
}

/// As [`distrusted_inviter`], and also if the CA has fallen that had issued the certificate which was
/// shown, whatever that was renewed to since. Journals hold redemptions that only the former was asked
/// about, and must be read as they were written: so this is asked before anything is recorded.
pub(crate) fn fallen_inviter(
    store: &dyn Store,
    invitation: &InvitationRecord,
) -> Result<Option<(Principal, Revocation)>, RecordError> {
    let found = distrusted_inviter(store, invitation)?;
    let (None, Some(serial)) = (&found, &invitation.inviter) else { return Ok(found) };
    let Shown { principal, issuer, .. } = shown(store, serial)?;
    let revoked = revocation_of(store, &ca_key(&issuer))?;
    Ok(revoked.map(|revoked| (principal, revoked)))
}
