//! OCSP over HTTP (RFC 6960 appendix A).

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use vouchsafe_certs::ocsp::NoAnswer;

use super::Site;
use super::answer::{blocking, of, refusal};
use super::est::has_content_type;
use crate::notice::say;

const RESPONSE: &str = "application/ocsp-response";

/// Longer questions are sent by POST (RFC 5019 §5: GET is for less than 255 octets).
const MAX_PATH: usize = 2 * 1024;

/// RFC 6960 §A.1: the question is the body.
pub(super) async fn posted(site: Arc<Site>, request: Request<Bytes>) -> Response<Bytes> {
    if !has_content_type(&request, "application/ocsp-request") {
        let said = "an OCSP request has the content type application/ocsp-request";
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, said);
    }
    let question = request.into_body();
    blocking(move || answer(&site, &question)).await
}

/// RFC 6960 §A.1: the question is base64 at the end of the path, `/`, `+` and `=` escaped or not.
pub(super) async fn got(site: Arc<Site>, encoded: &str) -> Response<Bytes> {
    let question = question_in(encoded).unwrap_or_default();
    blocking(move || answer(&site, &question)).await
}

fn question_in(encoded: &str) -> Option<Vec<u8>> {
    const ESCAPES: [(&str, &str); 6] =
        [("%2F", "/"), ("%2f", "/"), ("%2B", "+"), ("%2b", "+"), ("%3D", "="), ("%3d", "=")];
    if encoded.len() > MAX_PATH {
        return None;
    }
    let unescape = |text: String, (escaped, plain): (&str, &str)| text.replace(escaped, plain);
    Base64::decode_vec(&ESCAPES.into_iter().fold(encoded.to_owned(), unescape)).ok()
}

fn answer(site: &Site, question: &[u8]) -> Response<Bytes> {
    match site.responder.answer(&site.authority, question) {
        Ok(answer) => of(RESPONSE, answer),
        Err(error) => {
            say(&format!("WARNING: an OCSP request failed: {error}"));
            of(RESPONSE, NoAnswer::InternalError.to_der().to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_in_paths_may_be_escaped() {
        for path in ["+/+/AA==", "%2B%2F%2b%2fAA%3D%3d"] {
            assert_eq!(question_in(path).unwrap(), [0xfb, 0xff, 0xbf, 0x00]);
        }
        assert_eq!(question_in("%41AAA"), None);
        assert_eq!(question_in(&"A".repeat(MAX_PATH + 4)), None);
    }
}
