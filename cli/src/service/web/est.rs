//! EST (RFC 7030, with the corrections of RFC 8951): enrolment and renewal as other programs know them.
//!
//! An invitation is an HTTP credential: its id is the user, its secret the password. A renewal needs
//! none: the certificate that is renewed has been shown in the TLS handshake.

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use rustls_pki_types::CertificateDer;
use tokio::sync::OwnedSemaphorePermit;
use vouchsafe_ca::{Error, Issued, Pending};
use vouchsafe_certs::{
    Certificate, CertificateError, CertificateRequest, RequestError, certs_only,
};
use vouchsafe_transport::Caller;

use super::Site;
use super::answer::{failed, of, recorded, refusal, unauthorized};
use super::asked::{Credential, decoded, has_content_type};

/// RFC 7030 §4.2.3.
const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";

/// CsrAttrs (RFC 7030 §4.5.2): a key on P-256, and a request that it signs with SHA-256. P-384 and
/// Ed25519 are taken as well, but there is no way to say "or".
///
/// ```text
/// SEQUENCE { SEQUENCE { id-ecPublicKey, SET { secp256r1 } }, ecdsa-with-SHA256 }
/// ```
const ATTRIBUTES: &[u8] = &[
    0x30, 0x21, 0x30, 0x15, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x31, 0x0a, 0x06,
    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x04, 0x03, 0x02,
];

/// Base64, as every body is in EST; in one line, for some clients read no others (RFC 8951 §3.1).
fn encoded(content_type: &'static str, der: &[u8]) -> Response<Bytes> {
    let mut response = of(content_type, Base64::encode_string(der));
    // RFC 8951 §3.1 takes this back, but clients older than it ask for it.
    let name = HeaderName::from_static("content-transfer-encoding");
    response.headers_mut().insert(name, HeaderValue::from_static("base64"));
    response
}

fn bag<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Result<Response<Bytes>, CertificateError> {
    Ok(encoded(CERTS_ONLY, &certs_only::pack(certificates)?))
}

/// `cacerts` (RFC 7030 §4.1): every CA that certificates may lead through, and every root.
pub(super) fn ca_certificates(site: &Site) -> Response<Bytes> {
    let lists = site.authority.lists();
    let roots = match site.authority.roots() {
        Ok(roots) => roots,
        Err(error) => return failed(&error),
    };
    bag(lists.issuing().chain(&roots)).unwrap_or_else(|error| failed(&error.into()))
}

/// `csrattrs` (RFC 7030 §4.5).
pub(super) fn attributes() -> Response<Bytes> {
    encoded("application/csrattrs", ATTRIBUTES)
}

/// `simpleenroll` (RFC 7030 §4.2).
pub(super) async fn enroll(site: Arc<Site>, request: Request<Bytes>) -> Response<Bytes> {
    let Some(credential) = Credential::shown(request.headers()) else {
        return unauthorized("show an invitation: its id as the user, its secret as the password");
    };
    let work = move |site: &Site, request: &CertificateRequest| {
        site.authority.begin_enroll(&credential.id, &credential.secret, request)
    };
    issue(site, &request, work).await
}

/// `simplereenroll` (RFC 7030 §4.2.2). Whose certificate is renewed, the TLS handshake has proven.
pub(super) async fn reenroll(
    site: Arc<Site>,
    caller: Caller,
    request: Request<Bytes>,
) -> Response<Bytes> {
    let Some(peer) = caller.peer else {
        let said = "a renewal needs mutual TLS with the certificate that is to be renewed";
        return recorded(StatusCode::FORBIDDEN, said);
    };
    let work = move |site: &Site, request: &CertificateRequest| {
        site.authority.begin_renew(&Certificate::from_der(peer.certificate())?, request)
    };
    issue(site, &request, work).await
}

/// A request to be certified, and its place among those that are.
struct Asked<W> {
    der: Vec<u8>,
    work: W,
    _place: OwnedSemaphorePermit,
}

async fn issue<W>(site: Arc<Site>, request: &Request<Bytes>, work: W) -> Response<Bytes>
where
    W: Fn(&Site, &CertificateRequest) -> Result<Pending<Issued>, Error> + Send + Sync + 'static,
{
    if !has_content_type(request.headers(), "application/pkcs10") {
        let said = "a certificate request has the content type application/pkcs10";
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, said);
    }
    let Some(der) = decoded(request.body()) else {
        return recorded(StatusCode::BAD_REQUEST, "the certificate request is not base64");
    };
    let Ok(place) = Arc::clone(&site.enrolling).try_acquire_owned() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "the CA is busy; try again");
    };
    let asked = Arc::new(Asked { der, work, _place: place });
    let answer = match ask(&site, &asked).await {
        // Another request came in between; what it has changed decides.
        Err(NotIssued::Refused(error)) if error.is_overtaken() => ask(&site, &asked).await,
        answer => answer,
    };
    answer.unwrap_or_else(NotIssued::into_response)
}

/// Why there is no certificate.
enum NotIssued {
    Request(RequestError),
    Refused(Error),
    Panicked,
}

impl NotIssued {
    fn into_response(self) -> Response<Bytes> {
        match self {
            Self::Request(error) => recorded(StatusCode::BAD_REQUEST, &error.to_string()),
            Self::Refused(error) => failed(&error),
            Self::Panicked => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the CA could not do it"),
        }
    }
}

impl From<Error> for NotIssued {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Signs on a thread that does nothing else, and waits for the disk on none.
async fn ask<W>(site: &Arc<Site>, asked: &Arc<Asked<W>>) -> Result<Response<Bytes>, NotIssued>
where
    W: Fn(&Site, &CertificateRequest) -> Result<Pending<Issued>, Error> + Send + Sync + 'static,
{
    let issued = {
        let (site, asked) = (Arc::clone(site), Arc::clone(asked));
        async move {
            let request = CertificateRequest::from_der(&asked.der).map_err(NotIssued::Request)?;
            let begun = (asked.work)(&site, &request)?;
            // RFC 7030 §4.2.3: the certificate that was issued, and no other.
            let answer = begun.map(|issued| bag(issued.chain.first()));
            Ok(answer.settled().await?.map_err(Error::from)?)
        }
    };
    site.signers.run(issued).await.unwrap_or(Err(NotIssued::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_base64_in_one_line() {
        assert_eq!(encoded("text/plain", &[1, 2, 3]).body(), "AQID");
    }
}
