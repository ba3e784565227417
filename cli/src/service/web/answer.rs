//! Answers, as they are made again and again.

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use vouchsafe_ca::{Error, Refusal};
use vouchsafe_transport::Refused;

use crate::notice::say;

const TEXT: &str = "text/plain; charset=utf-8";

/// What `content_type` says it is. Nobody may keep it unasked: what a CA says can change at any time.
pub(super) fn of(content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Why there is nothing else: a sentence, and perhaps on a second line what to do next.
pub(super) fn refusal(status: StatusCode, said: &str) -> Response<Bytes> {
    let mut response = of(TEXT, format!("{said}\n"));
    *response.status_mut() = status;
    response
}

/// A refusal that belongs into the audit.
pub(super) fn recorded(status: StatusCode, said: &str) -> Response<Bytes> {
    let mut response = refusal(status, said);
    let first_line = said.lines().next().unwrap_or_default().to_owned();
    response.extensions_mut().insert(Refused(first_line));
    response
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response<Bytes> {
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "Not by this method.");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// RFC 7617 §2: an invitation is to be shown.
pub(super) fn unauthorized(said: &str) -> Response<Bytes> {
    let mut response = recorded(StatusCode::UNAUTHORIZED, said);
    let challenge = HeaderValue::from_static("Basic realm=\"invitation\", charset=\"UTF-8\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

/// What the CA does not do, and why. What failed within it concerns its operator alone.
pub(super) fn failed(error: &Error) -> Response<Bytes> {
    let said = || match error.hint() {
        Some(hint) => format!("{error}\n{hint}"),
        None => error.to_string(),
    };
    match error {
        Error::Refused(Refusal::UnknownInvitation) => unauthorized(&said()),
        // RFC 6585 §4, RFC 9110 §10.2.3.
        Error::Refused(Refusal::TooYoung { again_in, .. }) => {
            let mut response = recorded(StatusCode::TOO_MANY_REQUESTS, &said());
            let seconds = HeaderValue::from(again_in.as_secs());
            response.headers_mut().insert(RETRY_AFTER, seconds);
            response
        }
        Error::Refused(_) | Error::Profile(_) => recorded(StatusCode::FORBIDDEN, &said()),
        _ => {
            say(&format!("WARNING: a request failed: {error}"));
            let said = "the CA could not do it; its operator finds the reason in its log";
            recorded(StatusCode::INTERNAL_SERVER_ERROR, said)
        }
    }
}

/// Does what blocks where that holds up nobody else. It is done to its end, also if nobody waits for
/// the answer any more: what a CA has begun it does not leave half done.
pub(super) async fn blocking(
    work: impl FnOnce() -> Response<Bytes> + Send + 'static,
) -> Response<Bytes> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        say(&format!("WARNING: a request failed: {panic}"));
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "the CA could not do it")
    })
}
