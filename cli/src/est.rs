//! The CA's EST service (RFC 7030), as devices ask it: `enroll` and `renew` speak what any other EST
//! client speaks.

use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use vouchsafe_ca::{SERVICE_NAME, pem};
use vouchsafe_certs::{
    CaCertificate, Certificate, CertificateError, CertificateRequest, Fingerprint, KeyError,
    Principal, PrivateKey, certs_only,
};
use vouchsafe_transport::{
    Anchor, Exchange, FetchError, FetchLimits, Fetcher, Identity, IdentityError, TlsError,
};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::invitation::Invitation;
use crate::keyfile::Papers;
use crate::notice::harmless;
use crate::output::{date, span};

/// Clocks that differ by less harm nobody: certificates are backdated by as much.
const TOLERABLE: Duration = Duration::from_secs(60);

/// Why there is no certificate.
#[derive(Debug, Error)]
pub(crate) enum EstError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0}")]
    NotTheCa(#[from] NotTheCa),
    /// The CA says no.
    #[error("{said}")]
    Refused { status: StatusCode, said: String, hint: Option<String> },
    /// The CA does not now, and says when to come back.
    #[error("{said}")]
    Later { said: String, after: Duration },
    /// The CA cannot now.
    #[error("the CA answers {status}: {said}")]
    Busy { status: StatusCode, said: String },
    #[error("what the CA sent is no certificate: {0}")]
    Certificate(#[from] CertificateError),
    #[error("what the CA sent makes no identity: {0}")]
    Identity(#[from] IdentityError),
    #[error("the CA did not send the certificate of its issuing CA")]
    NoChain,
    /// Two clocks that differ.
    #[error("this machine's clock is {} {} the CA's, which shows {}", span(*.by), .way, date(*.theirs))]
    Clock { by: Duration, way: &'static str, theirs: UnixTime },
}

impl EstError {
    /// Whether the connection broke off, and the same question may have its answer at once.
    pub(crate) fn is_broken_off(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_broken_off())
    }

    /// Whether asking again cannot help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::NotTheCa(_) => true,
            Self::Fetch(error) => {
                matches!(error, FetchError::WrongRoot(_) | FetchError::Refused { .. })
            }
            _ => false,
        }
    }
}

impl From<EstError> for Failure {
    fn from(error: EstError) -> Self {
        let said = harmless(&error.to_string());
        match error {
            EstError::Refused { hint: Some(hint), .. } => Self::new(said).hint(harmless(&hint)),
            EstError::Fetch(FetchError::WrongRoot(_)) => Self::new(said)
                .hint("ask for a new invitation; somebody may stand between you and the CA"),
            EstError::Fetch(FetchError::Unreachable { .. } | FetchError::TooSlow(_)) => {
                Self::unreachable(said)
                    .hint("see that the CA is running and that the address is right")
            }
            EstError::Fetch(FetchError::Refused { .. }) => Self::new(said).hint(
                "the CA's audit says why; a copy of this identity may be in use elsewhere. To go on, enrol anew",
            ),
            EstError::Later { after, .. } => {
                Self::unreachable(said).hint(format!("try again in {}", span(after)))
            }
            EstError::Busy { .. } => Self::unreachable(said).hint("try again in a moment"),
            EstError::Clock { .. } => Self::new(said).hint("set the clock right, then try again"),
            _ => Self::new(said),
        }
    }
}

/// Some other server of the same trust domain.
#[derive(Debug, Error)]
#[error("the server there is {0}, not the CA")]
pub(crate) struct NotTheCa(String);

/// Whether this is the CA of somebody's trust domain. Whoever has nothing but an invitation is told none:
/// then it is that of the pinned root, which vouches for one alone.
pub(crate) fn is_the_ca(shown: &Principal, of: Option<&Principal>) -> bool {
    shown.name() == SERVICE_NAME && of.is_none_or(|of| of.trust_domain() == shown.trust_domain())
}

/// Makes sure that it is the CA that answers: that of the trust domain in which somebody is.
pub(crate) fn must_be_the_ca(exchange: &Exchange, of: Option<&Principal>) -> Result<(), NotTheCa> {
    let shown = exchange.chain().first().map(|der| Certificate::from_der(der));
    match shown {
        Some(Ok(shown)) if is_the_ca(&shown.principal, of) => Ok(()),
        Some(Ok(other)) => Err(NotTheCa(other.principal.to_string())),
        Some(Err(_)) | None => Err(NotTheCa("somebody else".to_owned())),
    }
}

