//! Why a certificate is revoked: RFC 5280 §5.3.1, as far as it applies to leaves.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A reason code.
///
/// `certificateHold` and `removeFromCRL` are left out on purpose: a revocation here is for good.
/// `cACompromise` and `aACompromise` do not apply to leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Reason {
    /// No reason is given; the entry in the list then carries none (RFC 5280 §5.3.1).
    #[default]
    Unspecified,
    /// Somebody else has, or may have, the private key. The key is never certified again.
    KeyCompromise,
    /// The name or another part of the certificate is no longer true.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The device is no longer in use.
    CessationOfOperation,
    /// What the certificate permits is no longer granted.
    PrivilegeWithdrawn,
}

impl Reason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// RFC 5280 §5.3.1.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    /// Whether somebody who revoked for `self` learns something new from `later`.
    pub(crate) fn yields_to(self, later: Self) -> bool {
        later == Self::KeyCompromise && self != Self::KeyCompromise
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
        })
    }
}

/// Not the name of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a reason is one of unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn"
)]
#[non_exhaustive]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let same = |reason: &Self| reason.to_string().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(same).ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_rfc_5280() {
        for reason in Reason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(reason));
        }
        assert_eq!("keycompromise".parse(), Ok(Reason::KeyCompromise));
        for wrong in ["", "certificateHold", "removeFromCRL", "cACompromise", "stolen"] {
            assert_eq!(wrong.parse::<Reason>(), Err(UnknownReason), "{wrong}");
        }
    }
}
