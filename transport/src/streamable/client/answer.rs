//! What a server answers: its head, judged by what MCP makes of it, and its body, within limits.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};

use super::connection::Connection;
use super::failure::Failure;
use crate::message::{Id, Message};
use crate::policy::error;
use crate::streamable::{EVENTS, JSON};

/// JSON-RPC: the fault is not the client's.
const INTERNAL_ERROR: i32 = -32603;

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) connection: Connection,
}

/// What a body holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Events,
    Other,
}

impl Answer {
    /// RFC 9110 §8.3.1: parameters may follow, and case does not matter.
    pub(super) fn kind(&self) -> Kind {
        let value = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case(JSON) {
            Kind::Message
        } else if media.eq_ignore_ascii_case(EVENTS) {
            Kind::Events
        } else {
            Kind::Other
        }
    }

    /// Whether something to which there is no answer was taken.
    pub(super) fn taken(&self, has_session: bool) -> Result<(), Failure> {
        match self.status {
            status if status.is_success() => Ok(()),
            status => Err(failure(status, has_session)),
        }
    }

    /// The whole body, as long as a line of `max_line` octets can be, its end included.
    pub(super) async fn read(&mut self, max_line: usize) -> Result<Bytes, Failure> {
        let max_len = max_line.saturating_sub(1);
        // Where the head says how long the body is, it need not come first.
        if usize::try_from(self.body.size_hint().lower()).map_or(true, |len| len > max_len) {
            return Err(Failure::TooLong(max_line));
        }
        match Limited::new(&mut self.body, max_len).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLong(max_line)),
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => self.connection.why(&error).await,
                Err(error) => Failure::Broken(error.to_string()),
            }),
        }
    }
}

/// What a status says that is no success. In a session, 404 says that there is none (MCP 2025-11-25).
pub(super) fn failure(status: StatusCode, has_session: bool) -> Failure {
    match status {
        StatusCode::NOT_FOUND if has_session => Failure::SessionOver,
        status if status.is_redirection() => Failure::Redirect,
        status => Failure::Status(status),
    }
}

impl Failure {
    /// As the answer to the request that it happened to.
    pub(super) fn answer(&self, id: &Id) -> Vec<u8> {
        error(Some(id), INTERNAL_ERROR, &self.to_string(), None)
    }
}

/// A body or an event as a line: its line ends are white space, for within a string JSON has none.
pub(super) fn line_of(mut text: Vec<u8>) -> Vec<u8> {
    for octet in &mut text {
        if matches!(octet, b'\n' | b'\r') {
            *octet = b' ';
        }
    }
    text
}

/// The error in a line that answers a request without naming it, as servers do that have not got as
/// far as its id: the same error under this id.
pub(super) fn unnamed_error(line: &[u8], id: &Id) -> Option<Vec<u8>> {
    let error = Message::salvage_error(line)?;
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, error.text()).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_without_an_id_becomes_the_answer_to_the_request_that_it_answers() {
        let error = r#"{"code":-32000,"message":"no","data":{"a":1.10}}"#;
        let named = |rest: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0",{rest}"error":{error}}}"#);
            unnamed_error(line.as_bytes(), &Id::Integer(7))
        };
        let expected = format!(r#"{{"jsonrpc":"2.0","id":7,"error":{error}}}"#).into_bytes();
        assert_eq!(named(""), Some(expected.clone()));
        assert_eq!(named(r#""id":null,"#), Some(expected));
        // That of another request, or something that is no error.
        assert_eq!(named(r#""id":8,"#), None);
        assert_eq!(named(r#""id":null,"result":{},"#), None);
        assert_eq!(unnamed_error(br#"{"error":"unauthorized"}"#, &Id::Integer(7)), None);
    }

    #[test]
    fn line_ends_become_spaces() {
        assert_eq!(line_of(b"{\r\n \"a\": 1\n}".to_vec()), b"{   \"a\": 1 }");
    }
}
