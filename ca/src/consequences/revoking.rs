//! Something was revoked, limited or reinstated.

use rustls_pki_types::UnixTime;
use serde::Deserialize;
use vouchsafe_certs::{PermissionSet, Principal, Serial};

use super::{
    CERTIFICATES, Draft, INVITATIONS, RecordError, certificate_key, compromised_key_of, device_key,
    holder_prefix, invited_prefix, read, read_newest, read_revocation, revoked_key, suffixes,
};
use crate::invitation::InvitationRecord;
use crate::reason::Reason;
use crate::record::{CertificateRecord, DeviceRecord, Revocation, RevokedRecord};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};
use crate::text;

impl Draft<'_> {
    pub(super) fn revoke(
        &mut self,
        serial: &Serial,
        revoked: Revocation,
    ) -> Result<(), RecordError> {
        self.revoke_one(&self.target(serial)?, revoked)
    }

    fn target(&self, serial: &Serial) -> Result<Target, RecordError> {
        Ok(Target::read(self.store, serial)?.ok_or(Refusal::NoSuchCertificate(*serial))?)
    }

    fn revoke_one(&mut self, target: &Target, revoked: Revocation) -> Result<(), RecordError> {
        let revocation = revoked.after(target.revoked);
        let Target { not_after, issuer, .. } = *target;
        let entry = RevokedRecord { revocation, not_after, issuer };
        self.lacks(issuer, target.serial);
        self.set(revoked_key(&target.serial), &entry)?;
        if revocation.reason == Reason::KeyCompromise {
            let key = compromised_key_of(&target.public_key);
            if self.store.get(&key)?.is_none() && self.compromised.insert(key.clone()) {
                self.put(key, None, target.serial.to_string().into_bytes());
            }
        }
        Ok(())
    }

    /// Everything the device holds: what it was issued while somebody decided to revoke it is among it.
    pub(super) fn device_revoked(
        &mut self,
        principal: &Principal,
        revoked: Revocation,
    ) -> Result<(), RecordError> {
        for target in targets(self.store, Some(principal), revoked.reason, |_| true)? {
            self.revoke_one(&target, revoked)?;
        }
        self.withdraw_all_of(principal, revoked.at)?;
        let device = self.device(principal)?;
        let revoked = revoked.after(device.revoked);
        self.keep_device(&DeviceRecord { revoked: Some(revoked), ..device })
    }

    pub(super) fn reinstated(&mut self, principal: &Principal) -> Result<(), RecordError> {
        let device = self.device(principal)?;
        self.keep_device(&DeviceRecord { revoked: None, ..device })
    }

    pub(super) fn limited(
        &mut self,
        principal: &Principal,
        limit: Option<&PermissionSet>,
    ) -> Result<(), RecordError> {
        let device = self.device(principal)?;
        self.keep_device(&DeviceRecord { limit: limit.cloned(), ..device })
    }

    fn device(&self, principal: &Principal) -> Result<DeviceRecord, RecordError> {
        let unknown = || DeviceRecord { principal: principal.clone(), revoked: None, limit: None };
        Ok(read(self.store, &device_key(principal))?.unwrap_or_else(unknown))
    }

    /// A device of which there is nothing to say has no record.
    fn keep_device(&mut self, device: &DeviceRecord) -> Result<(), RecordError> {
        let key = device_key(&device.principal);
        if device.revoked.is_none() && device.limit.is_none() {
            self.remove(key)
        } else {
            self.set(key, device)
        }
    }

    /// Revokes every generation: which of those who have shown one is the thief cannot be known.
    pub(super) fn lineage_revoked(
        &mut self,
        lineage: &Serial,
        newest: &Serial,
        at: UnixTime,
    ) -> Result<(), RecordError> {
        if read_newest(self.store, lineage)? != *newest {
            return Err(Refusal::NotNewest(*newest).into());
        }
        // RFC 5280 §5.3.1: "known or suspected that the subject's private key has been compromised".
        let revoked = Revocation { at, reason: Reason::KeyCompromise };
        let mut next = Some(*newest);
        while let Some(serial) = next {
            let target = self.target(&serial)?;
            if target.is_news(revoked.reason) {
                self.revoke_one(&target, revoked)?;
            }
            next = target.succeeds;
        }
        Ok(())
    }

    pub(super) fn revoked_issued_before(
        &mut self,
        principal: Option<&Principal>,
        before: UnixTime,
        revoked: Revocation,
    ) -> Result<(), RecordError> {
        // Who asked for it may have had a clock that was ahead of this one by a second.
        if before.as_secs() > revoked.at.as_secs().saturating_add(1) {
            return Err(Refusal::NotYet { before }.into());
        }
        for target in issued_before(self.store, principal, before, revoked.reason)? {
            self.revoke_one(&target, revoked)?;
        }
        for id in invited_before(self.store, principal, before)? {
            self.withdraw(&id, revoked.at)?;
        }
        Ok(())
    }
}

