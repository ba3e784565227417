//! HTTP/1.1 to one server, which proves itself by a certificate of our own CA: how gateways follow
//! the CA, and how devices enrol and renew. Or by one of the web's: whoever is told of alerts.
//!
//! One request after another over one connection; every wait and every octet has a limit, and
//! nothing is followed: no redirects, no cookies, no proxies, no compression.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vouchsafe_certs::Fingerprint;

use crate::acceptor::configure;
use crate::connector::{in_words, refusal_in};
use crate::http::Cause;
use crate::{ConnectError, Denial, Identity, Peer, Role, TlsError, Trust, tls};

/// Octets that are read at once, and of an answer's whole head.
const BUFFER: usize = 64 * 1024;

/// For a connection that has failed to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Header fields of an answer.
const MAX_HEADERS: usize = 64;

/// By what the server is known.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Anchor {
    /// Its chain leads to a root that is trusted, and [`Trust`] finds nothing against it.
    Trust(Trust),
    /// Its chain leads to this root, which the server shows. Nothing else is known yet.
    Pin {
        /// SHA-256 of the root's certificate.
        root: Fingerprint,
        /// By which its dates are judged.
        clock: Arc<dyn TimeProvider>,
    },
    /// Its chain leads to one of these roots, which are of the web and not ours.
    Web {
        /// Such as the system's.
        roots: Vec<CertificateDer<'static>>,
        /// By which its dates are judged.
        clock: Arc<dyn TimeProvider>,
    },
}

/// How much of everything one answer may cost.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct FetchLimits {
    /// From the first octet of TCP to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first octet of the request to the end of the answer's head.
    pub head: Duration,
    /// From there to the end of the answer's body.
    pub body: Duration,
    /// Octets of the answer's body.
    pub body_len: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            body: Duration::from_secs(30),
            body_len: 1024 * 1024,
        }
    }
}

/// Why there is no answer. What an answer says, an error status for instance, is the caller's to judge.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nobody answers there.
    #[error("{address} cannot be reached: {error}")]
    Unreachable {
        /// The address as it was given.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The handshake or the answer took too long.
    #[error("{0} did not answer in time")]
    TooSlow(String),
    /// Its chain does not lead to the pinned root.
    #[error("the certificate of {0} is not from the CA whose root is pinned")]
    WrongRoot(String),
    /// Its dates do not fit this machine's clock.
    #[error("the certificate of {address} is refused: {denial}, by this machine's clock")]
    Dates {
        /// The address as it was given.
        address: String,
        /// [`Denial::Expired`] or [`Denial::NotYetValid`].
        denial: Denial,
        /// The second of validity that the clock has missed by least.
        bound: UnixTime,
    },
    /// The connection broke off before the answer was whole.
    #[error("{address} broke off: {reason}")]
    Broken {
        /// The address as it was given.
        address: String,
        /// Why.
        reason: String,
    },
    /// The answer has more octets than it may.
    #[error("the answer of {address} is longer than {limit} octets")]
    TooLong {
        /// The address as it was given.
        address: String,
        /// [`FetchLimits::body_len`].
        limit: usize,
    },
    /// The server refuses us.
    #[error("{address} refused this identity: {reason}")]
    Refused {
        /// The address as it was given.
        address: String,
        /// In words.
        reason: &'static str,
    },
    /// We refuse the server.
    #[error("{address} is not trusted: {denial}")]
    Denied {
        /// The address as it was given.
        address: String,
        /// Why.
        denial: Denial,
    },
}

