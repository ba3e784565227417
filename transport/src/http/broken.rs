//! Why a connection over which HTTP ran is of no more use.

use std::error::Error;
use std::io;

use crate::ConnectError;
use crate::connector::refusal_in;

/// What an error of a connection comes down to.
#[derive(Debug)]
pub(crate) enum Cause {
    /// One side refuses the other. In TLS 1.3 a server judges our certificate after we think the
    /// handshake done, so its refusal comes as an error of the first answer: deep down where it met the
    /// request on the way, as the cause of a request that was never sent.
    Refused(ConnectError),
    /// Anything else, in words.
    Broken(String),
}

impl Cause {
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let causes = || std::iter::successors(Some(error), |inner| (*inner).source());
        if let Some(refusal) = causes().find_map(|inner| inner.downcast_ref().and_then(refusal_in))
        {
            return Self::Refused(refusal);
        }
        Self::Broken(match error.source() {
            _ if causes().any(is_end) => "the connection ended".to_owned(),
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        })
    }
}

/// Whether the other side has gone without a word.
fn is_end(error: &(dyn Error + 'static)) -> bool {
    let is_eof = |io: &io::Error| io.kind() == io::ErrorKind::UnexpectedEof;
    let is_gone = |http: &hyper::Error| {
        http.is_incomplete_message() || http.is_closed() || http.is_canceled()
    };
    error.downcast_ref().is_some_and(is_eof) || error.downcast_ref().is_some_and(is_gone)
}
