//! A certificate revocation list whose signature has been verified once, reduced to a sorted set.
//!
//! The TLS library would verify the signature over the whole list at every handshake, 10 ms at
//! 100,000 entries; here a question costs one binary search.

mod unsigned;

use std::borrow::Borrow;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::oid_registry::OID_X509_EXT_DELTA_CRL_INDICATOR;
use x509_parser::prelude::{FromDer, X509Version};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

pub use self::unsigned::{ListEntry, MAX_LIST_LEN, UnsignedList};
use crate::{CaCertificate, IssuerId, RevocationError, Serial};

/// What one issuer has revoked, at one point in time.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationList {
    /// Who speaks; (issuer, serial) names a certificate.
    pub issuer: IssuerId,
    /// RFC 5280 §5.2.3: monotonically increasing; a later list supersedes an earlier one.
    pub number: u64,
    /// When the list was made.
    pub this_update: UnixTime,
    /// After this, the list is stale and must not be relied on.
    pub next_update: UnixTime,
    /// Sorted.
    serials: Vec<Serial>,
}

impl RevocationList {
    /// Reads DER and verifies that `issuer` signed it.
    ///
    /// # Errors
    /// See [`RevocationError`]. A list is refused whole; no entry of it counts.
    pub fn from_der(der: &[u8], issuer: &CaCertificate) -> Result<Self, RevocationError> {
        Self::by_one_of(std::slice::from_ref(issuer), der)
    }

    /// Reads DER and verifies that the CA it names, one of `issuers`, signed it.
    ///
    /// # Errors
    /// [`RevocationError::UnknownIssuer`] if it names another CA; otherwise as [`from_der`](Self::from_der).
    pub fn by_one_of(issuers: &[CaCertificate], der: &[u8]) -> Result<Self, RevocationError> {
        match SignedList::by_one_of(issuers, der)? {
            SignedList::Complete(list) => Ok(list),
            SignedList::Delta(_) => Err(RevocationError::Delta),
        }
    }

    /// The complete list that this one and a later delta come to.
    ///
    /// # Errors
    /// [`RevocationError::Baseless`] if the delta is another CA's, or says what changed since a list
    /// later than this one.
    pub fn with(&self, delta: &RevocationDelta) -> Result<Self, RevocationError> {
        let RevocationDelta { base_number, list } = delta;
        // RFC 5280 §5.2.4 (c): the number of the complete list is at least the delta's BaseCRLNumber.
        if list.issuer != self.issuer || self.number < *base_number {
            return Err(RevocationError::Baseless);
        }
        // (d): and lower than the delta's own, or the delta has nothing to add.
        if list.number <= self.number {
            return Ok(self.clone());
        }
        let mut serials = Vec::with_capacity(self.serials.len() + list.serials.len());
        serials.extend_from_slice(&self.serials);
        serials.extend(list.serials.iter().filter(|serial| !self.revokes(serial)));
        // Two sorted runs: this takes as long as looking at them once.
        serials.sort();
        // "A CRL that is constructed locally has the thisUpdate and nextUpdate times specified in the
        // corresponding fields of the delta CRL", and its number.
        Ok(Self { serials, ..list.clone() })
    }

    /// Whether the list names the certificate with this serial number.
    #[must_use]
    pub fn revokes(&self, serial: &Serial) -> bool {
        self.serials.binary_search(serial).is_ok()
    }

    /// The serial numbers, sorted.
    #[must_use]
    pub fn serials(&self) -> &[Serial] {
        &self.serials
    }

    /// Whether the list must no longer be relied on.
    #[must_use]
    pub fn is_stale(&self, now: UnixTime) -> bool {
        now > self.next_update
    }
}

impl std::fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (number, revoked) = (self.number, self.serials.len());
        write!(f, "RevocationList(number {number}, {revoked} revoked)")
    }
}

/// What one issuer has revoked since an earlier list (RFC 5280 §5.2.4). An entry that takes a
/// certificate off the list again (removeFromCRL) is read like any other: nobody is reinstated by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevocationDelta {
    base_number: u64,
    list: RevocationList,
}

impl RevocationDelta {
    /// Whose it is.
    #[must_use]
    pub fn issuer(&self) -> IssuerId {
        self.list.issuer
    }

    /// The number of the complete list that it was made for; it fits that and every later one.
    #[must_use]
    pub fn base_number(&self) -> u64 {
        self.base_number
    }

    /// What it says itself: its number and times, and what is new.
    #[must_use]
    pub fn changes(&self) -> &RevocationList {
        &self.list
    }
}

/// A list whose signature was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SignedList {
    /// All that is revoked.
    Complete(RevocationList),
    /// What was revoked since.
    Delta(RevocationDelta),
}

impl SignedList {
    /// Whose it is.
    #[must_use]
    pub fn issuer(&self) -> IssuerId {
        match self {
            Self::Complete(list) => list.issuer,
            Self::Delta(delta) => delta.issuer(),
        }
    }