impl FetchError {
    /// Whether there was a connection and it broke off, in the handshake or later: another may hold. Where
    /// nobody listens, or somebody refuses, there was none.
    #[must_use]
    pub fn is_broken_off(&self) -> bool {
        match self {
            Self::Broken { .. } => true,
            Self::Unreachable { error, .. } => matches!(
                error.kind(),
                ErrorKind::UnexpectedEof
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }
}

/// The way to one server.
pub struct Fetcher {
    address: String,
    name: ServerName<'static>,
    /// `None` for a server on this machine.
    tls: Option<TlsConnector>,
    /// `None` where the anchor is another.
    trust: Option<Trust>,
    is_pinned: bool,
    limits: FetchLimits,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetcher({})", self.address)
    }
}

impl Fetcher {
    /// To the server at `address` (`host:port`), whose certificate must carry `name` and lead to the
    /// `anchor`. `identity` is shown to it if it asks for one.
    ///
    /// # Errors
    /// [`TlsError`] if the identity or the roots cannot be used.
    pub fn new(
        address: &str,
        name: ServerName<'static>,
        anchor: &Anchor,
        identity: Option<&Identity>,
        limits: FetchLimits,
    ) -> Result<Self, TlsError> {
        // No later roots than those that the handshake goes by: a server is verified again under later ones.
        let trust = match anchor {
            Anchor::Trust(trust) => Some(trust.present()),
            Anchor::Pin { .. } | Anchor::Web { .. } => None,
        };
        let is_pinned = matches!(anchor, Anchor::Pin { .. });
        let tls = Some(TlsConnector::from(Arc::new(tls::http_config(identity, anchor)?)));
        Ok(Self { address: address.to_owned(), name, tls, trust, is_pinned, limits })
    }

    /// To a server on this machine, in the clear: `address` must be one of the loopback.
    #[must_use]
    pub fn without_tls(address: SocketAddr, limits: FetchLimits) -> Self {
        let name = ServerName::IpAddress(address.ip().into());
        let address = address.to_string();
        Self { address, name, tls: None, trust: None, is_pinned: false, limits }
    }

    /// Connects, asks once, and closes the connection.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        self.open().await?.send(request).await
    }

    /// Connects, to ask more than once.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn open(&self) -> Result<Exchange, FetchError> {
        let opening = async {
            let unreachable =
                |error| FetchError::Unreachable { address: self.address.clone(), error };
            let tcp = TcpStream::connect(&self.address).await.map_err(unreachable)?;
            configure(&tcp).map_err(unreachable)?;
            let Some(tls) = &self.tls else { return Ok(Opened::Plain(tcp)) };
            let stream = tls.connect(self.name.clone(), tcp).await;
            let stream = stream.map_err(|error| self.handshake_error(error))?;
            Ok(Opened::Tls(Box::new(stream)))
        };
        match within(self.limits.handshake, &self.address, opening).await? {
            Opened::Plain(stream) => self.exchange(stream, Vec::new()).await,
            Opened::Tls(stream) => {
                let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let chain = shown.iter().map(|der| der.clone().into_owned()).collect();
                self.exchange(stream, chain).await
            }
        }
    }

    /// Begins to speak HTTP with a server that has shown this chain.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<Exchange, FetchError> {
        let judged = self.judged(&chain)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER).max_headers(MAX_HEADERS);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&self.address, &error))?;
        let driver = tokio::spawn(async move { connection.await.err() });
        let (address, limits, abort) = (self.address.clone(), self.limits, driver.abort_handle());
        Ok(Exchange { address, limits, chain, judged, sender, driver: Some(driver), abort })
    }

    /// The server and the trust by which it was let through, so that it can be judged again.
    fn judged(&self, chain: &[CertificateDer<'_>]) -> Result<Option<(Trust, Peer)>, FetchError> {
        let (Some(trust), Some((leaf, above))) = (&self.trust, chain.split_first()) else {
            return Ok(None);
        };
        match Peer::from_chain(leaf, above, trust.roots(), Role::Server) {
            Ok(server) => Ok(Some((trust.clone(), server))),
            Err(denial) => Err(FetchError::Denied { address: self.address.clone(), denial }),
        }
    }

    fn handshake_error(&self, error: io::Error) -> FetchError {
        let address = self.address.clone();
        let refusal = refusal_in(&error);
        if let (Some(ConnectError::Denied(denial)), Some(bound)) = (&refusal, missed(&error)) {
            return FetchError::Dates { address, denial: denial.clone(), bound };
        }
        match refusal {
            Some(ConnectError::Denied(Denial::UntrustedIssuer)) if self.is_pinned => {
                FetchError::WrongRoot(address)
            }
            Some(refusal) => refused(address, refusal),
            None => FetchError::Unreachable { address, error },
        }
    }
}

