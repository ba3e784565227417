//! The policy point: every MCP message of a session passes through here, in both directions.
//!
//! Pure and synchronous. A line goes in; what comes out says whether it is forwarded (and in which
//! octets), answered in the other side's place, or dropped, and what is to be recorded. Three
//! revisions of MCP are known: 2025-06-18, 2025-11-25 and 2026-07-28, with the tasks extension.
//! What is not known is denied.
//!
//! | | holds | to |
//! |---|---|---|
//! | [`ClientPolicy`] | the client, at the gateway | the permissions in the client's certificate |
//! | | the server, at the gateway | those in the gateway's own: a client without a bridge has nobody else to see to it |
//! | [`ServerPolicy`] | the server, at the bridge | the permissions in the server's certificate |

mod answer;
mod asking;
mod client;
mod held;
mod list;
mod parameters;
mod redact;
mod rules;
mod schema;
mod seal;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod tools;

use std::borrow::Cow;
use std::time::Duration;

use thiserror::Error;

pub(crate) use answer::{TOO_MANY_REQUESTS, closing, error, protocol_error, refusal};
pub use asking::ServerPolicy;
pub(crate) use held::Held;
pub use redact::PatternError;
pub use rules::{Rules, known_methods};
pub(crate) use seal::Seal;
pub use state::ClientPolicy;

use crate::message::ReadError;

/// Leave to forward one message: made only by a policy, spent only by a
/// [`LineWriter::forward`](crate::LineWriter::forward), so what was not judged cannot be sent.
#[derive(Debug)]
pub struct Permit<'a>(Cow<'a, [u8]>);

impl Permit<'_> {
    /// The message as it was judged, without its line end.
    pub(crate) fn line(&self) -> &[u8] {
        &self.0
    }
}

/// What becomes of a message.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict<'a> {
    /// It goes on to the other side.
    Forward(Permit<'a>),
    /// It stops here, and its sender gets this line instead of an answer.
    Answer(Vec<u8>),
    /// It stops here.
    Drop,
    /// From the client: it can be judged when the server has said which tools it has. This goes to the
    /// server first; then it is judged again.
    LookUp(Permit<'a>),
    /// From the server: it has said so. This stops here.
    LookedUp,
}

/// A verdict and what is to be recorded of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Judgement<'a> {
    /// What becomes of the message.
    pub verdict: Verdict<'a>,
    /// What is to be recorded before the verdict is carried out; `None` for messages of no consequence.
    pub record: Option<Record>,
}

/// One line of the audit, as far as the policy knows it. Arguments and contents are never part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The JSON-RPC method.
    pub method: String,
    /// The tool, prompt, resource or task that the message names.
    pub name: Option<String>,
    /// What was decided.
    pub decision: Decision,
}

/// What was decided of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Forwarded: a request of either side's, or a notification of the client's that says something.
    Allowed,
    /// Not forwarded.
    Denied(Refusal),
    /// The answer to a request that was allowed, whichever side made it.
    Answered {
        /// Since the request was forwarded.
        latency: Duration,
        /// Whether the answer is a JSON-RPC error.
        error: bool,
        /// Secrets that were taken out of it.
        redacted: usize,
    },
    /// A notification of the server, out of which so many secrets were taken.
    Redacted(usize),
}

/// Why a message is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It cannot be read in one way only.
    #[error("{0}")]
    Unreadable(#[from] ReadError),
    /// Its parameters do not have the shape that the method asks for.
    #[error("the parameters do not fit the method")]
    Parameters,
    /// No permission covers it.
    #[error("needs the permission {0}")]
    NotPermitted(String),
    /// A permission covers it, but not one of those that go on while the revocation list is stale.
    #[error("{0} is suspended while the revocation list is stale")]
    Suspended(String),
    /// The method is unknown and no `methods:` permission covers it.
    #[error("needs the permission methods:{0}")]
    UnknownMethod(String),
    /// A request with this id is still in flight.
    #[error("a request with this id is in flight")]
    DuplicateId,
    /// Too many requests are in flight.
    #[error("too many requests are in flight")]
    TooManyInFlight,
    /// The principal asks more often than it may, over all of its sessions.
    #[error("too many requests a second; try again in {} ms", millis(.retry_after))]
    TooOften {
        /// When it may ask again.
        retry_after: Duration,
    },
    /// The principal has as many requests in flight as it may have, over all of its sessions.
    #[error("too many requests of this principal are in flight; try again in {} ms", millis(.retry_after))]
    TooManyAtOnce {
        /// When asking again may be worth while.
        retry_after: Duration,
    },
    /// The arguments of a call are not what the tool's schema asks for.
    #[error("the arguments do not fit the tool's schema at {rule}")]
    Arguments {
        /// Where in the schema.
        rule: String,
        /// Which argument and why: for the caller alone, it may name what the caller has named.
        told: String,
    },
    /// It cannot be told whether the arguments of a call are what the tool's schema asks for.
    #[error("the arguments cannot be checked: {0}")]
    Unchecked(String),
    /// The server lists no such tool, so it cannot be told what its arguments are.
    #[error("the server does not list this tool")]
    Unlisted,
    /// It speaks of a request, token, task or subscription that is not this session's.
    #[error("speaks of something that is not this session's")]
    NotOwn,
    /// A list or result from the server that cannot be filtered with certainty.
    #[error("the server's result does not have the shape of its method")]
    ResultShape,
}

impl Refusal {
    /// When the same may pass, where it was refused for nothing but its time: a limit of the principal.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooOften { retry_after } | Self::TooManyAtOnce { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }
}

/// Whole milliseconds, so that whoever waits for them has waited long enough.
fn millis(duration: &Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
