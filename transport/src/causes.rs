//! Why something was refused, denied, cut or closed, as one word of a closed set: what metrics and
//! alerts go by. The audit has the whole reason. Nothing that a peer chose is in them.

use crate::Denial;
use crate::acceptor::AcceptError;
use crate::frame::FrameError;
use crate::policy::Refusal;
use crate::relay::RelayEnd;

/// Of a handshake that came to nothing; and those of [`CUT`].
pub const REFUSED: [&str; 5] = ["tls", "connection", "too_slow", "identity", "gave_way"];

/// Of a session that was opened without a handshake of its own: for requests of HTTP.
pub const BEHIND_HTTP: &str = "behind_http";

/// Of a session that was cut.
pub const CUT: [&str; 20] = [
    "certificate",
    "usage",
    "untrusted_issuer",
    "signature",
    "ca_as_leaf",
    "critical_extension",
    "name",
    "malformed",
    "path",
    "revoked",
    "expired",
    "not_yet_valid",
    "list_stale",
    "no_list",
    "list_unreadable",
    "clock",
    "audit",
    "sessions",
    "sessions_of_principal",
    "too_often",
];

/// Of a session that was closed.
pub const CLOSED: [&str; 9] = [
    "client_closed",
    "client_gone",
    "server_closed",
    "silent",
    "not_started",
    "stopped",
    "operator",
    "client_frame",
    "server_frame",
];

/// Of a message that was denied, or of a session that it would have opened.
pub const DENIED: [&str; 16] = [
    "unreadable",
    "parameters",
    "not_permitted",
    "suspended",
    "unknown_method",
    "duplicate_id",
    "in_flight",
    "too_often",
    "too_many_at_once",
    "arguments",
    "unchecked",
    "unlisted",
    "not_own",
    "result_shape",
    "sessions",
    "sessions_of_principal",
];

impl AcceptError {
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.cause(),
            Self::Tls(_) => "tls",
            Self::Io(_) => "connection",
            Self::TooSlow(_) => "too_slow",
            Self::Identity(_) => "identity",
            Self::GaveWay => "gave_way",
        }
    }
}

impl Denial {
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "certificate",
            Self::Usage(_) => "usage",
            Self::UntrustedIssuer => "untrusted_issuer",
            Self::Signature => "signature",
            Self::CaAsLeaf => "ca_as_leaf",
            Self::CriticalExtension => "critical_extension",
            Self::Name(_) => "name",
            Self::Malformed => "malformed",
            Self::Path(_) => "path",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::RevocationListStale => "list_stale",
            Self::NoRevocationList => "no_list",
            Self::RevocationListUnreadable => "list_unreadable",
            Self::ClockUnavailable => "clock",
            Self::AuditUnavailable => "audit",
            Self::TooManySessions => "sessions",
            Self::TooManySessionsOfPrincipal => "sessions_of_principal",
            Self::TooOften { .. } => "too_often",
        }
    }
}

impl RelayEnd {
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ClientGone => "client_gone",
            Self::ServerClosed => "server_closed",
            Self::Silent => "silent",
            Self::NotStarted(_) => "not_started",
            Self::Stopped => "stopped",
            Self::Operator => "operator",
            Self::Client(_) => "client_frame",
            Self::Server(FrameError::Io(_)) => "server_closed",
            Self::Server(_) => "server_frame",
            Self::Denied(denial) => denial.cause(),
        }
    }
}

impl Refusal {
    pub(crate) fn cause(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Parameters => "parameters",
            Self::NotPermitted(_) => "not_permitted",
            Self::Suspended(_) => "suspended",
            Self::UnknownMethod(_) => "unknown_method",
            Self::DuplicateId => "duplicate_id",
            Self::TooManyInFlight => "in_flight",
            Self::TooOften { .. } => "too_often",
            Self::TooManyAtOnce { .. } => "too_many_at_once",
            Self::Arguments { .. } => "arguments",
            Self::Unchecked(_) => "unchecked",
            Self::Unlisted => "unlisted",
            Self::NotOwn => "not_own",
            Self::ResultShape => "result_shape",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn no_word_tells_what_a_peer_chose() {
        let chosen = "chosen by a peer".to_owned();
        assert!(CUT.contains(&Denial::Name(chosen.clone()).cause()));
        assert!(CUT.contains(&Denial::Path(chosen.clone()).cause()));
        assert!(CUT.contains(&AcceptError::Denied(Denial::Usage(Role::Client)).cause()));
        assert!(REFUSED.contains(&AcceptError::GaveWay.cause()));
        assert!(CLOSED.contains(&RelayEnd::Operator.cause()));
        assert!(DENIED.contains(&Refusal::UnknownMethod(chosen.clone()).cause()));
        assert!(DENIED.contains(&Refusal::NotPermitted(chosen).cause()));
    }
}