/// A connection to the CA's EST service.
pub(crate) struct Est {
    exchange: Exchange,
}

impl Est {
    /// Connects to the CA that an invitation names, by the name that its certificate must carry. Nothing
    /// is trusted but the root that the invitation pins.
    pub(crate) async fn invited(
        invitation: &Invitation,
        name: &ServerName<'static>,
    ) -> Result<Self, EstError> {
        let error = match Self::pinned(invitation, name, Arc::new(DefaultTimeProvider)).await {
            Ok(est) => return Ok(est),
            Err(error) => error,
        };
        if let EstError::Fetch(FetchError::Dates { bound, .. }) = &error {
            // By how much the two clocks differ, the CA says, if its certificate is judged as of a
            // second in which it was valid. Nothing secret is sent to it meanwhile.
            let mut probe = Self::pinned(invitation, name, Arc::new(At(*bound))).await?;
            compare_clocks(&probe.get("/healthz").await?)?;
        }
        Err(error)
    }

    async fn pinned(
        invitation: &Invitation,
        name: &ServerName<'static>,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, EstError> {
        let anchor = Anchor::Pin { root: invitation.root, clock };
        let (address, limits) = (&invitation.address, FetchLimits::default());
        let fetcher = Fetcher::new(address, name.clone(), &anchor, None, limits)?;
        Self::open(&fetcher, None).await
    }

    /// Connects, and makes sure that it is the CA that answers, of this principal's trust domain.
    pub(crate) async fn open(fetcher: &Fetcher, of: Option<&Principal>) -> Result<Self, EstError> {
        let exchange = fetcher.open().await?;
        must_be_the_ca(&exchange, of)?;
        Ok(Self { exchange })
    }

    /// `simpleenroll` with an invitation.
    pub(crate) async fn enroll(
        &mut self,
        invitation: &Invitation,
        key: &PrivateKey,
    ) -> Result<Papers, EstError> {
        let credential = Zeroizing::new(format!("{}:{}", invitation.id, *invitation.secret));
        let encoded = Zeroizing::new(Base64::encode_string(credential.as_bytes()));
        let value = HeaderValue::try_from(format!("Basic {}", *encoded)).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        let mut request = certificate_request("/.well-known/est/simpleenroll", key)?;
        // Base64 can always stand in a header.
        request.headers_mut().extend(value.ok().map(|value| (AUTHORIZATION, value)));
        let papers = self.certified(request, key).await?;
        let pinned = |root: &CertificateDer<'_>| Fingerprint::of(root) == invitation.root;
        match papers.roots.iter().any(pinned) {
            true => Ok(papers.into()),
            false => Err(EstError::NoChain),
        }
    }

    /// `simplereenroll`, with the certificate that the connection has shown.
    pub(crate) async fn reenroll(&mut self, key: &PrivateKey) -> Result<Papers, EstError> {
        let request = certificate_request("/.well-known/est/simplereenroll", key)?;
        Ok(self.certified(request, key).await?.into())
    }

    async fn certified(
        &mut self,
        request: Request<Bytes>,
        key: &PrivateKey,
    ) -> Result<Certified, EstError> {
        // The chain first: a certificate that was issued shall not be lost to a second request.
        let answer = self.get("/.well-known/est/cacerts").await?;
        compare_clocks(&answer)?;
        let authorities = bag(&answer)?;
        let answer = good(self.exchange.send(request).await?)?;
        let leaf = bag(&answer)?.into_iter().next().ok_or(EstError::NoChain)?;
        Certified::assemble(leaf, authorities, key)
    }

    async fn get(&mut self, path: &'static str) -> Result<Response<Bytes>, EstError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = hyper::Uri::from_static(path);
        good(self.exchange.send(request).await?)
    }
}

/// RFC 9110 §6.6.1: an answer says when it was made.
fn compare_clocks(answer: &Response<Bytes>) -> Result<(), EstError> {
    let theirs = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let theirs = theirs.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
    let theirs = theirs.and_then(|date| u64::try_from(date.unix_timestamp()).ok());
    let ours = DefaultTimeProvider.current_time().map(|now| now.as_secs());
    let (Some(theirs), Some(ours)) = (theirs, ours) else { return Ok(()) };
    let by = Duration::from_secs(theirs.abs_diff(ours));
    if by <= TOLERABLE {
        return Ok(());
    }
    let way = if ours < theirs { "behind" } else { "ahead of" };
    let theirs = UnixTime::since_unix_epoch(Duration::from_secs(theirs));
    Err(EstError::Clock { by, way, theirs })
}

