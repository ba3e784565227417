//! Connecting: a session to a gateway whose certificate was checked, or a clear reason why not.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, ClientConfig};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::acceptor::configure;
use crate::present::Present;
use crate::streamable::client;
use crate::{
    Denial, Endpoint, Identity, Limits, Peer, Role, Session, Stream, TlsError, Trust, tls,
};

/// How long a gateway may take to say that it refuses; it judges after the client thinks the handshake done.
const VERDICT: Duration = Duration::from_secs(2);

/// Why there is no session.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("{address} cannot be reached: {error}")]
    Unreachable {
        /// The address as it was given.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The handshake took too long.
    #[error("{0} did not finish the TLS handshake in time")]
    TooSlow(String),
    /// The gateway refuses us.
    #[error("the gateway refused this identity: {}", in_words(*.0))]
    Refused(AlertDescription),
    /// We refuse the gateway.
    #[error("the gateway is not trusted: {0}")]
    Denied(Denial),
    /// The address holds no name that a certificate could carry.
    #[error("{0} is neither a host name nor an IP address")]
    Name(String),
    /// The identity in force does not serve.
    #[error("{0}")]
    Identity(TlsError),
    /// The two sides do not speak the same protocol.
    #[error("the TLS handshake failed: {0}")]
    Tls(rustls::Error),
}

impl ConnectError {
    /// Whether trying again later would be in vain.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooSlow(_) => false,
            // A renewal mends the one. As for the other, the gateway does not tell its own troubles,
            // a list that has gone stale for instance.
            Self::Refused(alert) => !matches!(
                *alert,
                AlertDescription::CertificateExpired | AlertDescription::CertificateUnknown
            ),
            Self::Denied(denial) => !denial.may_pass(),
            Self::Name(_) | Self::Identity(_) | Self::Tls(_) => true,
        }
    }
}

/// Opens sessions to one gateway.
pub struct Connector {
    way: Arc<Way>,
    /// Where HTTP is spoken instead of lines.
    endpoint: Option<Endpoint>,
    limits: Limits,
    /// Each session over HTTP listens here until it has taken its leave.
    sessions: watch::Sender<()>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.way.address)
    }
}

/// The way to one gateway, for one connection or several.
pub(crate) struct Way {
    address: String,
    name: ServerName<'static>,
    tls: Present<ClientConfig>,
    deadline: Duration,
}

impl Connector {
    /// To the gateway at `address` (`host:port`), whose certificate must carry `name`.
    ///
    /// # Errors
    /// [`TlsError`] if the identity cannot be used.
    pub fn new(
        address: &str,
        name: ServerName<'static>,
        identity: watch::Receiver<Arc<Identity>>,
        trust: Trust,
        limits: &Limits,
    ) -> Result<Self, TlsError> {
        let tls = Present::new(tls::client_config, identity, trust)?;
        Ok(Self::of(address.to_owned(), name, tls, None, limits))
    }

    /// To a gateway that speaks HTTP, whose certificate must carry `name`.
    ///
    /// # Errors
    /// [`TlsError`] if the identity cannot be used.
    pub fn over_http(
        endpoint: Endpoint,
        name: ServerName<'static>,
        identity: watch::Receiver<Arc<Identity>>,
        trust: Trust,
        limits: &Limits,
    ) -> Result<Self, TlsError> {
        let tls = Present::new(tls::http_client_config, identity, trust)?;
        Ok(Self::of(endpoint.address(), name, tls, Some(endpoint), limits))
    }

    fn of(
        address: String,
        name: ServerName<'static>,
        tls: Present<ClientConfig>,
        endpoint: Option<Endpoint>,
        limits: &Limits,
    ) -> Self {
        let way = Arc::new(Way { address, name, tls, deadline: limits.handshake });
        Self { way, endpoint, limits: limits.clone(), sessions: watch::Sender::new(()) }
    }

