//! Why a request is refused before it becomes a message: the one mapping to HTTP.

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::stateless::TASKS;
use crate::http::{Body, Refused};
use crate::message::{Id, ReadError};
use crate::policy::{self, error};
use crate::streamable::{JSON, STATELESS};

/// MCP 2026-07-28: a header and the body say different things.
const HEADER_MISMATCH: i32 = -32020;
/// MCP 2026-07-28: the client does not say that it can do what this takes.
const MISSING_CAPABILITY: i32 = -32021;
/// MCP 2026-07-28: the revision is not spoken here.
const UNSUPPORTED_VERSION: i32 = -32022;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// DNS rebinding: the request was meant for somebody else, or comes from somebody else's page.
    Host,
    Origin,
    Method,
    ContentType,
    NotAcceptable,
    Unreadable(Option<Id>, ReadError),
    /// A request that needs a session names none.
    NoSession(Option<Id>),
    /// No such session, or somebody else's.
    UnknownSession(Option<Id>),
    /// No such event, or it is forgotten.
    UnknownEvent,
    /// Somebody reads that stream already.
    Conflict,
    Version(Option<Id>, String),
    Mismatch(Option<Id>, &'static str),
    Parameters(Option<Id>, &'static str),
    /// A method of an earlier revision.
    NoSuchMethod(Option<Id>),
    /// Something about tasks, from somebody who does not say that they know of them.
    WithoutTasks(Option<Id>),
    DuplicateId(Id),
    TooManyRequests,
    /// The session ended before there was an answer; what was said at the end.
    Ended(Option<Id>, Option<Bytes>),
    NoAnswer(Option<Id>),
    Unavailable,
}

impl Refusal {
    pub(crate) fn into_response(self) -> Response<Body> {
        let (status, line) = self.on_the_wire();
        let mut response = Response::new(Body::from(line));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if let Some(said) = self.for_the_audit() {
            response.extensions_mut().insert(Refused(said.to_owned()));
        }
        response
    }

    /// What an operator should hear of: not what is part of an honest client's life.
    fn for_the_audit(&self) -> Option<&'static str> {
        match self {
            Self::Host => Some("the Host header names another server"),
            Self::Origin => Some("the Origin header names another site"),
            Self::UnknownSession(_) => Some("the HTTP session is not known, or somebody else's"),
            Self::Mismatch(..) => Some("a header and the body say different things"),
            _ => None,
        }
    }

    fn on_the_wire(&self) -> (StatusCode, Vec<u8>) {
        let bad = |id: &Option<Id>, code, message: &str| {
            (StatusCode::BAD_REQUEST, error(id.as_ref(), code, message, None))
        };
        let plain = |status, message: &str| (status, error(None, INVALID_REQUEST, message, None));
        match self {
            Self::Host => plain(StatusCode::FORBIDDEN, "The Host header names another server"),
            Self::Origin => plain(StatusCode::FORBIDDEN, "The Origin is not allowed"),
            Self::Method => plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::ContentType => {
                plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
            }
            Self::NotAcceptable => plain(
                StatusCode::NOT_ACCEPTABLE,
                "Accept must name application/json and text/event-stream; for GET text/event-stream",
            ),
            Self::Unreadable(id, why) => {
                let refusal = policy::Refusal::Unreadable(*why);
                (StatusCode::BAD_REQUEST, policy::refusal(id.as_ref(), &refusal))
            }
            Self::NoSession(id) => bad(id, INVALID_REQUEST, "The Mcp-Session-Id header is missing"),
            Self::UnknownSession(id) => (
                StatusCode::NOT_FOUND,
                error(id.as_ref(), INVALID_REQUEST, "Session not found", None),
            ),
            Self::UnknownEvent => plain(StatusCode::NOT_FOUND, "Event not found"),
            Self::Conflict => plain(StatusCode::CONFLICT, "This stream is read by another request"),
            Self::Version(id, requested) => {
                let data = json!({"supported": [STATELESS], "requested": requested});
                let line = error(
                    id.as_ref(),
                    UNSUPPORTED_VERSION,
                    "Unsupported protocol version",
                    Some(data),
                );
                (StatusCode::BAD_REQUEST, line)
            }
            Self::Mismatch(id, what) => {
                let message = format!("The header {what} does not agree with the body");
                bad(id, HEADER_MISMATCH, &message)
            }
            Self::Parameters(id, what) => bad(id, INVALID_PARAMS, what),
            Self::NoSuchMethod(id) => {
                let line = error(id.as_ref(), METHOD_NOT_FOUND, "Method not found", None);
                (StatusCode::NOT_FOUND, line)
            }
            Self::WithoutTasks(id) => {
                let data = json!({"requiredCapabilities": {"extensions": {TASKS: {}}}});
                let message = "Missing required client capability";
                let line = error(id.as_ref(), MISSING_CAPABILITY, message, Some(data));
                (StatusCode::BAD_REQUEST, line)
            }
            Self::DuplicateId(id) => {
                let refusal = policy::Refusal::DuplicateId;
                (StatusCode::BAD_REQUEST, policy::refusal(Some(id), &refusal))
            }
            Self::TooManyRequests => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "Too many requests are in flight")
            }
            Self::Ended(_, Some(farewell)) => (StatusCode::SERVICE_UNAVAILABLE, farewell.to_vec()),
            Self::Ended(id, None) => {
                let line = error(id.as_ref(), INTERNAL_ERROR, "The session ended", None);
                (StatusCode::SERVICE_UNAVAILABLE, line)
            }
            Self::NoAnswer(id) => {
                let line =
                    error(id.as_ref(), INTERNAL_ERROR, "The server did not answer in time", None);
                (StatusCode::GATEWAY_TIMEOUT, line)
            }
            Self::Unavailable => plain(StatusCode::SERVICE_UNAVAILABLE, "Not available at present"),
        }
    }
}
