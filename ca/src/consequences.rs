//! What follows from an event: one function from events to changes of the store.
//!
//! It depends on the event and on what the store holds, and on nothing else; so the store can be
//! compared with the journal, and built anew from it.
//!
//! | key | value |
//! |---|---|
//! | `authority` | [`AuthorityRecord`] |
//! | `certificate/<serial>` | [`CertificateRecord`] |
//! | `holder/<SHA-256 of principal>/<serial>` | empty |
//! | `fingerprint/<SHA-256 of certificate>` | serial |
//! | `device/<SHA-256 of principal>` | [`DeviceRecord`], while the device is revoked |
//! | `compromised/<SHA-256 of public key>` | serial |
//! | `revoked/<serial>` | [`RevokedRecord`] |
//! | `revocations` | the sequence number of the latest revocation |
//! | `list/<tier>` | [`ListRecord`] of the latest list |
//! | `audit/<sequence>` | the line of the journal |
//! | `head` | [`Head`](crate::audit::Head) |

use std::collections::HashSet;

use rustls_pki_types::UnixTime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use vouchsafe_certs::{Fingerprint, Principal, PublicKey, Serial};

use crate::profile::Planned;
use crate::reason::Reason;
use crate::record::{
    AuthorityRecord, CertificateRecord, DeviceRecord, Event, ListRecord, Refusal, Revocation,
    RevokedRecord, Tier,
};
use crate::store::{Change, Store, StoreError};
use crate::text;

/// Why an event has no consequences.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum RecordError {
    /// It must not happen.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The store cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// An event, and when and at which place it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurrence<'a> {
    pub(crate) event: &'a Event,
    pub(crate) at: UnixTime,
    pub(crate) sequence: u64,
}

pub(crate) const AUTHORITY: &str = "authority";
pub(crate) const REVOCATIONS: &str = "revocations";
pub(crate) const CERTIFICATES: &str = "certificate/";
pub(crate) const REVOKED: &str = "revoked/";

pub(crate) fn certificate_key(serial: &Serial) -> String {
    format!("{CERTIFICATES}{serial}")
}

pub(crate) fn holder_prefix(principal: &Principal) -> String {
    format!("holder/{}/", text::sha256(principal.as_str().as_bytes()))
}

pub(crate) fn fingerprint_key(fingerprint: &Fingerprint) -> String {
    format!("fingerprint/{fingerprint}")
}

pub(crate) fn device_key(principal: &Principal) -> String {
    format!("device/{}", text::sha256(principal.as_str().as_bytes()))
}

pub(crate) fn list_key(tier: Tier) -> String {
    format!("list/{tier}")
}

fn compromised_key(public_key: &PublicKey) -> String {
    format!("compromised/{}", text::sha256(&public_key.to_der()))
}

/// Reads one record.
pub(crate) fn read<T: DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let value = store.get(key)?;
    value.map(|value| parse(key, &value)).transpose()
}

/// Reads one record's octets.
pub(crate) fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|_| StoreError::Damaged { key: key.to_owned() })
}

/// What must change in the store because of an event, given what the store holds.
///
/// # Errors
/// [`RecordError::Refused`] if the event must not happen.
pub(crate) fn consequences(
    occurrence: Occurrence<'_>,
    store: &dyn Store,
) -> Result<Vec<Change>, RecordError> {
    let mut draft = Draft { store, changes: Vec::new(), compromised: HashSet::new() };
    draft.follow(occurrence)?;
    Ok(draft.changes)
}

struct Draft<'a> {
    store: &'a dyn Store,
    changes: Vec<Change>,
    /// Keys that the changes already mark as compromised: two certificates of a device may share one.
    compromised: HashSet<String>,
}

