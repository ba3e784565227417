//! A certificate revocation list whose signature has been verified once, reduced to a sorted set.
//!
//! The TLS library would verify the signature over the whole list at every handshake, 10 ms at
//! 100,000 entries; here a question costs one binary search.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::{FromDer, X509Version};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

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
        let (rest, list) =
            CertificateRevocationList::from_der(der).map_err(|_| RevocationError::Malformed)?;
        if !rest.is_empty() || list.version() != Some(X509Version::V2) {
            return Err(RevocationError::Malformed);
        }
        let extensions = Extensions::read(list.extensions())?;
        // RFC 5280 §5.2.1: the key identifier in the list says which of the issuer's keys signed it.
        let named = IssuerId::new(list.issuer().as_raw(), &extensions.key_identifier);
        let issuer = issuers.iter().find(|issuer| issuer.id == named);
        let issuer = issuer.ok_or(RevocationError::UnknownIssuer)?;
        verify(&list, issuer)?;
        let this_update = time(list.last_update())?;
        let next_update = time(list.next_update().ok_or(RevocationError::NoNextUpdate)?)?;
        if this_update > next_update {
            return Err(RevocationError::Malformed);
        }
        let mut serials = list
            .iter_revoked_certificates()
            .map(|entry| {
                if entry.extensions().iter().any(|extension| extension.critical) {
                    return Err(RevocationError::CriticalExtension);
                }
                Serial::from_der_content(entry.raw_serial()).map_err(|_| RevocationError::Serial)
            })
            .collect::<Result<Vec<_>, _>>()?;
        serials.sort_unstable();
        serials.dedup();
        serials.shrink_to_fit();
        Ok(Self { issuer: issuer.id, number: extensions.number, this_update, next_update, serials })
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
}

impl Extensions {
    fn read(all: &[X509Extension<'_>]) -> Result<Self, RevocationError> {
        let (mut number, mut key_identifier) = (None, None);
        for extension in all {
            match extension.parsed_extension() {
                ParsedExtension::CRLNumber(value) => {
                    if number.is_some() {
                        return Err(RevocationError::Malformed);
                    }
                    number = Some(u64::try_from(value).map_err(|_| RevocationError::NoNumber)?);
                }
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    key_identifier = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                // RFC 5280 §5.2: a critical extension that is not understood (a delta list, an
                // indirect list) makes the whole list unusable.
                _ if extension.critical => return Err(RevocationError::CriticalExtension),
                _ => {}
            }
        }
        Ok(Self {
            number: number.ok_or(RevocationError::NoNumber)?,
            key_identifier: key_identifier.ok_or(RevocationError::NoKeyIdentifier)?,
        })
    }
}