/// A clock that shows one second for ever.
#[derive(Debug)]
struct At(UnixTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

fn certificate_request(path: &'static str, key: &PrivateKey) -> Result<Request<Bytes>, EstError> {
    let der = CertificateRequest::prove(key)?;
    let mut request = Request::new(Bytes::from(Base64::encode_string(&der)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = hyper::Uri::from_static(path);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/pkcs10"));
    Ok(request)
}

/// An answer that says what was asked for; any other says why not, and perhaps what to do next.
fn good(answer: Response<Bytes>) -> Result<Response<Bytes>, EstError> {
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let mut lines = text.lines().map(ToOwned::to_owned);
    let said = lines.next().unwrap_or_else(|| status.to_string());
    let may_change = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    // RFC 9110 §10.2.3; a date instead of seconds would be by a clock that may be another.
    let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok());
    let after = after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    if let (StatusCode::TOO_MANY_REQUESTS, Some(after)) = (status, after) {
        return Err(EstError::Later { said, after });
    }
    Err(match may_change {
        true => EstError::Busy { status, said },
        false => EstError::Refused { status, said, hint: lines.next() },
    })
}

fn bag(answer: &Response<Bytes>) -> Result<Vec<CertificateDer<'static>>, EstError> {
    let is_letter = |byte: &u8| !byte.is_ascii_whitespace();
    let letters = answer.body().iter().copied().filter(is_letter).collect();
    let der = String::from_utf8(letters).ok().and_then(|text| Base64::decode_vec(&text).ok());
    Ok(certs_only::unpack(&der.ok_or(CertificateError::Malformed)?)?)
}

/// What the CA has certified, put in order.
struct Certified {
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
}

impl Certified {
    /// Sorts what came: the leaf, the CA that issued it, the roots.
    fn assemble(
        leaf: CertificateDer<'static>,
        authorities: Vec<CertificateDer<'static>>,
        key: &PrivateKey,
    ) -> Result<Self, EstError> {
        let issuer = Certificate::from_der(&leaf)?.issuer;
        let (mut chain, mut roots) = (vec![leaf], Vec::new());
        for der in authorities {
            let authority = CaCertificate::from_der(&der)?;
            if authority.issuer.is_none() {
                roots.push(der);
            } else if authority.id == issuer {
                chain.push(der);
            }
        }
        let certified = Self { chain, roots };
        let Papers { certificate, roots } = Papers::from(&certified);
        // A copy of the key, so that what is written is known to make an identity.
        let key = PrivateKey::from_pem(&key.to_pem())?;
        Identity::with_key(certificate.as_bytes(), key, roots.as_bytes())?;
        Ok(certified)
    }
}

impl From<&Certified> for Papers {
    fn from(certified: &Certified) -> Self {
        Self {
            certificate: pem::certificates(&certified.chain),
            roots: pem::certificates(&certified.roots),
        }
    }
}

impl From<Certified> for Papers {
    fn from(certified: Certified) -> Self {
        Self::from(&certified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(seconds_from_now: i64) -> Response<Bytes> {
        let now = DefaultTimeProvider.current_time().unwrap().as_secs();
        let at = i64::try_from(now).unwrap() + seconds_from_now;
        let date = OffsetDateTime::from_unix_timestamp(at).unwrap().format(&Rfc2822).unwrap();
        // HTTP names the zone in another way (RFC 9110 §5.6.7).
        let date = date.replace("+0000", "GMT");
        Response::builder().header(DATE, date).body(Bytes::new()).unwrap()
    }

    #[test]
    fn two_clocks_that_differ_are_told_apart() {
        for tolerable in [0, 50, -50] {
            compare_clocks(&answer(tolerable)).unwrap();
        }
        compare_clocks(&Response::new(Bytes::new())).unwrap();
        for (theirs, said) in [
            (7_200, "this machine's clock is 2 hours behind the CA's"),
            (-3 * 86_400, "this machine's clock is 3 days ahead of the CA's"),
        ] {
            let error = compare_clocks(&answer(theirs)).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
