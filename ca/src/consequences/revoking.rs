//! Something was revoked, limited or reinstated.

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{PermissionSet, Principal, Serial};

use super::{
    CERTIFICATES, Draft, INVITATIONS, RecordError, compromised_key, device_key, holder_prefix,
    invited_prefix, read, read_newest, revoked_key, suffixes,
};
use crate::invitation::InvitationRecord;
use crate::reason::Reason;
use crate::record::{CertificateRecord, DeviceRecord, Revocation, RevokedRecord};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};

impl Draft<'_> {
    pub(super) fn revoke(
        &mut self,
        serial: &Serial,
        revoked: Revocation,
    ) -> Result<(), RecordError> {
        let record = self.certificate(serial)?;
        self.revoke_one(&Target::of(&record), revoked)
    }

    fn revoke_one(&mut self, target: &Target, revoked: Revocation) -> Result<(), RecordError> {
        let revocation = revoked.after(target.revoked);
        let Target { not_after, issuer, .. } = *target;
        let entry = RevokedRecord { revocation, not_after, issuer };
        self.lacking.insert(issuer);
        self.set(revoked_key(&target.serial), &entry)?;
        if revocation.reason == Reason::KeyCompromise {
            let key = target.compromised_key.clone();
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
            let record = self.certificate(&serial)?;
            if record.is_news(revoked.reason) {
                self.revoke_one(&Target::of(&record), revoked)?;
            }
            next = record.succeeds;
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

/// As much of a certificate as its revocation needs: there may be very many.
pub(crate) struct Target {
    serial: Serial,
    issuer: Serial,
    pub(crate) not_after: UnixTime,
    compromised_key: String,
    revoked: Option<Revocation>,
}

impl Target {
    fn of(record: &CertificateRecord) -> Self {
        Self {
            serial: record.planned.serial,
            issuer: record.planned.issuer,
            not_after: record.planned.not_after,
            compromised_key: compromised_key(&record.planned.public_key),
            revoked: record.revoked,
        }
    }
}

impl CertificateRecord {
    /// Whether revoking the certificate for this reason says anything that is not on record.
    pub(crate) fn is_news(&self, reason: Reason) -> bool {
        self.revoked.is_none_or(|earlier| earlier.reason.yields_to(reason))
    }
}

/// The certificates issued before a point in time whose revocation would be news.
pub(crate) fn issued_before(
    store: &dyn Store,
    principal: Option<&Principal>,
    before: UnixTime,
    reason: Reason,
) -> Result<Vec<Target>, StoreError> {
    targets(store, principal, reason, |record| record.issued_at < before)
}

/// Certificates whose revocation would be news.
fn targets(
    store: &dyn Store,
    principal: Option<&Principal>,
    reason: Reason,
    is_meant: impl Fn(&CertificateRecord) -> bool,
) -> Result<Vec<Target>, StoreError> {
    let prefix = principal.map_or_else(|| CERTIFICATES.to_owned(), holder_prefix);
    let mut found = Vec::new();
    for serial in suffixes(store, &prefix)? {
        let key = format!("{CERTIFICATES}{serial}");
        let damaged = || StoreError::Damaged { key: key.clone() };
        let serial: Serial = serial.parse().map_err(|_| damaged())?;
        let record = super::read_certificate(store, &serial)?.ok_or_else(damaged)?;
        if is_meant(&record) && record.is_news(reason) {
            found.push(Target::of(&record));
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
