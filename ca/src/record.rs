//! What happened, and what follows from it.
//!
//! The CA remembers *events*. Everything else in the store (which certificates there are, what is
//! revoked) is derived from them by one function, [`consequences`]: the store can be built anew from
//! the events alone.
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
use std::fmt;
use std::str::FromStr;

use rustls_pki_types::UnixTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_certs::{Fingerprint, Principal, PublicKey, Serial, TrustDomain};

use crate::profile::Planned;
use crate::reason::Reason;
use crate::store::{Change, Store, StoreError};
use crate::text;

/// Something that happened, as the journal says it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The CA was made.
    Initialized {
        /// Whom it vouches for.
        #[serde(with = "text::as_text")]
        trust_domain: TrustDomain,
        /// DER of the root's certificate.
        #[serde(with = "text::base64")]
        root: Vec<u8>,
        /// DER of the issuing CA's certificate.
        #[serde(with = "text::base64")]
        issuing: Vec<u8>,
    },
    /// A certificate is about to be signed. From here on it counts as issued.
    Issuing(Planned),
    /// The certificate was signed.
    Issued {
        /// Which one.
        #[serde(with = "text::as_text")]
        serial: Serial,
        /// Its DER.
        #[serde(with = "text::base64")]
        certificate: Vec<u8>,
    },
    /// One certificate was revoked.
    Revoked {
        /// Which one.
        #[serde(with = "text::as_text")]
        serial: Serial,
        /// Why.
        #[serde(with = "text::as_text")]
        reason: Reason,
    },
    /// A device was revoked, with all its unexpired certificates; it gets no new ones.
    DeviceRevoked {
        /// Which one.
        #[serde(with = "text::as_text")]
        principal: Principal,
        /// Why.
        #[serde(with = "text::as_text")]
        reason: Reason,
        /// The certificates that this revokes.
        #[serde(with = "text::as_texts")]
        serials: Vec<Serial>,
    },
    /// A revoked device may get certificates again. What was revoked stays revoked.
    Reinstated {
        /// Which one.
        #[serde(with = "text::as_text")]
        principal: Principal,
    },
    /// A revocation list was signed.
    ListSigned {
        /// Whose.
        #[serde(with = "text::as_text")]
        issuer: Tier,
        /// RFC 5280 §5.2.3.
        number: u64,
        /// When it was made.
        #[serde(with = "text::instant")]
        this_update: UnixTime,
        /// When it goes stale.
        #[serde(with = "text::instant")]
        next_update: UnixTime,
        /// SHA-256 of its DER.
        sha256: String,
    },
}

/// Which of the two CAs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are two tiers")]
pub enum Tier {
    /// The root, which signs the issuing CA.
    Root,
    /// The issuing CA, which signs leaves.
    Issuing,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
        })
    }
}

/// Neither `root` nor `issuing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a CA is root or issuing")]
#[non_exhaustive]
pub struct UnknownTier;

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        [Self::Root, Self::Issuing]
            .into_iter()
            .find(|tier| tier.to_string() == text)
            .ok_or(UnknownTier)
    }
}

/// Which CA this is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthorityRecord {
    /// Whom it vouches for.
    #[serde(with = "text::as_text")]
    pub trust_domain: TrustDomain,
    /// DER of the root's certificate.
    #[serde(with = "text::base64")]
    pub root: Vec<u8>,
    /// DER of the issuing CA's certificate.
    #[serde(with = "text::base64")]
    pub issuing: Vec<u8>,
}

/// What is known of one certificate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CertificateRecord {
    /// What it says.
    #[serde(flatten)]
    pub planned: Planned,
    /// When it was decided upon.
    #[serde(with = "text::instant")]
    pub issued_at: UnixTime,
    /// DER; empty if the CA was interrupted before it could record it. The certificate counts as issued even so.
    #[serde(default, with = "text::base64")]
    pub certificate: Vec<u8>,
    /// Since when and why it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// Since when and why something is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revocation {
    /// Since when.
    #[serde(with = "text::instant")]
    pub at: UnixTime,
    /// Why.
    #[serde(with = "text::as_text")]
    pub reason: Reason,
}

