//! What a request's headers say of its body, and of the answers that its sender takes.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};

use super::refusal::Refusal;
use crate::streamable::{EVENTS, JSON};

/// A header's text; `None` if it is missing, occurs twice, or is no text.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// RFC 9110 §8.3.1: media types are compared without regard to case; parameters do not matter here.
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let media = text(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
    match media.is_some_and(|media| media.trim().eq_ignore_ascii_case(JSON)) {
        true => Ok(()),
        false => Err(Refusal::ContentType),
    }
}

/// Whether the client takes both forms that an answer may have.
pub(crate) fn must_accept_answers(headers: &HeaderMap) -> Result<(), Refusal> {
    match accepts(headers, JSON) && accepts(headers, EVENTS) {
        true => Ok(()),
        false => Err(Refusal::NotAcceptable),
    }
}

pub(crate) fn must_accept_events(headers: &HeaderMap) -> Result<(), Refusal> {
    if accepts(headers, EVENTS) { Ok(()) } else { Err(Refusal::NotAcceptable) }
}

fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        let whole = range.strip_suffix("/*").filter(|kind| !kind.is_empty());
        range == "*/*"
            || range.eq_ignore_ascii_case(media)
            || whole.is_some_and(|kind| media.split('/').next() == Some(kind))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))])
    }

    #[test]
    fn both_forms_must_be_accepted() {
        for value in [
            "application/json, text/event-stream",
            "TEXT/event-stream;q=0.5,Application/JSON; charset=utf-8",
            "*/*",
            "application/*, text/*",
        ] {
            assert!(must_accept_answers(&accept(value)).is_ok(), "{value}");
        }
        for value in [
            "application/json",
            "text/event-stream",
            "text/html",
            "",
            "/*",
            "application/jsonp, text/event-stream",
        ] {
            assert!(must_accept_answers(&accept(value)).is_err(), "{value}");
        }
        assert!(must_accept_answers(&HeaderMap::new()).is_err());
    }
}
