//! What a server answers: its head, judged by what MCP makes of it, and its body, within limits.

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use super::LARGE;
use super::connection::Connection;
use super::failure::Failure;
use crate::Limits;
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

    /// The whole body, which may be as long as a line, its end included; and the room that it takes.
    pub(super) async fn read<'t>(
        &mut self,
        limits: &Limits,
        room: &'t AsyncMutex<()>,
    ) -> Result<(Vec<u8>, Option<MutexGuard<'t, ()>>), Failure> {
        let is_too_long = |len: usize| len >= limits.line;
        // Where the head says how long the body is, it need not come first.
        if usize::try_from(self.body.size_hint().lower()).map_or(true, is_too_long) {
            return Err(Failure::TooLong(limits.line));
        }
        let (mut body, mut taken) = (Vec::new(), None);
        let mut deadline = Instant::now() + limits.message;
        while let Some(frame) = by(Some(deadline), self.body.frame()).await? {
            let octets = match frame {
                // Trailers say nothing.
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => return Err(self.connection.why(&error).await),
            };
            if is_too_long(body.len() + octets.len()) {
                return Err(Failure::TooLong(limits.line));
            }
            body.extend_from_slice(&octets);
            if taken.is_none() && body.len() > LARGE {
                taken = Some(room.lock().await);
                deadline = Instant::now() + limits.message;
            }
        }
        Ok((body, taken))
    }
}

/// What comes in time.
pub(super) async fn by<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.map_err(|_| Failure::TooLate),
        None => Ok(work.await),
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
