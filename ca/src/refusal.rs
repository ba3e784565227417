//! Why an event must not happen, in sentences for people.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use thiserror::Error;
use vouchsafe_certs::{Fingerprint, Permission, Principal, Serial};

use crate::reason::Reason;
use crate::text::rfc3339;

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
    /// The CA's own name.
    #[error("{0} is the CA itself: only who has its home issues to that name, or revokes it")]
    Reserved(Principal),
    /// Whoever asks has shown a certificate that this CA has not issued, or has lost from its record.
    #[error("the certificate that was shown is not on record here (fingerprint {0})")]
    CallerUnknown(Fingerprint),
    /// Whoever asks is not trusted any more.
    #[error(
        "{caller}, or the certificate that it has shown, is revoked ({reason}) and has no say here"
    )]
    CallerRevoked {
        /// Who.
        caller: Principal,
        /// Why.
        reason: Reason,
    },
    /// Somebody's own limit.
    #[error("{0} cannot change its own limit")]
    OwnLimit(Principal),
    /// No such certificate.
    #[error("this CA knows no certificate with serial number {0}")]
    NoSuchCertificate(Serial),
    /// No such certificate.
    #[error("this CA knows no certificate with fingerprint {0}")]
    NoSuchFingerprint(Fingerprint),
    /// No certificate was ever issued to this name, and nobody of this name was invited.
    #[error("no certificate was ever issued to {0}")]
    NoSuchDevice(Principal),
    /// The device's limit does not allow it.
    #[error("{principal} is limited, and {permission} lies beyond its limit")]
    BeyondLimit {
        /// Which device.
        principal: Principal,
        /// The first permission that lies beyond.
        permission: Permission,
    },
    /// No such invitation, or not this secret: who does not know both learns neither.
    #[error("there is no such invitation, or its secret is another")]
    UnknownInvitation,
    /// No such invitation.
    #[error("this CA knows no invitation {0}")]
    NoSuchInvitation(String),
    /// Its time is over.
    #[error("the invitation expired at {}", rfc3339(*at))]
    InvitationExpired {
        /// The last second in which it could be redeemed.
        at: UnixTime,
    },
    /// It has served as many keys as it promised.
    #[error("the invitation has been used {}", times(*uses))]
    InvitationUsed {
        /// How often that may happen.
        uses: u32,
    },
    /// It was taken back.
    #[error("the invitation was withdrawn at {}", rfc3339(*at))]
    InvitationWithdrawn {
        /// When.
        at: UnixTime,
    },
    /// Whoever made it is not trusted any more.
    #[error("the invitation was made by {inviter}, who was revoked since ({reason})")]
    InviterRevoked {
        /// Who.
        inviter: Principal,
        /// Why.
        reason: Reason,
    },
    /// The same key has enrolled in the meantime.
    #[error("this key has already enrolled with this invitation")]
    AlreadyEnrolled,
    /// There is no room for another.
    #[error("there are {0} invitations already that nobody has redeemed")]
    TooManyInvitations(u64),
    /// A certificate that is to be renewed is over.
    #[error("certificate {serial} expired at {} and cannot be renewed", rfc3339(*at))]
    CertificateExpired {
        /// Which one.
        serial: Serial,
        /// Its last second.
        at: UnixTime,
    },
    /// A certificate that is to be renewed is revoked.
    #[error("certificate {serial} is revoked ({reason}) and cannot be renewed")]
    CertificateRevoked {
        /// Which one.
        serial: Serial,
        /// Why.
        reason: Reason,
    },
    /// A certificate that is to be renewed is as good as new.
    #[error(
        "certificate {serial} was issued only at {}, and is not renewed before {}",
        rfc3339(*issued_at),
        rfc3339(*again_at)
    )]
    TooYoung {
        /// Which one.
        serial: Serial,
        /// When it was issued.
        issued_at: UnixTime,
        /// From when on it is renewed.
        again_at: UnixTime,
        /// How long that is from now.
        again_in: Duration,
    },
    /// It has been renewed in the meantime.
    #[error("certificate {0} is not the newest of its lineage")]
    NotNewest(Serial),
    /// A copy of a certificate or its key is about.
    #[error(
        "certificate {shown} of {principal} was renewed before, with another key: somebody holds a copy, so this certificate and all that it was renewed to are now revoked (keyCompromise)"
    )]
    Stolen {
        /// Whose.
        principal: Principal,
        /// The certificate that was shown.
        shown: Serial,
    },
    /// A point in time that is still to come.
    #[error("{} is still to come; only what was issued can be revoked", rfc3339(*before))]
    NotYet {
        /// Which.
        before: UnixTime,
    },
    /// No such CA.
    #[error("there is no issuing CA with serial number {0}")]
    NoSuchCa(Serial),
    /// The issuing CA signs nothing more.
    #[error("issuing CA {0} is revoked or retired and issues nothing more")]
    CaGone(Serial),
    /// The bundle of lists has an end.
    #[error("there are {0} CAs whose certificates have not ended, too many for one more")]
    TooManyCas(usize),
    /// It still signs, and there is nobody in its place.
    #[error("issuing CA {0} is the one that issues certificates")]
    CaAtWork(Serial),
    /// A key of something else.
    #[error("this key is not that of a root of this CA")]
    NotARoot,
    /// The key of a root that does not sign now.
    #[error("the root that signs now is {0}, and this is the key of another")]
    NotTheRoot(Serial),
    /// The key of another root than the one that has signed.
    #[error("issuing CA {0} was signed by another root than that of this key")]
    NotItsRoot(Serial),
    /// A CA without a key that was never heard of.
    #[error("neither the key of CA {0} is here nor its latest list")]
    NoLastList(Serial),
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
            Self::Reserved(_) => Some("choose another name, or do it where the CA's home is"),
            Self::OwnLimit(_) => Some("ask another operator, or do it where the CA's home is"),
            Self::KeyCompromised { .. } => Some("make a new key"),
            Self::NoSuchCertificate(_) | Self::NoSuchFingerprint(_) | Self::NoSuchDevice(_) => {
                Some("vouchsafe list shows what there is")
            }
            Self::BeyondLimit { .. } => {
                Some("ask for less, or change the limit: vouchsafe limit NAME --allow …")
            }
            Self::UnknownInvitation => Some(
                "check that the whole line was copied; one that expired more than a week ago is forgotten",
            ),
            Self::NoSuchInvitation(_) => Some("vouchsafe invite --list shows what there is"),
            Self::InvitationExpired { .. }
            | Self::InvitationUsed { .. }
            | Self::InvitationWithdrawn { .. }
            | Self::InviterRevoked { .. } => Some("ask for a new invitation"),
            Self::TooManyInvitations(_) => {
                Some("withdraw some, or wait until they expire: vouchsafe invite --list")
            }
            Self::CertificateExpired { .. }
            | Self::CertificateRevoked { .. }
            | Self::CallerUnknown(_)
            | Self::CallerRevoked { .. } => Some("ask for an invitation, and enrol anew"),
            Self::TooYoung { .. } => Some("go on with it until then: it is as good as a new one"),
            Self::Stolen { .. } => Some(
                "find out who else has the key or a copy of its directory; then enrol anew, with a new key",
            ),
            Self::AlreadyEnrolled | Self::NotNewest(_) => Some("try again"),
            Self::NotYet { .. } => Some("say `now` for everything issued so far"),
            Self::NoSuchCa(_) => Some("vouchsafe rotate status shows what there is"),
            Self::CaGone(_) => Some("try again: another one has taken its place"),
            Self::TooManyCas(_) => Some(
                "vouchsafe rotate status shows when they end; where the CA's home is, a few more can be made",
            ),
            Self::CaAtWork(_) => {
                Some("put another in its place first: vouchsafe rotate issuer --now")
            }
            Self::NotARoot | Self::NotTheRoot(_) | Self::NotItsRoot(_) => {
                Some("bring the root's key from where it is kept, and name it with --root-key FILE")
            }
            Self::NoLastList(_) => Some("bring its key back for as long as this takes"),
            Self::OutOfOrder => None,
        }
    }
}

/// `once`, `3 times`.
fn times(number: u32) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}
