//! What happened, and what is known because of it: the nouns of the CA's memory.
//!
//! The CA remembers *events*. Everything else in the store (which certificates there are, what is
//! revoked) follows from them; see [`consequences`](crate::consequences).

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_certs::{Fingerprint, PermissionSet, Principal, PrincipalError, Serial, TrustDomain};

use crate::invitation::Offer;
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
        /// What it goes back to.
        origin: Origin,
    },
    /// Somebody was invited to enrol.
    Invited {
        /// Names the invitation.
        id: String,
        /// SHA-256 of what redeems it, in hexadecimal.
        secret_sha256: String,
        /// The certificate by which whoever made it was known; `None`: it was made at the home.
        #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
        inviter: Option<Serial>,
        /// What it promises.
        offer: Offer,
    },
    /// An invitation was taken back.
    Withdrawn {
        /// Which one.
        id: String,
    },
    /// From its next certificate on, a device may do no more than this.
    Limited {
        /// Which one.
        #[serde(with = "text::as_text")]
        principal: Principal,
        /// What it may do at most; `None`: whatever it is granted.
        #[serde(
            default,
            with = "text::optional_permissions",
            skip_serializing_if = "Option::is_none"
        )]
        permissions: Option<PermissionSet>,
    },
    /// A certificate that had been renewed already was shown with another key: two hold what one
    /// should, and the lineage is revoked for keyCompromise.
    LineageRevoked {
        /// The first certificate of the lineage.
        #[serde(with = "text::as_text")]
        lineage: Serial,
        /// The newest by then.
        #[serde(with = "text::as_text")]
        newest: Serial,
        /// The one that was shown.
        #[serde(with = "text::as_text")]
        shown: Serial,
        /// SHA-256 of the key that was to be certified, in hexadecimal.
        key_sha256: String,
    },
    /// Everything issued before a point in time was revoked, invitations among it.
    RevokedIssuedBefore {
        /// Of whom; `None`: of everybody.
        #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
        principal: Option<Principal>,
        /// Before when.
        #[serde(with = "text::instant")]
        before: UnixTime,
        /// Why.
        #[serde(with = "text::as_text")]
        reason: Reason,
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
    /// A device was revoked, with all its certificates; it gets no new ones.
    DeviceRevoked {
        /// Which one.
        #[serde(with = "text::as_text")]
        principal: Principal,
        /// Why.
        #[serde(with = "text::as_text")]
        reason: Reason,
    },
    /// A revoked device may get certificates again. What was revoked stays revoked.
    Reinstated {
        /// Which one.
        #[serde(with = "text::as_text")]
        principal: Principal,
    },
    /// A new root or issuing CA came beside those that there are.
    CaAdded {
        /// Which of the two.
        #[serde(with = "text::as_text")]
        tier: Tier,
        /// DER of its certificate.
        #[serde(with = "text::base64")]
        certificate: Vec<u8>,
        /// From here on it signs in the place of the one before; until then word of it goes round.
        #[serde(with = "text::instant")]
        begins: UnixTime,
    },
    /// An issuing CA was revoked, and with it everything that it has issued.
    CaRevoked {
        /// The serial number of its certificate.
        #[serde(with = "text::as_text")]
        serial: Serial,
        /// Why.
        #[serde(with = "text::as_text")]
        reason: Reason,
    },
    /// A CA whose time is over. Its last list stays published until its certificate ends.
    CaRetired {
        /// The serial number of its certificate.
        #[serde(with = "text::as_text")]
        serial: Serial,
        /// DER of its last list.
        #[serde(with = "text::base64")]
        last_list: Vec<u8>,
    },
    /// The store was built anew from the journal up to here.
    StoreRebuilt {
        /// What was wrong with the one before; `None`: somebody wanted another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        damage: Option<String>,
        /// Octets behind the journal's last record that were no record, and were left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<u64>,
    },
    /// A revocation list was signed.
    ListSigned {
        /// The serial number of the CA's certificate.
        #[serde(with = "text::as_text")]
        issuer: Serial,
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
        /// Every revocation up to this place of the journal is in it, and perhaps later ones.
        covers: u64,
        /// RFC 5280 §5.2.4: of a list that says only what was revoked since, the number of the complete
        /// list that it was made for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<u64>,
    },
}