/// A connection, before HTTP.
enum Opened {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Which second of a certificate's validity the clock has missed, if that is what the matter is.
fn missed(error: &io::Error) -> Option<UnixTime> {
    use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(ExpiredContext { not_after, .. }) => Some(*not_after),
        rustls::Error::InvalidCertificate(NotValidYetContext { not_before, .. }) => {
            Some(*not_before)
        }
        _ => None,
    }
}

fn refused(address: String, refusal: ConnectError) -> FetchError {
    match refusal {
        ConnectError::Refused(alert) => FetchError::Refused { address, reason: in_words(alert) },
        ConnectError::Denied(denial) => FetchError::Denied { address, denial },
        other => FetchError::Broken { address, reason: other.to_string() },
    }
}

/// A connection on which one request follows another.
#[derive(Debug)]
pub struct Exchange {
    address: String,
    limits: FetchLimits,
    chain: Vec<CertificateDer<'static>>,
    judged: Option<(Trust, Peer)>,
    sender: SendRequest<Full<Bytes>>,
    /// Moves the octets, and knows in the end what went wrong.
    driver: Option<JoinHandle<Option<hyper::Error>>>,
    abort: AbortHandle,
}

impl Exchange {
    /// What the server showed: its certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Asks, and reads the whole answer. The request names a path; `Host` is filled in. The server is
    /// judged anew before each request: lists may have come since that name it.
    ///
    /// # Errors
    /// See [`FetchError`]. After an error, or an answer with `Connection: close`, the connection is of no more use.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        self.send_for(request, Duration::ZERO).await
    }

    /// Asks something that the server may sit on for so long before it answers (RFC 7240 §4.3).
    ///
    /// # Errors
    /// As [`Exchange::send`].
    pub async fn send_for(
        &mut self,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<Response<Bytes>, FetchError> {
        if let Some((trust, server)) = &mut self.judged {
            let address = self.address.clone();
            trust.judge(server).map_err(|denial| FetchError::Denied { address, denial })?;
        }
        let (mut parts, body) = request.into_parts();
        if let Ok(host) = HeaderValue::from_str(&self.address) {
            parts.headers.entry(HOST).or_insert(host);
        }
        let request = Request::from_parts(parts, Full::new(body));
        let (address, deadline) = (self.address.clone(), patience + self.limits.head);
        let asking = async {
            let answer = match self.sender.ready().await {
                Ok(()) => self.sender.send_request(request).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => Ok(answer),
                Err(error) => Err(self.why(error).await),
            }
        };
        let answer = within(deadline, &address, asking).await?;
        let (parts, body) = answer.into_parts();
        let limit = self.limits.body_len;
        let too_long = || FetchError::TooLong { address: self.address.clone(), limit };
        // Where the head says how long the body is, it need not come first.
        if usize::try_from(body.size_hint().lower()).map_or(true, |len| len > limit) {
            return Err(too_long());
        }
        let reading = async {
            let read = Limited::new(body, limit).collect().await;
            read.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => too_long(),
                None => broken(&self.address, &*error),
            })
        };
        let body = within(self.limits.body, &self.address, reading).await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

impl Exchange {
    /// Why a request failed: where it was only told that the connection is gone, that knows more.
    async fn why(&mut self, error: hyper::Error) -> FetchError {
        let ended = match self.driver.take() {
            Some(driver) => timeout(LAST_WORDS, driver).await.ok().and_then(Result::ok).flatten(),
            None => None,
        };
        broken(&self.address, &ended.unwrap_or(error))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

async fn within<T>(
    limit: Duration,
    address: &str,
    work: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(FetchError::TooSlow(address.to_owned())))
}

fn broken(address: &str, error: &(dyn std::error::Error + 'static)) -> FetchError {
    let address = address.to_owned();
    match Cause::of(error) {
        Cause::Refused(refusal) => refused(address, refusal),
        Cause::Broken(reason) => FetchError::Broken { address, reason },
    }
}
