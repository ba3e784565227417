//! OCSP (RFC 6960): a question after the state of certificates, and the answer, as DER. Signing is
//! somebody else's.

mod answer;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Sequence, Tag, Tagged};
use pkcs8::spki::AlgorithmIdentifierRef;
use rcgen::PublicKeyData;
use thiserror::Error;

pub use answer::{Answer, NoAnswer, State, signed};

use crate::{CaCertificate, Serial};

const SHA1_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// id-pkix-ocsp-nonce (RFC 9654 §2.1).
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");

/// RFC 9654 §2.1: at least one octet, at most 128.
const MAX_NONCE_LEN: usize = 128;

/// Certificates of one question. Each costs a look into the CA's memory.
pub const MAX_ASKED: usize = 16;

/// No honest question is longer.
const MAX_LEN: usize = 16 * 1024;

#[derive(Sequence)]
struct OcspRequest<'a> {
    tbs_request: TbsRequest<'a>,
    /// Anybody may ask, so who signed the question does not matter.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    _signature: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct TbsRequest<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    _requestor_name: Option<AnyRef<'a>>,
    request_list: Vec<SingleRequest<'a>>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Sequence)]
struct SingleRequest<'a> {
    cert_id: CertId<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Sequence)]
struct CertId<'a> {
    hash_algorithm: AlgorithmIdentifierRef<'a>,
    issuer_name_hash: &'a OctetStringRef,
    issuer_key_hash: &'a OctetStringRef,
    serial_number: AnyRef<'a>,
}

/// RFC 5280 §4.1.
#[derive(Sequence)]
struct Extension<'a> {
    id: ObjectIdentifier,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: &'a OctetStringRef,
}

/// Why something is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuestionError {
    /// Not DER of an OCSPRequest, or longer than 16 KiB.
    #[error("not an OCSP request")]
    Malformed,
    /// Nothing, or too much, is asked.
    #[error("an OCSP request asks after 1 to 16 certificates here")]
    Number,
    /// RFC 9654 §2.1.
    #[error("the nonce of an OCSP request has 1 to 128 octets")]
    Nonce,
    /// RFC 5280 §4.2: what is critical and unknown must not be passed over.
    #[error("the OCSP request has a critical extension that this program does not know")]
    CriticalExtension,
}

/// Somebody wants to know the state of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// Which certificates.
    pub asked: Vec<Asked>,
    /// By which the answer is known to be fresh: the extension's value.
    nonce: Option<Vec<u8>>,
}

/// One certificate that is asked after.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// Its serial number; `None` if no certificate can have it.
    pub serial: Option<Serial>,
    /// DER of the CertID, for the answer.
    id: Vec<u8>,
    hash: Option<Hash>,
    name_hash: Vec<u8>,
    key_hash: Vec<u8>,
}

/// By which an issuer is named. Nothing rests on these hashes being hard to find collisions of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn of(algorithm: &AlgorithmIdentifierRef<'_>) -> Option<Self> {
        match algorithm.oid {
            SHA1_OID => Some(Self::Sha1),
            SHA256_OID => Some(Self::Sha256),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
        }
    }
}

impl Asked {
    fn read(request: &SingleRequest<'_>) -> Result<Self, QuestionError> {
        let CertId { hash_algorithm, issuer_name_hash, issuer_key_hash, serial_number } =
            &request.cert_id;
        refuse_critical(request.extensions.as_deref())?;
        if serial_number.tag() != Tag::Integer {
            return Err(QuestionError::Malformed);
        }
        Ok(Self {
            serial: Serial::from_der_content(serial_number.value()).ok(),
            id: request.cert_id.to_der().map_err(|_| QuestionError::Malformed)?,
            hash: Hash::of(hash_algorithm),
            name_hash: issuer_name_hash.as_bytes().to_vec(),
            key_hash: issuer_key_hash.as_bytes().to_vec(),
        })
    }

    /// Whether the certificate is said to be of this issuer (RFC 6960 §4.1.1).
    #[must_use]
    pub fn is_of(&self, issuer: &CaCertificate) -> bool {
        self.hash.is_some_and(|hash| {
            let hashed = |octets| digest(hash.algorithm(), octets);
            hashed(&issuer.subject_name).as_ref() == self.name_hash
                && hashed(issuer.public_key.der_bytes()).as_ref() == self.key_hash
        })
    }
}

impl Question {
    /// Reads an OCSPRequest.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn from_der(der: &[u8]) -> Result<Self, QuestionError> {
        if der.len() > MAX_LEN {
            return Err(QuestionError::Malformed);
        }
        let request = OcspRequest::from_der(der).map_err(|_| QuestionError::Malformed)?;
        let TbsRequest { version, request_list, extensions, .. } = request.tbs_request;
        // Version 1 has the number 0.
        if version.unwrap_or_default() != 0 {
            return Err(QuestionError::Malformed);
        }
        if request_list.is_empty() || request_list.len() > MAX_ASKED {
            return Err(QuestionError::Number);
        }
        refuse_critical(extensions.as_deref())?;
        Ok(Self {
            asked: request_list.iter().map(Asked::read).collect::<Result<_, _>>()?,
            nonce: extensions.as_deref().and_then(nonce_in).transpose()?,
        })
    }
}

fn refuse_critical(extensions: Option<&[Extension<'_>]>) -> Result<(), QuestionError> {
    let mut all = extensions.unwrap_or_default().iter();
    if all.any(|extension| extension.critical && extension.id != NONCE) {
        return Err(QuestionError::CriticalExtension);
    }
    Ok(())
}

fn nonce_in(extensions: &[Extension<'_>]) -> Option<Result<Vec<u8>, QuestionError>> {
    let nonce = extensions.iter().find(|extension| extension.id == NONCE)?;
    let value = nonce.value.as_bytes();
    let inner = <&OctetStringRef>::from_der(value);
    Some(match inner.map(|nonce| nonce.as_bytes().len()) {
        Ok(1..=MAX_NONCE_LEN) => Ok(value.to_vec()),
        _ => Err(QuestionError::Nonce),
    })
}
