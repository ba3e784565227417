//! What can go wrong in the CA, as one closed vocabulary. Each room says its own; every message is
//! a sentence for a person, and [`Error::hint`] says what to do next.

use thiserror::Error;
use vouchsafe_certs::{CertificateError, KeyError, RevocationError, Serial, SerialError};

use crate::config::ConfigError;
use crate::file::FileError;
use crate::home::{HomeError, RebuildError};
use crate::invitation::{DrawError, OfferError};
use crate::issuer::SigningError;
use crate::journal::JournalError;
use crate::lock::LockError;
use crate::profile::ProfileError;
use crate::refusal::Refusal;
use crate::store::StoreError;

/// Why the CA did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The request breaks a limit.
    #[error("{0}")]
    Profile(#[from] ProfileError),
    /// The invitation breaks a limit.
    #[error("{0}")]
    Offer(#[from] OfferError),
    /// Nothing random could be drawn.
    #[error("{0}")]
    Draw(#[from] DrawError),
    /// The request must not be granted, or names what is not there.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// `ca.toml` does not allow it, or is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The home is not what it should be.
    #[error("{0}")]
    Home(#[from] HomeError),
    /// Another process has the home.
    #[error("{0}")]
    Lock(#[from] LockError),
    /// A file cannot be read or written.
    #[error("{0}")]
    File(#[from] FileError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The journal failed, or contradicts the store.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// No store is built from the journal.
    #[error("{0}")]
    Rebuild(#[from] RebuildError),
    /// The store is damaged, and no other one was built from the journal.
    #[error("{damage}; it was not built anew from the journal: {why}")]
    NotRebuilt {
        /// What is wrong with the store.
        damage: Box<Self>,
        /// Why there is no other one.
        why: Box<Self>,
    },
    /// Nothing could be signed.
    #[error("{0}")]
    Signing(#[from] SigningError),
    /// A certificate of the CA itself cannot be read.
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    /// A revocation list cannot be relied on.
    #[error("{0}")]
    RevocationList(#[from] RevocationError),
    /// A key cannot be used.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A serial number is malformed, or none could be drawn.
    #[error("{0}")]
    Serial(#[from] SerialError),
    /// What was revoked is on record, and nobody heard of it: the CA that would have to say so cannot.
    #[error(
        "the revocation is on record but on no published list: issuing CA {issuer} would have to sign that list, and its key is not in the home"
    )]
    Untold {
        /// The serial number of the issuing CA's certificate.
        issuer: Serial,
    },
    /// The clock says nothing.
    #[error("the system clock cannot be read")]
    ClockUnavailable,
    /// An earlier failure left it unknown what is on disk.
    #[error("the CA has stopped after an earlier failure")]
    Stopped,
}

impl Error {
    /// Whether another request came in between, and what it has changed may be the answer: the same
    /// invitation was redeemed for the same key, or the same certificate was renewed.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Refused(Refusal::AlreadyEnrolled | Refusal::NotNewest(_)))
    }

    /// What to do next, where that is not plain from the message.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Profile(error) => error.hint(),
            Self::Refused(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Home(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Journal(error) => error.hint(),
            Self::Rebuild(error) => error.hint(),
            Self::NotRebuilt { why, .. } => why.hint(),
            Self::Lock(LockError::Held { .. }) => Some("wait until it is done, then try again"),
            Self::Key(KeyError::PassphraseNeeded) => {
                Some("give the passphrase with --passphrase-file, or at the prompt of a terminal")
            }
            Self::Signing(SigningError::WrongKey) => {
                Some("put the key that belongs to the certificate back from a backup")
            }
            Self::Untold { .. } => Some(
                "put its key back, start the CA again if it serves, and say this once more; or end that CA with everything it has issued: vouchsafe revoke --issuer SERIAL",
            ),
            Self::Stopped => Some("start it again; it checks what is on disk first"),
            _ => None,
        }
    }
}