/// A device that gets no certificates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceRecord {
    /// Which one.
    #[serde(with = "text::as_text")]
    pub principal: Principal,
    /// Since when and why.
    pub revoked: Revocation,
}

/// What a revocation list needs to know of a revoked certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RevokedRecord {
    /// Since when and why.
    #[serde(flatten)]
    pub revocation: Revocation,
    /// After this it may leave the list.
    #[serde(with = "text::instant")]
    pub not_after: UnixTime,
}

/// The latest revocation list of one CA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListRecord {
    /// RFC 5280 §5.2.3.
    pub number: u64,
    /// When it was made.
    #[serde(with = "text::instant")]
    pub this_update: UnixTime,
    /// When it goes stale.
    #[serde(with = "text::instant")]
    pub next_update: UnixTime,
    /// SHA-256 of its DER.
    pub sha256: String,
    /// The sequence number of its record in the journal: later revocations are not in it.
    pub sequence: u64,
}

/// Why an event must not happen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The device is revoked.
    #[error("{principal} is revoked ({reason}) and gets no certificates")]
    DeviceRevoked {
        /// Which one.
        principal: Principal,
        /// Why.
        reason: Reason,
    },
    /// The key was lost to somebody else.
    #[error(
        "this key was revoked with certificate {serial} for keyCompromise and is never certified again"
    )]
    KeyCompromised {
        /// The certificate by which that became known.
        serial: Serial,
    },
    /// No such certificate.
    #[error("this CA knows no certificate with serial number {0}")]
    NoSuchCertificate(Serial),
    /// No such certificate.
    #[error("this CA knows no certificate with fingerprint {0}")]
    NoSuchFingerprint(Fingerprint),
    /// No certificate was ever issued to this name.
    #[error("no certificate was ever issued to {0}")]
    NoSuchDevice(Principal),
    /// It was revoked while it was being signed.
    #[error("certificate {0} was revoked while it was being signed, and is not handed out")]
    RevokedMeanwhile(Serial),
    /// A CA's own record cannot follow on what is there.
    #[error("the record does not follow on those before it")]
    OutOfOrder,
}

impl Refusal {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::DeviceRevoked { .. } => {
                Some("if the device is trusted again: vouchsafe revoke NAME --reinstate")
            }
            Self::KeyCompromised { .. } => Some("make a new key"),
            Self::NoSuchCertificate(_) | Self::NoSuchFingerprint(_) | Self::NoSuchDevice(_) => {
                Some("vouchsafe list shows what there is")
            }
            Self::RevokedMeanwhile(_) | Self::OutOfOrder => None,
        }
    }
}

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
/// Depends on nothing else: no clock, no chance.
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
            Event::Issuing(planned) => self.issuing(planned, at),
            Event::Issued { serial, certificate } => self.issued(serial, certificate),
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

    fn issuing(&mut self, planned: &Planned, at: UnixTime) -> Result<(), RecordError> {
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
        let record = CertificateRecord {
            planned: planned.clone(),
            issued_at: at,
            certificate: Vec::new(),
            revoked: None,
        };
        self.create(certificate_key(serial), &record)
    }

    fn issued(&mut self, serial: &Serial, certificate: &[u8]) -> Result<(), RecordError> {
        let (stored, mut record) = self.certificate(serial)?;
        if !record.certificate.is_empty() {
            return Err(Refusal::OutOfOrder.into());
        }
        record.certificate = certificate.to_vec();
        let fingerprint = fingerprint_key(&Fingerprint::of(certificate));
        self.put(fingerprint, None, serial.to_string().into_bytes());
        self.put(certificate_key(serial), Some(stored), encode(&record)?);
        Ok(())
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
