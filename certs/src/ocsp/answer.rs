//! The answer.

use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use der::asn1::{
    Any, AnyRef, BitStringRef, GeneralizedTime, Null, ObjectIdentifier, OctetStringRef,
};
use der::{Choice, Decode, Encode, Sequence, Tag};
use pkcs8::spki::AlgorithmIdentifierRef;
use rcgen::PublicKeyData;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{Asked, Extension, NONCE, Question, QuestionError};

/// RFC 5758 §3.2: without parameters.
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// id-pkix-ocsp-basic (RFC 6960 §4.2.1).
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// What is known of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "RFC 6960 §2.2 knows these three")]
pub enum State {
    /// Issued, and not revoked.
    Good,
    /// Revoked.
    Revoked {
        /// Since when.
        at: UnixTime,
        /// The code of the reason (RFC 5280 §5.3.1); 0 is not said.
        reason: u8,
    },
    /// Not a certificate of an issuer that is answered for, or never issued.
    Unknown,
}

#[derive(Choice)]
enum CertStatus {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

#[derive(Sequence)]
struct RevokedInfo {
    revocation_time: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    reason: Option<Any>,
}

#[derive(Sequence)]
struct SingleResponse<'a> {
    cert_id: AnyRef<'a>,
    cert_status: CertStatus,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    next_update: Option<GeneralizedTime>,
}

/// Of version 1, which is the default and therefore not written (X.690 §11.5).
#[derive(Sequence)]
struct ResponseData<'a> {
    /// By the SHA-1 hash of its key, as RFC 6960 §4.2.1 has it.
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    responder_key_hash: &'a OctetStringRef,
    produced_at: GeneralizedTime,
    responses: Vec<SingleResponse<'a>>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Sequence)]
struct BasicResponse<'a> {
    tbs: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    certs: Option<Vec<AnyRef<'a>>>,
}

#[derive(Sequence)]
struct ResponseBytes<'a> {
    response_type: ObjectIdentifier,
    response: &'a OctetStringRef,
}

#[derive(Sequence)]
struct OcspResponse<'a> {
    status: AnyRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    bytes: Option<ResponseBytes<'a>>,
}

/// An answer that is still to be signed.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct Answer<'a> {
    /// What was asked.
    pub question: &'a Question,
    /// The state of each certificate that was asked after, in that order.
    pub states: &'a [State],
    /// When this is known; also when the answer is made.
    pub now: UnixTime,
    /// Until when the answer may be relied on.
    pub next_update: UnixTime,
}

impl Answer<'_> {
    /// DER of the ResponseData, which is what the responder's P-256 key signs.
    ///
    /// # Errors
    /// [`QuestionError::Malformed`] for a time that cannot be written (RFC 5280 §4.1.2.5.2: the year 9999).
    pub fn to_be_signed(&self, responder: &impl PublicKeyData) -> Result<Vec<u8>, QuestionError> {
        let Question { asked, nonce } = self.question;
        let malformed = |_| QuestionError::Malformed;
        let now = time(self.now)?;
        let next_update = time(self.next_update)?;
        let mut responses = Vec::with_capacity(asked.len());
        for (Asked { id, .. }, state) in asked.iter().zip(self.states) {
            responses.push(SingleResponse {
                cert_id: AnyRef::from_der(id).map_err(malformed)?,
                cert_status: status(*state)?,
                this_update: now,
                next_update: Some(next_update),
            });
        }
        let key_hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, responder.der_bytes());
        let nonce = nonce.as_deref().map(OctetStringRef::new).transpose().map_err(malformed)?;
        let data = ResponseData {
            responder_key_hash: OctetStringRef::new(key_hash.as_ref()).map_err(malformed)?,
            produced_at: now,
            responses,
            extensions: nonce.map(|value| vec![Extension { id: NONCE, critical: false, value }]),
        };
        data.to_der().map_err(malformed)
    }
}

/// Brings what was signed, the signature (ECDSA on P-256 with SHA-256) and the responder's
/// certificate together.
///
/// # Errors
/// [`QuestionError::Malformed`] if one of them is no DER.
pub fn signed(
    to_be_signed: &[u8],
    signature: &[u8],
    responder: &CertificateDer<'_>,
) -> Result<Vec<u8>, QuestionError> {
    let malformed = |_| QuestionError::Malformed;
    let basic = BasicResponse {
        tbs: AnyRef::from_der(to_be_signed).map_err(malformed)?,
        algorithm: AlgorithmIdentifierRef { oid: ECDSA_WITH_SHA256, parameters: None },
        signature: BitStringRef::from_bytes(signature).map_err(malformed)?,
        certs: Some(vec![AnyRef::from_der(responder).map_err(malformed)?]),
    };
    let basic = basic.to_der().map_err(malformed)?;
    let response = OctetStringRef::new(&basic).map_err(malformed)?;
    let bytes = Some(ResponseBytes { response_type: BASIC, response });
    let status = AnyRef::new(Tag::Enumerated, &[0]).map_err(malformed)?;
    OcspResponse { status, bytes }.to_der().map_err(malformed)
}

/// Why there is no answer (RFC 6960 §4.2.1). It is not signed, and nobody may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what this responder says; RFC 6960 knows two more")]
pub enum NoAnswer {
    /// The question breaks a rule.
    MalformedRequest,
    /// The responder failed.
    InternalError,
    /// It cannot answer at present.
    TryLater,
    /// No certificate that is asked after is of an issuer that it answers for.
    Unauthorized,
}

impl NoAnswer {
    /// The OCSPResponse.
    #[must_use]
    pub const fn to_der(self) -> [u8; 5] {
        let status = match self {
            Self::MalformedRequest => 1,
            Self::InternalError => 2,
            Self::TryLater => 3,
            Self::Unauthorized => 6,
        };
        // SEQUENCE { ENUMERATED }.
        [0x30, 0x03, 0x0a, 0x01, status]
    }
}

fn time(at: UnixTime) -> Result<GeneralizedTime, QuestionError> {
    let since = Duration::from_secs(at.as_secs());
    GeneralizedTime::from_unix_duration(since).map_err(|_| QuestionError::Malformed)
}

fn status(state: State) -> Result<CertStatus, QuestionError> {
    Ok(match state {
        State::Good => CertStatus::Good(Null),
        State::Unknown => CertStatus::Unknown(Null),
        State::Revoked { at, reason } => {
            // RFC 5280 §5.3.1: unspecified is said by saying nothing.
            let reason = (reason != 0).then(|| Any::new(Tag::Enumerated, [reason])).transpose();
            let reason = reason.map_err(|_| QuestionError::Malformed)?;
            CertStatus::Revoked(RevokedInfo { revocation_time: time(at)?, reason })
        }
    })
}