/// As much of a certificate's record as its revocation needs: there may be very many.
#[derive(Deserialize)]
pub(crate) struct Target {
    #[serde(with = "text::as_text")]
    serial: Serial,
    #[serde(with = "text::as_text")]
    issuer: Serial,
    #[serde(with = "text::instant")]
    issued_at: UnixTime,
    #[serde(with = "text::instant")]
    pub(crate) not_after: UnixTime,
    #[serde(with = "text::base64")]
    public_key: Vec<u8>,
    #[serde(default, with = "text::optional")]
    succeeds: Option<Serial>,
    #[serde(skip)]
    revoked: Option<Revocation>,
}

impl Target {
    fn read(store: &dyn Store, serial: &Serial) -> Result<Option<Self>, StoreError> {
        let Some(mut target) = read::<Self>(store, &certificate_key(serial))? else {
            return Ok(None);
        };
        target.revoked = read_revocation(store, serial)?;
        Ok(Some(target))
    }

    fn is_news(&self, reason: Reason) -> bool {
        is_news(self.revoked, reason)
    }
}

/// Whether revoking for this reason says anything that is not on record.
fn is_news(earlier: Option<Revocation>, reason: Reason) -> bool {
    earlier.is_none_or(|earlier| earlier.reason.yields_to(reason))
}

impl CertificateRecord {
    /// Whether revoking the certificate for this reason says anything that is not on record.
    pub(crate) fn is_news(&self, reason: Reason) -> bool {
        is_news(self.revoked, reason)
    }
}

/// The certificates issued before a point in time whose revocation would be news.
pub(crate) fn issued_before(
    store: &dyn Store,
    principal: Option<&Principal>,
    before: UnixTime,
    reason: Reason,
) -> Result<Vec<Target>, StoreError> {
    targets(store, principal, reason, |target| target.issued_at < before)
}

/// Certificates whose revocation would be news.
fn targets(
    store: &dyn Store,
    principal: Option<&Principal>,
    reason: Reason,
    is_meant: impl Fn(&Target) -> bool,
) -> Result<Vec<Target>, StoreError> {
    let prefix = principal.map_or_else(|| CERTIFICATES.to_owned(), holder_prefix);
    let mut found = Vec::new();
    for serial in suffixes(store, &prefix)? {
        let key = format!("{CERTIFICATES}{serial}");
        let damaged = || StoreError::Damaged { key: key.clone() };
        let serial: Serial = serial.parse().map_err(|_| damaged())?;
        let target = Target::read(store, &serial)?.ok_or_else(damaged)?;
        if is_meant(&target) && target.is_news(reason) {
            found.push(target);
        }
    }
    Ok(found)
}

/// The ids of invitations made before a point in time that can still be taken back.
pub(crate) fn invited_before(
    store: &dyn Store,
    principal: Option<&Principal>,
    before: UnixTime,
) -> Result<Vec<String>, StoreError> {
    let prefix = principal.map_or_else(|| INVITATIONS.to_owned(), invited_prefix);
    let mut found = Vec::new();
    for id in suffixes(store, &prefix)? {
        let invitation: Option<InvitationRecord> = read(store, &super::invitation_key(&id))?;
        let counts = |invitation: &InvitationRecord| {
            invitation.invited_at < before
                && invitation.withdrawn_at.is_none()
                && invitation.used < invitation.offer.uses
        };
        if invitation.as_ref().is_some_and(counts) {
            found.push(id);
        }
    }
    Ok(found)
}