    /// RFC 5280 §5.2.3: rises with every list of its issuer, complete or not.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Self::Complete(list) | Self::Delta(RevocationDelta { list, .. }) => list.number,
        }
    }

    /// Reads DER and verifies that the CA it names, one of `issuers`, signed it.
    ///
    /// # Errors
    /// As [`RevocationList::by_one_of`].
    pub fn by_one_of(
        issuers: &[impl Borrow<CaCertificate>],
        der: &[u8],
    ) -> Result<Self, RevocationError> {
        let (rest, parsed) =
            CertificateRevocationList::from_der(der).map_err(|_| RevocationError::Malformed)?;
        if !rest.is_empty() || parsed.version() != Some(X509Version::V2) {
            return Err(RevocationError::Malformed);
        }
        let extensions = Extensions::read(parsed.extensions())?;
        // RFC 5280 §5.2.1: the key identifier in the list says which of the issuer's keys signed it.
        let named = IssuerId::new(parsed.issuer().as_raw(), &extensions.key_identifier);
        let mut issuers = issuers.iter().map(Borrow::<CaCertificate>::borrow);
        let issuer = issuers.find(|issuer| issuer.id == named);
        let issuer = issuer.ok_or(RevocationError::UnknownIssuer)?;
        verify(&parsed, issuer)?;
        let this_update = time(parsed.last_update())?;
        let next_update = time(parsed.next_update().ok_or(RevocationError::NoNextUpdate)?)?;
        if this_update > next_update {
            return Err(RevocationError::Malformed);
        }
        let (issuer, number, serials) = (issuer.id, extensions.number, serials(&parsed)?);
        let list = RevocationList { issuer, number, this_update, next_update, serials };
        Ok(match extensions.base_number {
            None => Self::Complete(list),
            Some(base_number) => Self::Delta(RevocationDelta { base_number, list }),
        })
    }
}

/// Sorted.
fn serials(list: &CertificateRevocationList<'_>) -> Result<Vec<Serial>, RevocationError> {
    let read = list.iter_revoked_certificates().map(|entry| {
        if entry.extensions().iter().any(|extension| extension.critical) {
            return Err(RevocationError::CriticalExtension);
        }
        Serial::from_der_content(entry.raw_serial()).map_err(|_| RevocationError::Serial)
    });
    let mut serials = read.collect::<Result<Vec<_>, _>>()?;
    serials.sort_unstable();
    serials.dedup();
    serials.shrink_to_fit();
    Ok(serials)
}

fn verify(
    list: &CertificateRevocationList<'_>,
    issuer: &CaCertificate,
) -> Result<(), RevocationError> {
    // RFC 5280 §5.1.1.2: the algorithm MUST be the same inside and outside the signed part.
    if list.tbs_cert_list.signature != list.signature_algorithm {
        return Err(RevocationError::Signature);
    }
    let spki = issuer.public_key.to_der();
    let (_, key) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| RevocationError::Signature)?;
    list.verify_signature(&key).map_err(|_| RevocationError::Signature)
}

fn time(time: ASN1Time) -> Result<UnixTime, RevocationError> {
    let seconds = u64::try_from(time.timestamp()).map_err(|_| RevocationError::Malformed)?;
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

/// The list extensions that this project knows.
struct Extensions {
    number: u64,
    key_identifier: Vec<u8>,
    /// RFC 5280 §5.2.4: of a delta list, the number of the complete list it was made for.
    base_number: Option<u64>,
}

impl Extensions {
    fn read(all: &[X509Extension<'_>]) -> Result<Self, RevocationError> {
        let (mut number, mut key_identifier, mut base_number) = (None, None, None);
        for extension in all {
            match extension.parsed_extension() {
                ParsedExtension::CRLNumber(value) => {
                    let value = u64::try_from(value).map_err(|_| RevocationError::NoNumber)?;
                    once(&mut number, value)?;
                }
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    key_identifier = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                _ if extension.oid == OID_X509_EXT_DELTA_CRL_INDICATOR => {
                    let value = <u64 as der::Decode>::from_der(extension.value);
                    let value = value.map_err(|_| RevocationError::Malformed)?;
                    once(&mut base_number, value)?;
                }
                // RFC 5280 §5.2: a critical extension that is not understood (an indirect list, one
                // of a part of the certificates) makes the whole list unusable.
                _ if extension.critical => return Err(RevocationError::CriticalExtension),
                _ => {}
            }
        }
        Ok(Self {
            number: number.ok_or(RevocationError::NoNumber)?,
            key_identifier: key_identifier.ok_or(RevocationError::NoKeyIdentifier)?,
            base_number,
        })
    }
}

/// RFC 5280 §4.2: no extension appears twice.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), RevocationError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(RevocationError::Malformed),
    }
}