/// What a certificate goes back to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "whoever derives a lineage must know all of them")]
pub enum Origin {
    /// Somebody who may issue; a lineage begins.
    Order,
    /// An invitation; a lineage begins.
    Invitation(String),
    /// The newest certificate of a lineage, which it succeeds.
    Renewal(#[serde(with = "text::as_text")] Serial),
}

/// Who did something, as the journal says it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever judges an actor must know all of them")]
pub enum Actor {
    /// Somebody who can read the files of the home, and so its keys.
    Home,
    /// Somebody who has shown a certificate or an invitation.
    Principal(Principal),
    /// Somebody who has a say by this certificate, as long as it counts: that is asked when it is recorded
    /// what they did. The journal says of them what it says of any principal.
    Holder(Principal, Fingerprint),
    /// The CA, unasked.
    Itself,
}

const HOME: &str = "home";
const ITSELF: &str = "itself";

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home => f.write_str(HOME),
            Self::Principal(principal) | Self::Holder(principal, _) => principal.fmt(f),
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
}

/// What is known of a root or issuing CA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CaRecord {
    /// Which of the two.
    #[serde(with = "text::as_text")]
    pub tier: Tier,
    /// DER of its certificate.
    #[serde(with = "text::base64")]
    pub certificate: Vec<u8>,
    /// From here on it signs, in the place of the one before.
    #[serde(with = "text::instant")]
    pub begins: UnixTime,
    /// The place of its record in the journal: of two, the later takes the place of the earlier.
    pub sequence: u64,
    /// Since when and why it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// DER of its last list; empty as long as its time is not over.
    #[serde(default, with = "text::base64", skip_serializing_if = "Vec::is_empty")]
    pub last_list: Vec<u8>,
}

impl CaRecord {
    pub(crate) fn new(tier: Tier, certificate: Vec<u8>, begins: UnixTime, sequence: u64) -> Self {
        Self { tier, certificate, begins, sequence, revoked: None, last_list: Vec::new() }
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        !self.last_list.is_empty()
    }

    /// Whether it may sign certificates at all.
    #[must_use]
    pub fn may_sign(&self) -> bool {
        self.revoked.is_none() && !self.is_retired()
    }
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
    /// The first certificate of its lineage; itself, if it is the first.
    #[serde(with = "text::as_text")]
    pub lineage: Serial,
    /// How many came before it in its lineage.
    pub generation: u32,
    /// The one before it in its lineage.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<Serial>,
    /// Since when and why it is revoked. Kept in a record of its own, so that revoking many
    /// certificates rewrites none of them.
    #[serde(skip)]
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

impl Revocation {
    /// Together with an earlier one. The list says since when something is revoked, and a reason learnt
    /// later does not change that; of two reasons the graver counts.
    pub(crate) fn after(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        let reason =
            if earlier.reason.yields_to(self.reason) { self.reason } else { earlier.reason };
        Self { at: earlier.at, reason }
    }
}

/// What is known of a device beyond its certificates. There is none as long as there is nothing to say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceRecord {
    /// Which one.
    #[serde(with = "text::as_text")]
    pub principal: Principal,
    /// Since when and why it gets no certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
    /// What it may do at most, whatever its certificates, invitations and lineages grant.
    #[serde(default, with = "text::optional_permissions", skip_serializing_if = "Option::is_none")]
    pub limit: Option<PermissionSet>,
}

/// What a revocation list needs to know of a revoked certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RevokedRecord {
    /// Whose list names it: the serial number of the CA's certificate.
    #[serde(with = "text::as_text")]
    pub issuer: Serial,
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
    /// Every revocation up to this place of the journal is in it, and perhaps later ones.
    pub covers: u64,
    /// Of a delta list, the number of the complete list that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}
