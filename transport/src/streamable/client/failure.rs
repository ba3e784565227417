//! Why a request has no answer of the server's.

use std::io;

use hyper::StatusCode;
use thiserror::Error;

use crate::ConnectError;
use crate::http::Cause;

/// Why a request has no answer of the server's: in the words that the client gets to read. Whatever
/// says more is for the operator.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("The server cannot be reached at present; try again later")]
    Unreachable(io::Error),
    #[error("Too many requests to the server are under way at present; try again later")]
    Busy,
    #[error("The server did not answer in time")]
    TooLate,
    #[error("The server answered with HTTP status {0}")]
    Status(StatusCode),
    #[error("The server answered with a redirect, which is not followed")]
    Redirect,
    #[error("The server's answer is neither JSON nor a stream of events")]
    ContentType,
    #[error("The server's answer is longer than {0} octets")]
    TooLong(usize),
    #[error("The server's answer is no answer to this request")]
    NotAnAnswer,
    #[error("The server's id of the session is not visible ASCII")]
    SessionId,
    #[error("The connection to the server was lost before the answer came; try again")]
    Broken(String),
    #[error("The server has ended the session")]
    SessionOver,
    #[error("The server shows another certificate than when the session began")]
    Changed,
    /// Nothing more can be asked, whatever it is.
    #[error("The server is not trusted, or does not trust us")]
    Refused(ConnectError),
}

impl Failure {
    /// What the operator may want to know beyond that.
    pub(super) fn cause(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) => Some(error.to_string()),
            Self::Broken(reason) => Some(reason.clone()),
            Self::Refused(refused) => Some(refused.to_string()),
            _ => None,
        }
    }

    /// The end of the whole session, if it comes with this.
    pub(super) fn into_end(self) -> Option<io::Error> {
        match self {
            Self::SessionOver => Some(io::Error::other("the server has ended the session")),
            Self::Changed => Some(io::Error::other("the server shows another certificate now")),
            Self::Refused(refused) => Some(io::Error::other(refused)),
            _ => None,
        }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Refused(refused) => Self::Refused(refused),
            Cause::Broken(reason) => Self::Broken(reason),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable { error, .. } => Self::Unreachable(error),
            ConnectError::TooSlow(_) => Self::Unreachable(io::ErrorKind::TimedOut.into()),
            refused => Self::Refused(refused),
        }
    }
}
