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
//! | `device/<SHA-256 of principal>` | [`DeviceRecord`], if there is something to say of the device |
//! | `lineage/<first serial>` | serial of the newest, once there is a second |
//! | `compromised/<SHA-256 of public key>` | serial |
//! | `revoked/<serial>` | [`RevokedRecord`] |
//! | `revocations/<serial of issuer>` | the sequence number of the latest revocation |
//! | `ca/<serial>` | [`CaRecord`] |
//! | `last-leaf/<serial of issuer>` | when the last certificate it has issued ends, to the hour |
//! | `invitation/<id>` | [`InvitationRecord`] |
//! | `invited/<SHA-256 of principal>/<id>` | empty |
//! | `redeemed/<id>/<SHA-256 of public key>` | serial |
//! | `expiring/<seconds>/<id>` | empty |
//! | `outstanding/<seconds>/<id>` | empty; as long as it can be redeemed, and a little longer |
//! | `invitations` | how many are outstanding |
//! | `list/<serial of issuer>` | [`ListRecord`] of the latest complete list |
//! | `delta/<serial of issuer>` | [`ListRecord`] of the latest list of what changed since one |
//! | `recent/<serial of issuer>/<serial>` | the sequence number of a revocation that the complete list lacks |
//! | `audit/<sequence>` | the line of the journal |
//! | `head` | [`Head`](crate::audit::Head) |

mod authorities;
mod invitations;
mod issuing;
mod revoking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;

use rustls_pki_types::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_certs::{Fingerprint, Principal, PublicKey, Serial};

use crate::error::Error;
use crate::record::{
    AuthorityRecord, CaRecord, CertificateRecord, Event, ListRecord, Revocation, RevokedRecord,
    Tier,
};
use crate::refusal::Refusal;
use crate::store::{Change, Store, StoreError};
use crate::text;

pub(crate) use self::invitations::{caller, fallen_inviter};
pub(crate) use self::revoking::{invited_before, issued_before};

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

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Refused(refusal) => refusal.into(),
            RecordError::Store(error) => error.into(),
        }
    }
}

/// An event, and when and at which place it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occurrence<'a> {
    pub(crate) event: &'a Event,
    pub(crate) at: UnixTime,
    pub(crate) sequence: u64,
}

pub(crate) const AUTHORITY: &str = "authority";
pub(crate) const CERTIFICATES: &str = "certificate/";
pub(crate) const REVOKED: &str = "revoked/";
pub(crate) const INVITATIONS: &str = "invitation/";
const INVITATION_COUNT: &str = "invitations";
const CAS: &str = "ca/";

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

pub(crate) fn list_key(issuer: &Serial) -> String {
    format!("list/{issuer}")
}

pub(crate) fn delta_key(issuer: &Serial) -> String {
    format!("delta/{issuer}")
}

/// Of what was revoked since a CA's last complete list.
pub(crate) fn recent_prefix(issuer: &Serial) -> String {
    format!("recent/{issuer}/")
}

pub(crate) fn ca_key(serial: &Serial) -> String {
    format!("{CAS}{serial}")
}

pub(crate) fn last_leaf_key(issuer: &Serial) -> String {
    format!("last-leaf/{issuer}")
}

pub(crate) fn revocations_key(issuer: &Serial) -> String {
    format!("revocations/{issuer}")
}

pub(crate) fn revoked_key(serial: &Serial) -> String {
    format!("{REVOKED}{serial}")
}

pub(crate) fn lineage_key(first: &Serial) -> String {
    format!("lineage/{first}")
}

pub(crate) fn invitation_key(id: &str) -> String {
    format!("{INVITATIONS}{id}")
}

pub(crate) fn invited_prefix(principal: &Principal) -> String {
    format!("invited/{}/", text::sha256(principal.as_str().as_bytes()))
}

pub(crate) fn redeemed_key(id: &str, public_key: &PublicKey) -> String {
    format!("redeemed/{id}/{}", text::sha256(&public_key.to_der()))
}

fn compromised_key(public_key: &PublicKey) -> String {
    compromised_key_of(&public_key.to_der())
}

fn compromised_key_of(public_key_der: &[u8]) -> String {
    format!("compromised/{}", text::sha256(public_key_der))
}

/// Reads one record.
pub(crate) fn read<T: DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let value = store.get(key)?;
    value.map(|value| parse(key, &value)).transpose()
}

/// Reads what is known of a certificate, its revocation included.
pub(crate) fn read_certificate(
    store: &dyn Store,
    serial: &Serial,
) -> Result<Option<CertificateRecord>, StoreError> {
    let Some(mut record) = read::<CertificateRecord>(store, &certificate_key(serial))? else {
        return Ok(None);
    };
    record.revoked = read_revocation(store, serial)?;
    Ok(Some(record))
}

pub(crate) fn read_revocation(
    store: &dyn Store,
    serial: &Serial,
) -> Result<Option<Revocation>, StoreError> {
    let revoked: Option<RevokedRecord> = read(store, &revoked_key(serial))?;
    Ok(revoked.map(|record| record.revocation))
}

/// The newest certificate of the lineage that begins with `first`.
pub(crate) fn read_newest(store: &dyn Store, first: &Serial) -> Result<Serial, StoreError> {
    let key = lineage_key(first);
    store.get(&key)?.map_or(Ok(*first), |newest| serial_from(&key, &newest))
}

/// What follows a prefix in each key that begins with it.
pub(crate) fn suffixes(store: &dyn Store, prefix: &str) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    store.scan(prefix, &mut |key, _| {
        found.extend(key.strip_prefix(prefix).map(str::to_owned));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Reads one record's octets.
pub(crate) fn parse<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|_| StoreError::Damaged { key: key.to_owned() })
}