impl Draft<'_> {
    fn follow(&mut self, occurrence: Occurrence<'_>) -> Result<(), RecordError> {
        let Occurrence { event, at, sequence } = occurrence;
        match event {
            Event::Initialized { trust_domain, root, issuing } => {
                let authority = AuthorityRecord {
                    trust_domain: trust_domain.clone(),
                    root: root.clone(),
                    issuing: issuing.clone(),
                };
                self.create(AUTHORITY.to_owned(), &authority)
            }
            Event::Issued { planned, certificate } => self.issued(planned, certificate, at),
            Event::Revoked { serial, reason } => {
                self.revoke(serial, Revocation { at, reason: *reason })?;
                self.set(REVOCATIONS.to_owned(), &sequence)
            }
            Event::DeviceRevoked { principal, reason, serials } => {
                let revoked = Revocation { at, reason: *reason };
                for serial in serials {
                    self.revoke(serial, revoked)?;
                }
                let device = DeviceRecord { principal: principal.clone(), revoked };
                self.set(device_key(principal), &device)?;
                self.set(REVOCATIONS.to_owned(), &sequence)
            }
            Event::Reinstated { principal } => {
                let key = device_key(principal);
                let expected = self.store.get(&key)?;
                self.changes.push(Change { key, expected, new: None });
                Ok(())
            }
            Event::ListSigned { issuer, number, this_update, next_update, sha256 } => {
                let list = ListRecord {
                    number: *number,
                    this_update: *this_update,
                    next_update: *next_update,
                    sha256: sha256.clone(),
                    sequence,
                };
                self.list_signed(*issuer, &list)
            }
        }
    }

    fn issued(
        &mut self,
        planned: &Planned,
        certificate: &[u8],
        at: UnixTime,
    ) -> Result<(), RecordError> {
        let Planned { serial, principal, public_key, .. } = planned;
        let device: Option<DeviceRecord> = read(self.store, &device_key(principal))?;
        if let Some(DeviceRecord { principal, revoked }) = device {
            return Err(Refusal::DeviceRevoked { principal, reason: revoked.reason }.into());
        }
        let compromised = self.store.get(&compromised_key(public_key))?;
        if let Some(by) = compromised {
            return Err(Refusal::KeyCompromised { serial: serial_from(&by)? }.into());
        }
        // Both must still be so at the moment of writing.
        self.demand_absence(device_key(principal));
        self.demand_absence(compromised_key(public_key));
        self.put(format!("{}{serial}", holder_prefix(principal)), None, Vec::new());
        let fingerprint = fingerprint_key(&Fingerprint::of(certificate));
        self.put(fingerprint, None, serial.to_string().into_bytes());
        let record = CertificateRecord {
            planned: planned.clone(),
            issued_at: at,
            certificate: certificate.to_vec(),
            revoked: None,
        };
        self.create(certificate_key(serial), &record)
    }

    fn revoke(&mut self, serial: &Serial, revoked: Revocation) -> Result<(), RecordError> {
        let (stored, mut record) = self.certificate(serial)?;
        // The list says since when a certificate is revoked; a reason learnt later does not change that.
        let at = record.revoked.map_or(revoked.at, |earlier| earlier.at);
        let revocation = Revocation { at, reason: revoked.reason };
        record.revoked = Some(revocation);
        let entry = RevokedRecord { revocation, not_after: record.planned.not_after };
        self.put(certificate_key(serial), Some(stored), encode(&record)?);
        self.set(format!("{REVOKED}{serial}"), &entry)?;
        if revoked.reason == Reason::KeyCompromise {
            let key = compromised_key(&record.planned.public_key);
            if self.store.get(&key)?.is_none() && self.compromised.insert(key.clone()) {
                self.put(key, None, serial.to_string().into_bytes());
            }
        }
        Ok(())
    }

    fn list_signed(&mut self, tier: Tier, list: &ListRecord) -> Result<(), RecordError> {
        let earlier: Option<ListRecord> = read(self.store, &list_key(tier))?;
        // RFC 5280 §5.2.3: the number rises with every list.
        if earlier.is_some_and(|earlier| earlier.number >= list.number) {
            return Err(Refusal::OutOfOrder.into());
        }
        self.set(list_key(tier), list)
    }

    fn certificate(&self, serial: &Serial) -> Result<(Vec<u8>, CertificateRecord), RecordError> {
        let key = certificate_key(serial);
        let stored = self.store.get(&key)?.ok_or(Refusal::NoSuchCertificate(*serial))?;
        let record = parse(&key, &stored)?;
        Ok((stored, record))
    }

    fn create<T: Serialize>(&mut self, key: String, value: &T) -> Result<(), RecordError> {
        let value = encode(value)?;
        self.put(key, None, value);
        Ok(())
    }

    /// Whatever the key holds now, it shall hold `value`.
    fn set<T: Serialize>(&mut self, key: String, value: &T) -> Result<(), RecordError> {
        let expected = self.store.get(&key)?;
        let value = encode(value)?;
        self.put(key, expected, value);
        Ok(())
    }

    fn put(&mut self, key: String, expected: Option<Vec<u8>>, value: Vec<u8>) {
        self.changes.push(Change { key, expected, new: Some(value) });
    }

    fn demand_absence(&mut self, key: String) {
        self.changes.push(Change { key, expected: None, new: None });
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Failed(error.into()))
}

fn serial_from(octets: &[u8]) -> Result<Serial, StoreError> {
    std::str::from_utf8(octets)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| StoreError::Damaged { key: "compromised".to_owned() })
}
