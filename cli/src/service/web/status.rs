//! OCSP over HTTP (RFC 6960 appendix A).

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use vouchsafe_certs::ocsp::NoAnswer;

use super::Site;
use super::answer::{blocking, of, refusal};
use super::asked::{has_content_type, question_in};
use crate::notice::say;

const RESPONSE: &str = "application/ocsp-response";

/// RFC 6960 §A.1: the question is the body.
pub(super) async fn posted(site: Arc<Site>, request: Request<Bytes>) -> Response<Bytes> {
    if !has_content_type(request.headers(), "application/ocsp-request") {
        let said = "an OCSP request has the content type application/ocsp-request";
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, said);
    }
    let question = request.into_body();
    blocking(move || answer(&site, &question)).await
}

/// RFC 6960 §A.1: the question is at the end of the path.
pub(super) async fn got(site: Arc<Site>, encoded: &str) -> Response<Bytes> {
    let question = question_in(encoded).unwrap_or_default();
    blocking(move || answer(&site, &question)).await
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
