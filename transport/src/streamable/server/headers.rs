//! What a request's headers say of its body. The body decides; headers that say something else are
//! refused, because somebody in between may have decided by them (MCP 2026-07-28, transports).

use base64ct::{Base64, Encoding};
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};

use super::refusal::Refusal;
use crate::message::{Id, Object, Value};
use crate::streamable::{
    EVENTS, JSON, METHOD, NAME, PROTOCOL_VERSION, STATELESS, VERSION_IN_META, WITH_SESSIONS,
};

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

/// The revision that a request of the stateless era names.
pub(crate) enum Revision {
    WithSessions,
    Stateless,
}

/// What the policy of headers looks at in a request.
pub(crate) struct Asked<'a> {
    pub(crate) id: Option<&'a Id>,
    pub(crate) method: &'a str,
    pub(crate) params: Option<Object<'a>>,
}

impl Asked<'_> {
    fn id(&self) -> Option<Id> {
        self.id.cloned()
    }

    /// Which era a message belongs to: the body says so, or else the header.
    pub(crate) fn revision(&self, headers: &HeaderMap) -> Result<Revision, Refusal> {
        let in_header = text(headers, &PROTOCOL_VERSION);
        if headers.contains_key(PROTOCOL_VERSION) && in_header.is_none() {
            return Err(Refusal::Mismatch(self.id(), "MCP-Protocol-Version"));
        }
        let in_body = self.version_in_body()?;
        match (in_header, in_body) {
            (Some(header), _) if WITH_SESSIONS.contains(&header) && in_body.is_none() => {
                Ok(Revision::WithSessions)
            }
            (None, None) => Ok(Revision::WithSessions),
            (Some(header), None) if header != STATELESS => {
                Err(Refusal::Version(self.id(), shown(header)))
            }
            (Some(_), None) if self.id.is_none() => Ok(Revision::Stateless),
            (Some(_), None) => Err(Refusal::Parameters(
                self.id(),
                "params._meta[\"io.modelcontextprotocol/protocolVersion\"] is missing",
            )),
            (header, Some(body)) => {
                let body = body.as_str().unwrap_or_default();
                if header != Some(&*body) {
                    return Err(Refusal::Mismatch(self.id(), "MCP-Protocol-Version"));
                }
                match &*body == STATELESS {
                    true => Ok(Revision::Stateless),
                    false => Err(Refusal::Version(self.id(), shown(&body))),
                }
            }
        }
    }

    fn version_in_body(&self) -> Result<Option<Value<'_>>, Refusal> {
        let unreadable = |why| Refusal::Unreadable(self.id(), why);
        let params = self.params.map(|params| params.known(["_meta"])).transpose();
        let meta = params.map_err(unreadable)?.and_then(|params| params.get("_meta"));
        let Some(meta) = meta.and_then(Value::as_object) else { return Ok(None) };
        Ok(meta.known([VERSION_IN_META]).map_err(unreadable)?.get(VERSION_IN_META))
    }

    /// Whether the headers of a stateless request say what its body says.
    pub(crate) fn must_agree(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if text(headers, &METHOD) != Some(self.method) {
            return Err(Refusal::Mismatch(self.id(), "Mcp-Method"));
        }
        let unreadable = |why| Refusal::Unreadable(self.id(), why);
        let Some(member) = named_by(self.method) else { return Ok(()) };
        let params = self.params.map(|params| params.known(["name", "uri", "taskId"])).transpose();
        let named = params.map_err(unreadable)?.and_then(|params| params.get(member)?.as_str());
        // A body that lacks what the method asks for is refused further on, in clearer words.
        let Some(named) = named else { return Ok(()) };
        match text(headers, &NAME).and_then(decoded).is_some_and(|name| *name == *named) {
            true => Ok(()),
            false => Err(Refusal::Mismatch(self.id(), "Mcp-Name")),
        }
    }
}

/// The parameter that `Mcp-Name` repeats.
fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// What a header means: `=?base64?…?=` is text that a header could not hold.
fn decoded(value: &str) -> Option<String> {
    let encoded = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
    match encoded {
        Some(encoded) => String::from_utf8(Base64::decode_vec(encoded).ok()?).ok(),
        None => Some(value.trim().to_owned()),
    }
}

fn shown(version: &str) -> String {
    version.chars().take(32).collect()
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

    #[test]
    fn a_name_may_be_encoded() {
        assert_eq!(decoded("=?base64?w6k=?="), Some("é".to_owned()));
        assert_eq!(decoded(" echo "), Some("echo".to_owned()));
        assert_eq!(decoded("=?base64?!?="), None);
    }
}
