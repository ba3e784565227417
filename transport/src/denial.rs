//! Why a peer may not enter or stay, and the one mapping of it to TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError as TlsCertificateError, OtherError};
use thiserror::Error;
use vouchsafe_certs::CertificateError;
use webpki::Error as PathError;

use crate::Role;

/// Why a peer may not enter, or no longer stay. The message is for the operator's log; the peer sees an alert.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Denial {
    /// The certificate breaks a rule that the TLS library does not know.
    #[error("the certificate is refused: {0}")]
    Certificate(#[from] CertificateError),
    /// A server's certificate shown by a client, or the other way round.
    #[error("{}", wrong_usage(*.0))]
    Usage(Role),
    /// No path from it to a root.
    #[error("the certificate does not lead to a trusted root")]
    UntrustedIssuer,
    /// Of the certificate, or of the handshake.
    #[error("a signature is wrong: the certificate is forged, or its key is not at hand")]
    Signature,
    /// A CA presents itself.
    #[error("a CA's certificate was shown in place of a leaf")]
    CaAsLeaf,
    /// RFC 5280 §4.2: a critical extension that is not known means refusal.
    #[error("the certificate carries a critical extension that is not known here")]
    CriticalExtension,
    /// The server that was dialled has another name.
    #[error("the certificate does not carry the name {0}")]
    Name(String),
    /// Not a certificate.
    #[error("the certificate is malformed")]
    Malformed,
    /// Another rule of RFC 5280 §6, in the words of the TLS library.
    #[error("the certificate's chain breaks a rule: {0}")]
    Path(String),
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
    /// The principal asks more often than it may, over all of its sessions.
    #[error("this principal asks too often")]
    TooOften {
        /// When it may ask again.
        retry_after: Duration,
    },
}

/// When a session that was one too many may be opened: nobody knows, and asking so often does no harm.
const ANOTHER_TIME: Duration = Duration::from_secs(1);

impl Denial {
    /// After how long asking again may be worth while, where nothing but a limit stood against it.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManySessions | Self::TooManySessionsOfPrincipal => Some(ANOTHER_TIME),
            Self::TooOften { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether it may pass without another identity of the peer's being needed, or with its renewal.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::NotYetValid
                | Self::RevocationListStale
                | Self::NoRevocationList
                | Self::RevocationListUnreadable
                | Self::ClockUnavailable
        )
    }

    /// The alert that the peer sees (RFC 8446 §6.2): what it can act on, and nothing of our insides.
    pub(crate) fn to_tls(&self) -> rustls::Error {
        rustls::Error::InvalidCertificate(match self {
            Self::Revoked => TlsCertificateError::Revoked,
            Self::Expired => TlsCertificateError::Expired,
            Self::NotYetValid => TlsCertificateError::NotValidYet,
            Self::Usage(_) => TlsCertificateError::InvalidPurpose,
            Self::UntrustedIssuer => TlsCertificateError::UnknownIssuer,
            other => TlsCertificateError::Other(OtherError(Arc::new(other.clone()))),
        })
    }

    /// Why the certificate that `shown_by` showed failed the handshake.
    pub(crate) fn from_tls(error: &rustls::Error, shown_by: Role) -> Option<Self> {
        use TlsCertificateError as Tls;
        let rustls::Error::InvalidCertificate(error) = error else { return None };
        Some(match error {
            Tls::Revoked => Self::Revoked,
            Tls::Expired | Tls::ExpiredContext { .. } => Self::Expired,
            Tls::NotValidYet | Tls::NotValidYetContext { .. } => Self::NotYetValid,
            Tls::InvalidPurpose | Tls::InvalidPurposeContext { .. } => Self::Usage(shown_by),
            Tls::UnknownIssuer => Self::UntrustedIssuer,
            Tls::BadSignature => Self::Signature,
            Tls::BadEncoding => Self::Malformed,
            Tls::NotValidForNameContext { expected, .. } => {
                Self::Name(expected.to_str().into_owned())
            }
            Tls::Other(OtherError(other)) => match other.downcast_ref::<Self>() {
                Some(ours) => ours.clone(),
                None => Self::from_path(other.downcast_ref(), error),
            },
            _ => Self::Path(error.to_string()),
        })
    }

    fn from_path(path: Option<&PathError>, error: &TlsCertificateError) -> Self {
        match path {
            Some(PathError::CaUsedAsEndEntity) => Self::CaAsLeaf,
            Some(PathError::UnsupportedCriticalExtension) => Self::CriticalExtension,
            Some(other) => Self::Path(other.to_string()),
            None => Self::Path(error.to_string()),
        }
    }
}

fn wrong_usage(shown_by: Role) -> &'static str {
    match shown_by {
        Role::Client | Role::Holder => {
            "the certificate is not an agent's: its extended key usage must be clientAuth alone"
        }
        Role::Server => {
            "the certificate is not a server's: its extended key usage must name serverAuth"
        }
    }
}

/// What a handshake failed of, where it was not a certificate.
pub(crate) fn why_it_failed(error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::NoCertificatesPresented => "the client showed no certificate".to_owned(),
        Tls::NoApplicationProtocol => {
            "the client asks for protocols that are not spoken here".to_owned()
        }
        Tls::PeerIncompatible(rustls::PeerIncompatible::SupportedVersionsExtensionRequired) => {
            "the client does not speak TLS 1.3".to_owned()
        }
        Tls::InvalidMessage(_) => "what the client sent is not TLS".to_owned(),
        Tls::AlertReceived(alert) => format!("the client broke the TLS handshake off: {alert:?}"),
        other => format!("the TLS handshake failed: {other}"),
    }
}
