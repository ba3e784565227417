//! Invitations: how somebody who has no certificate gets the first one.
//!
//! An invitation is an offer and a secret. Only the secret's hash is kept, so nobody who reads the
//! store or the journal can enrol; whoever shows the secret and a key gets a certificate for it, so
//! many times as the offer says, until the invitation expires or is withdrawn.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64ct::{Base64UrlUnpadded, Encoding};
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_certs::{Fingerprint, PermissionSet, Principal, Serial};
use zeroize::Zeroizing;

use crate::kind::Kind;
use crate::lifetime::Lifetime;
use crate::text;

/// How long an invitation's id is: hexadecimal digits, of 64 random bits.
pub const INVITATION_ID_LEN: usize = 16;

/// How long an invitation's secret is: base64url characters, of 128 random bits. An outsider gets a
/// few tries a second for as long as the invitation lives.
pub const INVITATION_SECRET_LEN: usize = 22;

/// How many devices one invitation serves at most.
pub const MAX_INVITATION_USES: u32 = 1_000;

/// How long an invitation may lie around at most.
pub const LONGEST_INVITATION: Lifetime = Lifetime::days(30);

/// What an invitation promises to whoever redeems it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct Offer {
    /// For whom.
    #[serde(with = "text::as_text")]
    pub principal: Principal,
    /// What for.
    pub kind: Kind,
    /// What it may do.
    #[serde(with = "text::permissions")]
    pub permissions: PermissionSet,
    /// How long the certificate lives; `None`: as the profile has it on that day.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
    /// How many keys may enrol with it, [`MAX_INVITATION_USES`] at most.
    pub uses: u32,
    /// How long it can be redeemed, [`LONGEST_INVITATION`] at most.
    #[serde(with = "text::as_text")]
    pub expires_in: Lifetime,
}

/// Who invites. An invitation falls with whoever made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever judges an invitation must know all of them")]
pub enum Inviter {
    /// Somebody who can read the files of the home.
    Home,
    /// Whoever has shown the certificate with this fingerprint.
    Holder(Fingerprint),
}

/// Why an offer cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OfferError {
    /// None, or too many.
    #[error("an invitation serves 1 to {MAX_INVITATION_USES} devices, not {0}")]
    Uses(u32),
    /// Longer than anybody should keep a secret in a mail.
    #[error("an invitation lasts at most {LONGEST_INVITATION}, not {0}")]
    ExpiresIn(Lifetime),
}

impl Offer {
    /// The last second of an invitation made at `now`.
    pub(crate) fn expires_at(&self, now: UnixTime) -> UnixTime {
        let now = Duration::from_secs(now.as_secs());
        UnixTime::since_unix_epoch(now.saturating_add(self.expires_in.as_duration()))
    }

    /// Whether the invitation itself keeps the limits; what it promises is judged by the profile.
    pub(crate) fn judge(&self) -> Result<(), OfferError> {
        if !(1..=MAX_INVITATION_USES).contains(&self.uses) {
            return Err(OfferError::Uses(self.uses));
        }
        if self.expires_in > LONGEST_INVITATION {
            return Err(OfferError::ExpiresIn(self.expires_in));
        }
        Ok(())
    }
}

/// An invitation that was just made. This is the only time its secret is known.
#[derive(Debug)]
#[non_exhaustive]
pub struct Invited {
    /// Names the invitation; no secret.
    pub id: String,
    /// What redeems it.
    pub secret: InvitationSecret,
    /// The last second in which it can be redeemed.
    pub expires_at: UnixTime,
}

/// What redeems an invitation. Cleared from memory when dropped.
pub struct InvitationSecret(Zeroizing<String>);

impl InvitationSecret {
    /// 128 bits nobody can guess.
    pub(crate) fn draw() -> Result<Self, DrawError> {
        let mut drawn = Zeroizing::new([0; 16]);
        aws_lc_rs::rand::fill(&mut *drawn).map_err(|_| DrawError)?;
        Ok(Self(Zeroizing::new(Base64UrlUnpadded::encode_string(&*drawn))))
    }

    /// The text, for the one place that hands it to the person who invited.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub(crate) fn sha256(&self) -> String {
        text::sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for InvitationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationSecret(…)")
    }
}

/// The random source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the random source failed")]
#[non_exhaustive]
pub struct DrawError;

/// A new invitation's name.
pub(crate) fn draw_id() -> Result<String, DrawError> {
    let mut drawn = [0; 8];
    aws_lc_rs::rand::fill(&mut drawn).map_err(|_| DrawError)?;
    Ok(drawn.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// Whether a text can be the id of an invitation; others are not looked up.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == INVITATION_ID_LEN
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What is known of an invitation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InvitationRecord {
    /// Names it.
    pub id: String,
    /// What it promises.
    pub offer: Offer,
    /// SHA-256 of the secret, in hexadecimal.
    pub secret_sha256: String,
    /// The certificate by which whoever made it was known; `None`: it was made at the home.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub inviter: Option<Serial>,
    /// When it was made.
    #[serde(with = "text::instant")]
    pub invited_at: UnixTime,
    /// The last second in which it can be redeemed.
    #[serde(with = "text::instant")]
    pub expires_at: UnixTime,
    /// How many keys have enrolled with it.
    pub used: u32,
    /// When it was taken back, by an operator or because its device was revoked.
    #[serde(default, with = "text::optional_instant", skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<UnixTime>,
}

/// Whether an invitation can be redeemed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "whoever asks must treat all of them")]
pub enum InvitationState {
    /// It can.
    Open,
    /// It has served as many keys as it promised.
    Used,
    /// It was taken back.
    Withdrawn,
    /// Its time is over.
    Expired,
}

impl fmt::Display for InvitationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        })
    }
}

impl InvitationRecord {
    /// Whether it can be redeemed now.
    #[must_use]
    pub fn state(&self, now: UnixTime) -> InvitationState {
        if self.withdrawn_at.is_some() {
            InvitationState::Withdrawn
        } else if self.used >= self.offer.uses {
            InvitationState::Used
        } else if now > self.expires_at {
            InvitationState::Expired
        } else {
            InvitationState::Open
        }
    }
}

/// Whether `secret` is that of the invitation. Takes as long whether there is one or not, and
/// wherever the two hashes differ.
pub(crate) fn opens(secret: &str, invitation: Option<&InvitationRecord>) -> bool {
    let shown = text::sha256(secret.as_bytes());
    // Of no secret at all: the hash of nothing would be that of an empty secret.
    let nobody = "-".repeat(shown.len());
    let kept = invitation.map_or(nobody.as_str(), |invitation| &invitation.secret_sha256);
    verify_slices_are_equal(shown.as_bytes(), kept.as_bytes()).is_ok()
}
