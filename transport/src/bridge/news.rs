//! How a bridge ends, and what a person may want to know until then.

use std::fmt;
use std::io;

use thiserror::Error;

use crate::connector::refusal_in;
use crate::frame::FrameError;
use crate::policy::Refusal;
use crate::{ConnectError, Denial};

/// How a bridge, or one of its sessions, ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BridgeEnd {
    /// Our client closed its stdin, and everything was answered or given up.
    #[error("the client has ended")]
    Done,
    /// Our client's stdin or stdout failed.
    #[error("between the bridge and its client: {0}")]
    Client(FrameError),
    /// The gateway closed the session in good order, perhaps with a word about why.
    #[error("{}", .0.as_deref().unwrap_or("the gateway closed the session"))]
    Closed(Option<String>),
    /// The gateway refused us, or we it.
    #[error("{0}")]
    Refused(ConnectError),
    /// The gateway's certificate may no longer be trusted.
    #[error("the gateway is not trusted any more: {0}")]
    Denied(Denial),
    /// The session broke off.
    #[error("the session broke off: {}", in_words(.0))]
    Broken(io::Error),
    /// A limit was exceeded.
    #[error("from the gateway: {0}")]
    Frame(FrameError),
    /// The server of a new session speaks another version of MCP than the client was told.
    #[error("the server speaks another version of MCP than before; start the client anew")]
    Changed,
}

impl BridgeEnd {
    /// How the session ended that failed with this error.
    pub(super) fn of(error: FrameError) -> Self {
        match error {
            // Where HTTP is spoken, the refusal came to a connection beside this stream.
            FrameError::Io(error) => match error.downcast::<ConnectError>() {
                Ok(refused) => Self::Refused(refused),
                Err(error) => match refusal_in(&error) {
                    Some(refused) => Self::Refused(refused),
                    None => Self::Broken(error),
                },
            },
            other => Self::Frame(other),
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        // The TLS library's words are for programmers.
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => error.to_string(),
    }
}

/// Something that a person who watches a bridge may want to know.
#[derive(Debug)]
#[non_exhaustive]
pub enum BridgeNews<'a> {
    /// The server asked for something that its certificate does not permit.
    Denied {
        /// The JSON-RPC method.
        method: &'a str,
        /// Why.
        refusal: &'a Refusal,
    },
    /// So many more of its messages were refused within a second or the rest of a session.
    DeniedOften(u64),
    /// Another session is wanted, and not to be had yet.
    NotYet(&'a ConnectError),
    /// It is not to be had before our own certificate is renewed.
    Expired,
    /// There is another session, after one that ended like this.
    Back(String),
    /// There is another session, under a renewed certificate.
    Renewed,
}

impl fmt::Display for BridgeNews<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { method, refusal } => {
                write!(f, "the server's {method} was refused: {refusal}")
            }
            Self::DeniedOften(times) => {
                write!(f, "{times} further messages of the server were refused")
            }
            Self::NotYet(error) => write!(f, "{error}; trying again"),
            Self::Expired => {
                f.write_str("our own certificate has expired; waiting for its renewal")
            }
            Self::Back(end) => write!(f, "{end}; connected again"),
            Self::Renewed => f.write_str("connected again with the renewed certificate"),
        }
    }
}
