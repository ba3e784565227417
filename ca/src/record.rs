//! What happened, and what is known because of it: the nouns of the CA's memory.
//!
//! The CA remembers *events*. Everything else in the store (which certificates there are, what is
//! revoked) follows from them; see [`consequences`](crate::consequences).

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_certs::{Fingerprint, Principal, PrincipalError, Serial, TrustDomain};

use crate::profile::Planned;
use crate::reason::Reason;
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
    /// A certificate was signed. Before this is on record it is nowhere but in the memory of the CA.
    Issued {
        /// What it says.
        planned: Planned,
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

/// Who did something, as the journal says it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever judges an actor must know all of them")]
pub enum Actor {
    /// Somebody who can read the files of the home, and so its keys.
    Home,
    /// Somebody who has shown a certificate or an invitation.
    Principal(Principal),
    /// The CA, unasked.
    Itself,
}

const HOME: &str = "home";
const ITSELF: &str = "itself";

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.write_str(HOME),
            Self::Principal(principal) => principal.fmt(f),
            Self::Itself => f.write_str(ITSELF),
        }
    }
}

impl FromStr for Actor {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        match text {
            HOME => Ok(Self::Home),
            ITSELF => Ok(Self::Itself),
            // A SPIFFE ID begins with its scheme, so it is neither of the two words.
            _ => Principal::parse(text).map(Self::Principal),
        }
    }
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
    /// When it was issued.
    #[serde(with = "text::instant")]
    pub issued_at: UnixTime,
    /// DER.
    #[serde(with = "text::base64")]
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
            Self::OutOfOrder => None,
        }
    }
}
