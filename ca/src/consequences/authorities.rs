//! What follows from an event of the CAs themselves: one comes, is revoked, retires, signs a list.

use std::ops::ControlFlow;

use rustls_pki_types::UnixTime;
use serde::Deserialize;
use serde::de::IgnoredAny;
use vouchsafe_certs::{CaCertificate, RevocationList, Serial};

use super::{
    AUTHORITY, Draft, RecordError, ca_key, delta_key, last_leaf_key, list_key, parse, read,
    recent_prefix, revoked_key,
};
use crate::profile::Planned;
use crate::record::{AuthorityRecord, CaRecord, ListRecord, Revocation, RevokedRecord, Tier};
use crate::refusal::Refusal;
use crate::text;

/// The end of the last leaf is kept to the hour, so that it is written down once an hour at most.
const HOUR: u64 = 3_600;

impl Draft<'_> {
    pub(super) fn begin(
        &mut self,
        authority: &AuthorityRecord,
        root: &CaRecord,
        issuing: &CaRecord,
    ) -> Result<(), RecordError> {
        self.create(AUTHORITY.to_owned(), authority)?;
        self.add_ca(root)?;
        self.add_ca(issuing)
    }

    pub(super) fn add_ca(&mut self, record: &CaRecord) -> Result<(), RecordError> {
        let serial = certificate_of(record)?.serial;
        let key = ca_key(&serial);
        if self.store.get(&key)?.is_some() {
            return Err(Refusal::OutOfOrder.into());
        }
        self.create(key, record)
    }

    /// The root's list names the issuing CA from now on.
    pub(super) fn revoke_ca(
        &mut self,
        serial: &Serial,
        revoked: Revocation,
    ) -> Result<(), RecordError> {
        let mut record = self.ca(serial)?;
        let certificate = certificate_of(&record)?;
        if record.tier != Tier::Issuing {
            return Err(Refusal::NoSuchCa(*serial).into());
        }
        let root = self.issuer_of(&certificate)?;
        let at = record.revoked.map_or(revoked.at, |earlier| earlier.at);
        let revocation = Revocation { at, reason: revoked.reason };
        record.revoked = Some(revocation);
        self.set(ca_key(serial), &record)?;
        let not_after = certificate.not_after;
        let entry = RevokedRecord { revocation, not_after, issuer: root };
        self.lacks(root, *serial);
        self.set(revoked_key(serial), &entry)
    }

    pub(super) fn retire_ca(
        &mut self,
        serial: &Serial,
        last_list: &[u8],
        at: UnixTime,
    ) -> Result<(), RecordError> {
        let mut record = self.ca(serial)?;
        let last_leaf: u64 = read(self.store, &last_leaf_key(serial))?.unwrap_or_default();
        if record.is_retired() || last_list.is_empty() || last_leaf >= at.as_secs() {
            return Err(Refusal::OutOfOrder.into());
        }
        if record.tier == Tier::Root {
            self.demand_ended(&record, last_list, at)?;
        }
        record.last_list = last_list.to_vec();
        self.set(ca_key(serial), &record)
    }

    /// Nothing hangs on a root that retires but what its last list revokes: nobody can revoke it
    /// again, for the key is gone.
    fn demand_ended(
        &self,
        root: &CaRecord,
        last_list: &[u8],
        at: UnixTime,
    ) -> Result<(), RecordError> {
        let root = certificate_of(root)?;
        for (serial, record) in super::cas(self.store)? {
            let below = certificate_of(&record)?;
            if below.issuer != Some(root.id) || below.not_after < at {
                continue;
            }
            let list = RevocationList::from_der(last_list, &root);
            let is_named = list.is_ok_and(|list| list.revokes(&serial));
            if !record.is_retired() || record.revoked.is_some() && !is_named {
                return Err(Refusal::OutOfOrder.into());
            }
        }
        Ok(())
    }

    pub(super) fn list_signed(
        &mut self,
        issuer: &Serial,
        list: &ListRecord,
    ) -> Result<(), RecordError> {
        if self.ca(issuer)?.is_retired() {
            return Err(Refusal::CaGone(*issuer).into());
        }
        let number = |record: Option<ListRecord>| record.map_or(0, |record| record.number);
        let complete = number(read(self.store, &list_key(issuer))?);
        let delta = number(read(self.store, &delta_key(issuer))?);
        // RFC 5280 §5.2.3: the number rises with every list, complete or not; one of each may share it.
        let rises = match list.base {
            None => list.number > complete && list.number >= delta,
            Some(base) => list.number > complete && list.number > delta && base == complete,
        };
        match (rises, list.base) {
            (false, _) => Err(Refusal::OutOfOrder.into()),
            (true, Some(_)) => self.set(delta_key(issuer), list),
            (true, None) => {
                self.forget_recent(issuer, list.covers)?;
                self.set(list_key(issuer), list)
            }
        }
    }

    /// What a complete list holds is recent no more.
    fn forget_recent(&mut self, issuer: &Serial, covers: u64) -> Result<(), RecordError> {
        let mut covered = Ok(Vec::new());
        self.store.scan(&recent_prefix(issuer), &mut |key, value| {
            match (&mut covered, parse::<u64>(key, value)) {
                (Ok(keys), Ok(sequence)) if sequence <= covers => keys.push(key.to_owned()),
                (_, Err(error)) => covered = Err(error),
                _ => {}
            }
            if covered.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        for key in covered? {
            self.remove(key)?;
        }
        Ok(())
    }

    /// Whether the CA that signed may, and until when it is needed because of that.
    pub(super) fn signed_by_ca(&mut self, planned: &Planned) -> Result<(), RecordError> {
        let Planned { issuer, not_after, .. } = planned;
        let key = ca_key(issuer);
        let record = self.store.get(&key)?.ok_or(Refusal::NoSuchCa(*issuer))?;
        if !parse::<Standing<'_>>(&key, &record)?.may_sign_leaves() {
            return Err(Refusal::CaGone(*issuer).into());
        }
        let key = last_leaf_key(issuer);
        let known: u64 = read(self.store, &key)?.unwrap_or_default();
        if not_after.as_secs() > known {
            let hour = not_after.as_secs().div_ceil(HOUR).saturating_mul(HOUR);
            self.set(key, &hour)?;
        }
        Ok(())
    }

    pub(super) fn ca(&self, serial: &Serial) -> Result<CaRecord, RecordError> {
        Ok(read(self.store, &ca_key(serial))?.ok_or(Refusal::NoSuchCa(*serial))?)
    }

    /// The serial number of the root that signed an issuing CA's certificate.
    fn issuer_of(&self, certificate: &CaCertificate) -> Result<Serial, RecordError> {
        for (_, record) in super::cas(self.store)? {
            let root = certificate_of(&record)?;
            if record.tier == Tier::Root && certificate.issuer == Some(root.id) {
                return Ok(root.serial);
            }
        }
        Err(Refusal::OutOfOrder.into())
    }
}

/// What of a [`CaRecord`] is asked at every certificate; reading the rest would cost more than all
/// other questions.
#[derive(Deserialize)]
struct Standing<'a> {
    #[serde(with = "text::as_text")]
    tier: Tier,
    #[serde(default)]
    revoked: Option<IgnoredAny>,
    #[serde(default)]
    last_list: &'a str,
}

impl Standing<'_> {
    /// As [`CaRecord::may_sign`] has it.
    fn may_sign_leaves(&self) -> bool {
        self.tier == Tier::Issuing && self.revoked.is_none() && self.last_list.is_empty()
    }
}

/// What was signed by a CA of this home can be read.
fn certificate_of(record: &CaRecord) -> Result<CaCertificate, RecordError> {
    Ok(CaCertificate::from_der(&record.certificate).map_err(|_| Refusal::OutOfOrder)?)
}
