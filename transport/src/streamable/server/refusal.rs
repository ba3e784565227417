//! Why a request is refused before it becomes a message: the one mapping to HTTP.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::endpoint::said_by;
use super::stateless::TASKS;
use crate::http::{Body, Refused};
use crate::message::{Id, Message, Outcome, ReadError};
use crate::policy::{self, error};
use crate::streamable::{HEADER_MISMATCH, JSON, STATELESS, WITH_SESSIONS};

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
    Mismatch(Option<Id>, Cow<'static, str>),
    /// An argument that its tool wants in this header is not there: its client has not seen the list
    /// of tools, or not the latest.
    NotMirrored(Option<Id>, String),
    Parameters(Option<Id>, &'static str),
    /// A method of an earlier revision.
    NoSuchMethod(Option<Id>),
    /// What a call depends on cannot be listed now: the error in place of the list.
    Unlisted(Option<Id>, Bytes),
    /// Something about tasks, from somebody who does not say that they know of them.
    WithoutTasks(Option<Id>),
    DuplicateId(Id),
    TooManyRequests(Option<Id>),
    /// The session ended before there was an answer; what was said at the end.
    Ended(Option<Id>, Option<Bytes>),
    NoAnswer(Option<Id>),
    Unavailable,
}

impl Refusal {
    pub(crate) fn into_response(self) -> Response<Body> {
        let status = self.status();
        let mut response = Response::new(Body::from(self.line()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
        }
        headers.extend(self.wait().map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
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
            Self::Unreadable(..) => Some("the body is no message that can be judged"),
            Self::DuplicateId(_) => Some("a request with this id is in flight"),
            Self::NoSuchMethod(_) | Self::WithoutTasks(_) | Self::Parameters(..) => {
                Some("the request does not follow the revision that it names")
            }
            _ => None,
        }
    }

    /// After how many seconds one may ask again, where somebody has said so.
    fn wait(&self) -> Option<u64> {
        match self {
            Self::Unlisted(_, said) | Self::Ended(_, Some(said)) => said_by(said).1,
            _ => None,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Ended(..) if self.wait().is_some() => StatusCode::TOO_MANY_REQUESTS,
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::UnknownSession(_) | Self::UnknownEvent | Self::NoSuchMethod(_) => {
                StatusCode::NOT_FOUND
            }
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooManyRequests(_) | Self::Ended(..) | Self::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoAnswer(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unlisted(_, error) => said_by(error).0,
            Self::Unreadable(..)
            | Self::NoSession(_)
            | Self::Version(..)
            | Self::Mismatch(..)
            | Self::NotMirrored(..)
            | Self::Parameters(..)
            | Self::WithoutTasks(_)
            | Self::DuplicateId(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The body: a JSON-RPC error.
    fn line(&self) -> Vec<u8> {
        match self {
            Self::Unreadable(id, why) => {
                policy::refusal(id.as_ref(), &policy::Refusal::Unreadable(*why))
            }
            Self::DuplicateId(id) => policy::refusal(Some(id), &policy::Refusal::DuplicateId),
            Self::Unlisted(id, said) | Self::Ended(id, Some(said)) => as_answer(id.as_ref(), said),
            _ => error(self.id(), self.code(), &self.message(), self.data()),
        }
    }

    fn id(&self) -> Option<&Id> {
        match self {
            Self::Unreadable(id, _)
            | Self::NoSession(id)
            | Self::UnknownSession(id)
            | Self::Version(id, _)
            | Self::Mismatch(id, _)
            | Self::NotMirrored(id, _)
            | Self::Parameters(id, _)
            | Self::NoSuchMethod(id)
            | Self::WithoutTasks(id)
            | Self::Ended(id, _)
            | Self::Unlisted(id, _)
            | Self::TooManyRequests(id)
            | Self::NoAnswer(id) => id.as_ref(),
            _ => None,
        }
    }

    fn code(&self) -> i32 {
        match self {
            Self::Version(..) => UNSUPPORTED_VERSION,
            Self::Mismatch(..) | Self::NotMirrored(..) => HEADER_MISMATCH,
            Self::Parameters(..) => INVALID_PARAMS,
            Self::NoSuchMethod(_) => METHOD_NOT_FOUND,
            Self::WithoutTasks(_) => MISSING_CAPABILITY,
            Self::Ended(..) | Self::NoAnswer(_) => INTERNAL_ERROR,
            _ => INVALID_REQUEST,
        }
    }

    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Host => "The Host header names another server",
            Self::Origin => "The Origin is not allowed",
            Self::Method => "Method not allowed",
            Self::ContentType => "Content-Type must be application/json",
            Self::NotAcceptable => {
                "Accept must name application/json and text/event-stream, for GET text/event-stream"
            }
            Self::NoSession(_) => "The Mcp-Session-Id header is missing",
            Self::UnknownSession(_) => "Session not found",
            Self::UnknownEvent => "Event not found",
            Self::Conflict => "This stream is read by another request",
            Self::Version(..) => "Unsupported protocol version",
            Self::Mismatch(_, what) => {
                return format!("The header {what} does not agree with the body").into();
            }
            Self::NotMirrored(_, header) => {
                return format!("The header {header} is missing").into();
            }
            Self::Parameters(_, what) => what,
            Self::NoSuchMethod(_) => "Method not found",
            Self::WithoutTasks(_) => "Missing required client capability",
            Self::TooManyRequests(_) => "Too many requests are in flight",
            Self::NoAnswer(_) => "The server did not answer in time",
            Self::Ended(..) => "The session ended",
            Self::Unreadable(..)
            | Self::DuplicateId(_)
            | Self::Unlisted(..)
            | Self::Unavailable => "Not available at present",
        })
    }

    fn data(&self) -> Option<Value> {
        match self {
            Self::Version(_, requested) => {
                let supported: Vec<&str> =
                    std::iter::once(STATELESS).chain(WITH_SESSIONS.iter().rev().copied()).collect();
                Some(json!({"supported": supported, "requested": requested}))
            }
            Self::WithoutTasks(_) => {
                Some(json!({"requiredCapabilities": {"extensions": {TASKS: {}}}}))
            }
            _ => None,
        }
    }
}

/// Somebody's error in answer to this request.
fn as_answer(id: Option<&Id>, line: &[u8]) -> Vec<u8> {
    let Ok(Message::Response { outcome: Outcome::Error(error), .. } | Message::Stray(error)) =
        Message::read(line)
    else {
        return line.to_vec();
    };
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{}}}", error.text()).into_bytes()
}
