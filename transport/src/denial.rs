//! Why a peer may not enter or stay, and the one mapping of it to TLS.

use std::sync::Arc;

use rustls::{CertificateError as TlsCertificateError, OtherError};
use thiserror::Error;
use vouchsafe_certs::CertificateError;

/// Why a peer may not enter, or no longer stay. The message is for the operator's log; the peer sees an alert.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Denial {
    /// The certificate breaks a rule that the TLS library does not know.
    #[error("the certificate is refused: {0}")]
    Certificate(#[from] CertificateError),
    /// A server's certificate shown by a client, or the other way round.
    #[error("the certificate is not for this side: {0}")]
    Usage(&'static str),
    /// Revoked, or issued by a CA that is.
    #[error("the certificate is revoked")]
    Revoked,
    /// Past notAfter.
    #[error("the certificate has expired")]
    Expired,
    /// Before notBefore.
    #[error("the certificate is not yet valid")]
    NotYetValid,
    /// Past nextUpdate of a list that speaks of this peer.
    #[error("the revocation list has gone stale")]
    RevocationListStale,
    /// No list speaks of this peer's issuer.
    #[error("there is no revocation list of the certificate's issuer")]
    NoRevocationList,
    /// The source of the lists cannot be read.
    #[error("the revocation list cannot be read")]
    RevocationListUnreadable,
    /// The system does not tell the time.
    #[error("the clock cannot be read")]
    ClockUnavailable,
    /// An audit event could not be written: no record, no call.
    #[error("the audit record cannot be written")]
    AuditUnavailable,
    /// The gateway holds as many sessions as it may.
    #[error("too many sessions are open")]
    TooManySessions,
    /// The principal holds as many sessions as it may.
    #[error("this principal has too many sessions open")]
    TooManySessionsOfPrincipal,
}

impl Denial {
    /// The alert that the peer sees (RFC 8446 §6.2): what it can act on, and nothing of our insides.
    pub(crate) fn to_tls(&self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Self::Revoked => TlsCertificateError::Revoked,
            Self::Expired => TlsCertificateError::Expired,
            Self::NotYetValid => TlsCertificateError::NotValidYet,
            Self::Usage(_) => TlsCertificateError::InvalidPurpose,
            other => TlsCertificateError::Other(OtherError(Arc::new(other.clone()))),
        })
    }

    /// Why a handshake failed, in our own words where the reason was ours.
    pub(crate) fn from_tls(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(error) = error else { return None };
        match error {
            TlsCertificateError::Revoked => Some(Self::Revoked),
            TlsCertificateError::Expired | TlsCertificateError::ExpiredContext { .. } => {
                Some(Self::Expired)
            }
            TlsCertificateError::NotValidYet | TlsCertificateError::NotValidYetContext { .. } => {
                Some(Self::NotYetValid)
            }
            TlsCertificateError::Other(OtherError(ours)) => ours.downcast_ref::<Self>().cloned(),
            _ => None,
        }
    }
}
