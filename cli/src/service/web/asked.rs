//! What a request says, read from its octets alone. Nothing here knows the CA: strangers write all of
//! it, so the fuzz targets read it too.

use base64ct::{Base64, Encoding};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH};
use zeroize::Zeroizing;

/// RFC 7240 §2.
const PREFER: &str = "prefer";

/// A request for lists is held no longer than this, whatever it prefers.
pub(super) const LONGEST_WAIT: u64 = 60;

/// Longer questions are sent by POST (RFC 5019 §5: GET is for less than 255 octets).
const MAX_PATH: usize = 2 * 1024;

/// Whether a body is said to be of a type; its parameters do not count.
pub(super) fn has_content_type(headers: &HeaderMap, expected: &str) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.split(';').next());
    said.is_some_and(|said| said.trim().eq_ignore_ascii_case(expected))
}

/// RFC 8951 §3.1: white space may stand anywhere in it.
pub(super) fn decoded(body: &[u8]) -> Option<Vec<u8>> {
    let is_letter = |byte: &u8| !byte.is_ascii_whitespace();
    let letters: Vec<u8> = body.iter().copied().filter(is_letter).collect();
    Base64::decode_vec(std::str::from_utf8(&letters).ok()?).ok()
}

/// What HTTP Basic authentication shows (RFC 7617 §2).
pub(super) struct Credential {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
}

impl Credential {
    pub(super) fn shown(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let octets = Zeroizing::new(Base64::decode_vec(encoded.trim()).ok()?);
        let (id, secret) = std::str::from_utf8(&octets).ok()?.split_once(':')?;
        Some(Self { id: id.to_owned(), secret: Zeroizing::new(secret.to_owned()) })
    }
}

/// RFC 6960 §A.1: an OCSP question is base64 at the end of the path, `/`, `+` and `=` escaped or not.
pub(super) fn question_in(encoded: &str) -> Option<Vec<u8>> {
    const ESCAPES: [(&str, &str); 6] =
        [("%2F", "/"), ("%2f", "/"), ("%2B", "+"), ("%2b", "+"), ("%3D", "="), ("%3d", "=")];
    if encoded.len() > MAX_PATH {
        return None;
    }
    let unescape = |text: String, (escaped, plain): (&str, &str)| text.replace(escaped, plain);
    Base64::decode_vec(&ESCAPES.into_iter().fold(encoded.to_owned(), unescape)).ok()
}

/// RFC 9110 §13.1.2: weak comparison, and `*` matches whatever there is.
pub(super) fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let named = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    let mut tags = named.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
    })
}

/// RFC 7240 §4.3: in seconds, as many as are granted.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<u64> {
    let preferences = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    preferences
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map(|seconds: u64| seconds.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_credential_is_read_and_nothing_else_taken_for_one() {
        let read = |value| Credential::shown(&one(AUTHORIZATION, value));
        // "id:a:b": a password may hold colons, a user may not.
        let credential = read("bAsIc aWQ6YTpi").unwrap();
        assert_eq!((credential.id.as_str(), credential.secret.as_str()), ("id", "a:b"));
        for wrong in ["", "Basic", "Basic !", "Bearer aWQ6YTpi", "Basic aWQ=", "Basic //8="] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_content_type_may_have_parameters() {
        let is = |value| has_content_type(&one(CONTENT_TYPE, value), "application/pkcs10");
        assert!(is("application/pkcs10") && is("Application/PKCS10 ; charset=x"));
        assert!(!is("application/pkcs10x") && !is("") && !is("text/plain"));
    }

    #[test]
    fn bodies_are_base64_in_any_number_of_lines() {
        assert_eq!(decoded(b" AQ\r\nID \n").unwrap(), [1, 2, 3]);
        for wrong in [&b"AQI"[..], b"AQ!D", b"-----BEGIN CERTIFICATE REQUEST-----", b"\xff"] {
            assert!(decoded(wrong).is_none());
        }
    }

    #[test]
    fn questions_in_paths_may_be_escaped() {
        for path in ["+/+/AA==", "%2B%2F%2b%2fAA%3D%3d"] {
            assert_eq!(question_in(path).unwrap(), [0xfb, 0xff, 0xbf, 0x00]);
        }
        assert_eq!(question_in("%41AAA"), None);
        assert_eq!(question_in(&"A".repeat(MAX_PATH + 4)), None);
    }

    #[test]
    fn what_one_has_already_is_recognised() {
        let etag = HeaderValue::from_static("\"a\"");
        for values in [&["\"a\""][..], &["\"b\", \"a\""], &["\"b\"", "W/\"a\""], &["*"]] {
            assert!(matches(&headers("if-none-match", values), &etag), "{values:?}");
        }
        for values in [&[][..], &["\"b\""], &["a"], &[""]] {
            assert!(!matches(&headers("if-none-match", values), &etag), "{values:?}");
        }
    }

    #[test]
    fn a_wait_is_asked_for_in_many_ways_and_bounded() {
        for (values, wait) in [
            (&["wait=30"][..], Some(30)),
            (&["respond-async, Wait=\"10\"; x=y"], Some(10)),
            (&["respond-async", "wait = 5"], Some(5)),
            (&["wait=100000"], Some(LONGEST_WAIT)),
            (&["wait=-1"], None),
            (&["wait"], None),
            (&[], None),
        ] {
            assert_eq!(preferred_wait(&headers(PREFER, values)), wait, "{values:?}");
        }
    }
}
