//! Certificates, strictly read: a leaf that stands for a principal, or a CA.
//!
//! Reading is not trusting: signatures and dates are judged by the TLS library's verifier against
//! the roots. What that verifier does not ask (X.509-SVID rules, key usage of leaves, presence of
//! the extended key usage, the permission extension) is asked here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::{Validity, X509Certificate};
use x509_parser::prelude::{FromDer, X509Version};

use crate::extensions::Extensions;
use crate::serial::write_hex;
use crate::{CertificateError, IssuerId, PermissionSet, Principal, PublicKey, Serial, SerialError};

/// What a leaf is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Usage {
    /// clientAuth alone: a machine agent.
    Agent,
    /// serverAuth and clientAuth: a gateway.
    Server,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Server => "server",
        })
    }
}

impl FromStr for Usage {
    type Err = CertificateError;

    fn from_str(text: &str) -> Result<Self, CertificateError> {
        let known = [Self::Agent, Self::Server].into_iter().find(|usage| usage.to_string() == text);
        known.ok_or(CertificateError::ExtendedKeyUsage)
    }
}

/// SHA-256 of a certificate's DER, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate's DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(octets)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Reads 64 hexadecimal digits; colons may stand between octets.
impl FromStr for Fingerprint {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        let mut octets = [0; 32];
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(SerialError::NotHexadecimal);
        }
        for (nth, octet) in octets.iter_mut().enumerate() {
            let pair = digits.get(2 * nth..2 * nth + 2).unwrap_or_default();
            *octet = u8::from_str_radix(pair, 16).map_err(|_| SerialError::NotHexadecimal)?;
        }
        Ok(Self(octets))
    }
}

/// What is read alike from a leaf and from a CA certificate.
struct Fields {
    issuer_name: Vec<u8>,
    subject_name: Vec<u8>,
    serial: Serial,
    not_before: UnixTime,
    not_after: UnixTime,
    public_key: PublicKey,
    extensions: Extensions,
}

impl Fields {
    fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() || parsed.version != X509Version::V3 {
            return Err(CertificateError::Malformed);
        }
        let (not_before, not_after) = dates(&parsed.validity)?;
        Ok(Self {
            issuer_name: parsed.issuer.as_raw().to_vec(),
            subject_name: parsed.subject.as_raw().to_vec(),
            serial: Serial::from_der_content(parsed.raw_serial())?,
            not_before,
            not_after,
            public_key: PublicKey::from_der(parsed.subject_pki.raw)
                .map_err(|_| CertificateError::Key)?,
            extensions: Extensions::read(parsed.extensions())?,
        })
    }
}

fn dates(validity: &Validity) -> Result<(UnixTime, UnixTime), CertificateError> {
    let time = |seconds: i64| u64::try_from(seconds).ok().map(Duration::from_secs);
    let not_before = time(validity.not_before.timestamp()).ok_or(CertificateError::Validity)?;
    let not_after = time(validity.not_after.timestamp()).ok_or(CertificateError::Validity)?;
    if not_before > not_after {
        return Err(CertificateError::Validity);
    }
    Ok((UnixTime::since_unix_epoch(not_before), UnixTime::since_unix_epoch(not_after)))
}

/// A leaf: a conforming X.509-SVID.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Certificate {
    /// The single URI SAN.
    pub principal: Principal,
    /// What the permission extension says; without one, nothing is permitted.
    pub permissions: PermissionSet,
    /// What the extended key usage says.
    pub usage: Usage,
    /// Names under which a stock verifier knows a server.
    pub dns_names: Vec<String>,
    /// Addresses under which a stock verifier knows a server.
    pub ip_addresses: Vec<IpAddr>,
    /// The serial number.
    pub serial: Serial,
    /// Whose revocation list speaks of this certificate.
    pub issuer: IssuerId,
    /// The first second of validity.
    pub not_before: UnixTime,
    /// The last second of validity, inclusive (RFC 5280 §4.1.2.5).
    pub not_after: UnixTime,
    /// The principal's public key.
    pub public_key: PublicKey,
    /// SHA-256 of the whole certificate.
    pub fingerprint: Fingerprint,
}