/// Every root and issuing CA there ever was, with its serial number.
pub(crate) fn cas(store: &dyn Store) -> Result<Vec<(Serial, CaRecord)>, StoreError> {
    let mut found = Ok(Vec::new());
    store.scan(CAS, &mut |key, value| {
        let serial = key.strip_prefix(CAS).and_then(|serial| serial.parse().ok());
        let read = serial.ok_or_else(|| StoreError::Damaged { key: key.to_owned() });
        let read = read.and_then(|serial| Ok((serial, parse(key, value)?)));
        match (&mut found, read) {
            (Ok(records), Ok(record)) => records.push(record),
            (_, Err(error)) => found = Err(error),
            (Err(_), _) => {}
        }
        if found.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    found
}

/// What must change in the store because of an event, given what the store holds.
///
/// # Errors
/// [`RecordError::Refused`] if the event must not happen.
pub(crate) fn consequences(
    occurrence: Occurrence<'_>,
    store: &dyn Store,
) -> Result<Vec<Change>, RecordError> {
    let mut draft = Draft {
        store,
        changes: Vec::new(),
        compromised: HashSet::new(),
        lacking: BTreeMap::new(),
        closed: 0,
    };
    draft.follow(occurrence)?;
    draft.count_invitations(matches!(occurrence.event, Event::Invited { .. }))?;
    for (issuer, serials) in std::mem::take(&mut draft.lacking) {
        draft.set(revocations_key(&issuer), &occurrence.sequence)?;
        for serial in serials {
            let key = format!("{}{serial}", recent_prefix(&issuer));
            draft.set(key, &occurrence.sequence)?;
        }
    }
    Ok(draft.changes)
}

struct Draft<'a> {
    store: &'a dyn Store,
    changes: Vec<Change>,
    /// Keys that the changes already mark as compromised: two certificates of a device may share one.
    compromised: HashSet<String>,
    /// CAs whose next list has something to say, and of which certificates.
    lacking: BTreeMap<Serial, BTreeSet<Serial>>,
    /// Invitations that can be redeemed no more.
    closed: u64,
}

impl Draft<'_> {
    fn follow(&mut self, occurrence: Occurrence<'_>) -> Result<(), RecordError> {
        let Occurrence { event, at, sequence } = occurrence;
        match event {
            Event::Initialized { trust_domain, root, issuing } => {
                let authority = AuthorityRecord { trust_domain: trust_domain.clone() };
                let root = CaRecord::new(Tier::Root, root.clone(), at, sequence);
                let issuing = CaRecord::new(Tier::Issuing, issuing.clone(), at, sequence);
                self.begin(&authority, &root, &issuing)
            }
            Event::CaAdded { tier, certificate, begins } => {
                self.add_ca(&CaRecord::new(*tier, certificate.clone(), *begins, sequence))
            }
            Event::CaRevoked { serial, reason } => {
                self.revoke_ca(serial, Revocation { at, reason: *reason })
            }
            Event::CaRetired { serial, last_list } => self.retire_ca(serial, last_list, at),
            Event::Issued { planned, certificate, origin } => {
                self.issued(planned, certificate, origin, at)
            }
            Event::Invited { id, secret_sha256, inviter, offer } => {
                self.invited(id, secret_sha256, *inviter, offer, at)
            }
            Event::Withdrawn { id } => self.withdraw(id, at),
            Event::Limited { principal, permissions } => {
                self.limited(principal, permissions.as_ref())
            }
            Event::Revoked { serial, reason } => {
                self.revoke(serial, Revocation { at, reason: *reason })
            }
            Event::DeviceRevoked { principal, reason } => {
                self.device_revoked(principal, Revocation { at, reason: *reason })
            }
            Event::Reinstated { principal } => self.reinstated(principal),
            Event::LineageRevoked { lineage, newest, .. } => {
                self.lineage_revoked(lineage, newest, at)
            }
            Event::RevokedIssuedBefore { principal, before, reason } => {
                let revocation = Revocation { at, reason: *reason };
                self.revoked_issued_before(principal.as_ref(), *before, revocation)
            }
            // It holds what it held before.
            Event::StoreRebuilt { .. } => Ok(()),
            Event::ListSigned {
                issuer,
                number,
                this_update,
                next_update,
                sha256,
                covers,
                base,
            } => {
                let list = ListRecord {
                    number: *number,
                    this_update: *this_update,
                    next_update: *next_update,
                    sha256: sha256.clone(),
                    covers: *covers,
                    base: *base,
                };
                self.list_signed(issuer, &list)
            }
        }
    }

    /// A certificate, with what is known of its revocation.
    fn certificate(&self, serial: &Serial) -> Result<CertificateRecord, RecordError> {
        Ok(read_certificate(self.store, serial)?.ok_or(Refusal::NoSuchCertificate(*serial))?)
    }

    /// A CA's next list must name this certificate.
    fn lacks(&mut self, issuer: Serial, serial: Serial) {
        self.lacking.entry(issuer).or_default().insert(serial);
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

    /// Whatever the key holds now, it shall hold nothing.
    fn remove(&mut self, key: String) -> Result<(), RecordError> {
        let expected = self.store.get(&key)?;
        self.changes.push(Change { key, expected, new: None });
        Ok(())
    }

    /// What the key holds now it must still hold at the moment of writing.
    fn demand(&mut self, key: String, value: Option<Vec<u8>>) {
        self.changes.push(Change { key, expected: value.clone(), new: value });
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Failed(error.into()))
}

/// A serial number where a key holds nothing else.
pub(crate) fn serial_from(key: &str, octets: &[u8]) -> Result<Serial, StoreError> {
    std::str::from_utf8(octets)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| StoreError::Damaged { key: key.to_owned() })
}