    /// Opens a session. In TLS 1.3 the gateway judges only after this has returned, so its refusal
    /// may still come as the first thing that is read: [`Connector::explain`] tells it apart.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self) -> Result<Session<Stream>, ConnectError> {
        let session = self.way.open().await?;
        Ok(match &self.endpoint {
            None => session.map(|stream| Stream::Lines(Box::new(stream))),
            Some(endpoint) => {
                let way = Arc::clone(&self.way);
                let keeper = Box::new(self.sessions.subscribe());
                let (endpoint, limits) = (endpoint.clone(), &self.limits);
                let session = client::in_session(session, way, endpoint, limits, keeper);
                session.await.map(Stream::Http)
            }
        })
    }

    /// Waits until every session that has ended is over for the gateway as well: over HTTP that takes
    /// another request, which is given up soon ([`Limits::child_grace`]).
    pub async fn close(&self) {
        drop(timeout(self.limits.child_grace * 2, self.sessions.closed()).await);
    }

    /// What is shown to the gateway, now and later.
    pub(crate) fn identity(&self) -> watch::Receiver<Arc<Identity>> {
        self.way.tls.identity()
    }

    /// How long this identity's certificate is still valid.
    pub(crate) fn remaining(&self, identity: &Identity) -> Duration {
        let end = identity.certificate.not_after.as_secs();
        let now = self.way.tls.clock().current_time();
        Duration::from_secs(now.map_or(0, |now| end.saturating_sub(now.as_secs())))
    }

    /// Whether the gateway refuses us, found out by asking again: after a session broke off, the
    /// next handshake says why.
    pub async fn explain(&self) -> Option<ConnectError> {
        let session = match self.way.open().await {
            Ok(session) => session,
            Err(error) => return Some(error),
        };
        let verdict = session.run(|mut stream| async move {
            let read = timeout(VERDICT, stream.read_u8()).await;
            read.ok().and_then(Result::err).and_then(|error| refusal_in(&error))
        });
        match verdict.await {
            Ok(refused) => refused,
            Err(denial) => Some(ConnectError::Denied(denial)),
        }
    }
}

impl Way {
    /// Connects, and reads who is there.
    pub(crate) async fn open(&self) -> Result<Session<TlsStream<TcpStream>>, ConnectError> {
        let (config, trust) = self.tls.get().map_err(ConnectError::Identity)?;
        let opening = async {
            let unreachable =
                |error| ConnectError::Unreachable { address: self.address.clone(), error };
            let tcp = TcpStream::connect(&self.address).await.map_err(unreachable)?;
            configure(&tcp).map_err(unreachable)?;
            let stream = TlsConnector::from(config).connect(self.name.clone(), tcp).await;
            stream.map_err(|error| self.handshake_error(error))
        };
        let late = |_| ConnectError::TooSlow(self.address.clone());
        let stream = timeout(self.deadline, opening).await.map_err(late)??;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let (leaf, intermediates) =
            chain.split_first().ok_or(ConnectError::Tls(rustls::Error::NoCertificatesPresented))?;
        let peer = Peer::from_chain(leaf, intermediates, trust.roots(), Role::Server)
            .map_err(ConnectError::Denied)?;
        Ok(Session::new(stream, peer, trust))
    }

    fn handshake_error(&self, error: io::Error) -> ConnectError {
        match refusal_in(&error) {
            Some(refused) => refused,
            None => ConnectError::Unreachable { address: self.address.clone(), error },
        }
    }
}

/// What an IO error of a TLS stream says of the other side's verdict, or of ours.
pub(crate) fn refusal_in(error: &io::Error) -> Option<ConnectError> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let Some(denial) = Denial::from_tls(tls, Role::Server) {
        return Some(ConnectError::Denied(denial));
    }
    Some(match tls {
        rustls::Error::AlertReceived(alert) => ConnectError::Refused(*alert),
        other => ConnectError::Tls(other.clone()),
    })
}

/// RFC 8446 §6.2.
pub(crate) fn in_words(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRevoked => "its certificate is revoked",
        AlertDescription::CertificateExpired => "its certificate has expired or is not yet valid",
        AlertDescription::UnknownCA => {
            "its certificate is from a CA that the gateway does not trust"
        }
        AlertDescription::UnsupportedCertificate => "its certificate is not an agent's",
        AlertDescription::BadCertificate => "its certificate is malformed",
        AlertDescription::DecryptError => "a signature is wrong",
        AlertDescription::CertificateRequired => "it showed no certificate",
        AlertDescription::CertificateUnknown => {
            "the gateway's operator finds the reason in its audit"
        }
        AlertDescription::NoApplicationProtocol => {
            "the server there does not speak this protocol: HOST:PORT means MCP over TLS (mcp/1), https:// means HTTP"
        }
        AlertDescription::ProtocolVersion => "the server there does not speak TLS 1.3",
        _ => "the TLS handshake was refused",
    }
}