impl Certificate {
    /// Reads a leaf.
    ///
    /// # Errors
    /// The first rule that is broken; see [`CertificateError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let fields = Fields::read(der)?;
        let extensions = fields.extensions;
        if extensions.is_ca {
            return Err(CertificateError::CaAsLeaf);
        }
        // X.509-SVID §4.3: leaf SVIDs MUST set digitalSignature, MUST NOT set keyCertSign or cRLSign.
        let usage = extensions.key_usage.ok_or(CertificateError::KeyUsage)?;
        if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
            return Err(CertificateError::KeyUsage);
        }
        let usage = match (extensions.client_auth, extensions.server_auth) {
            (true, false) => Usage::Agent,
            (true, true) => Usage::Server,
            (false, _) => return Err(CertificateError::ExtendedKeyUsage),
        };
        let [uri] = extensions.uris.as_slice() else { return Err(CertificateError::UriName) };
        let authority_key = extensions.authority_key.ok_or(CertificateError::KeyIdentifier)?;
        Ok(Self {
            principal: Principal::parse(uri)?,
            permissions: extensions.permissions.unwrap_or_default(),
            usage,
            dns_names: extensions.dns_names,
            ip_addresses: extensions.ip_addresses,
            serial: fields.serial,
            issuer: IssuerId::new(&fields.issuer_name, &authority_key),
            not_before: fields.not_before,
            not_after: fields.not_after,
            public_key: fields.public_key,
            fingerprint: Fingerprint::of(der),
        })
    }
}

/// A root or issuing CA.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaCertificate {
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// Under which [`IssuerId`] its leaves and lists are known.
    pub id: IssuerId,
    /// The subject key identifier.
    pub key_identifier: Vec<u8>,
    /// The serial number.
    pub serial: Serial,
    /// Whose revocation list speaks of this certificate; `None` for a root, of which no list speaks.
    pub issuer: Option<IssuerId>,
    /// What it narrows its leaves to; `None` does not narrow.
    pub permissions: Option<PermissionSet>,
    /// The first second of validity.
    pub not_before: UnixTime,
    /// The last second of validity, inclusive.
    pub not_after: UnixTime,
    /// The key that signs.
    pub public_key: PublicKey,
    /// DER of the subject's distinguished name.
    pub(crate) subject_name: Vec<u8>,
    issuer_name: Vec<u8>,
}

impl CaCertificate {
    /// Reads a CA certificate.
    ///
    /// # Errors
    /// The first rule that is broken; see [`CertificateError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let fields = Fields::read(der)?;
        let extensions = fields.extensions;
        if !extensions.is_ca {
            return Err(CertificateError::NotCa);
        }
        let usage = extensions.key_usage.ok_or(CertificateError::KeyUsage)?;
        if !usage.key_cert_sign() || !usage.crl_sign() {
            return Err(CertificateError::KeyUsage);
        }
        let key_identifier = extensions.subject_key.ok_or(CertificateError::KeyIdentifier)?;
        let is_self_issued = fields.subject_name == fields.issuer_name;
        let issuer = match extensions.authority_key {
            // RFC 5280 §4.2.1.1: the authority key identifier may be left out of self-signed certificates.
            None if is_self_issued => None,
            Some(own) if is_self_issued && own == key_identifier => None,
            Some(authority_key) => Some(IssuerId::new(&fields.issuer_name, &authority_key)),
            None => return Err(CertificateError::KeyIdentifier),
        };
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            id: IssuerId::new(&fields.subject_name, &key_identifier),
            key_identifier,
            serial: fields.serial,
            issuer,
            permissions: extensions.permissions,
            not_before: fields.not_before,
            not_after: fields.not_after,
            public_key: fields.public_key,
            subject_name: fields.subject_name,
            issuer_name: fields.issuer_name,
        })
    }

    /// Whether this CA's name is the one that `other` names as its issuer.
    #[must_use]
    pub fn may_have_issued(&self, other: &Self) -> bool {
        self.subject_name == other.issuer_name
    }

    /// Whether this CA's key signed `other`.
    #[must_use]
    pub fn has_signed(&self, other: &Self) -> bool {
        let Ok((_, signer)) = X509Certificate::from_der(&self.der) else { return false };
        let Ok((_, signed)) = X509Certificate::from_der(&other.der) else { return false };
        self.may_have_issued(other) && signed.verify_signature(Some(&signer.subject_pki)).is_ok()
    }
}
