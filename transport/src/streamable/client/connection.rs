//! Connections to one server, all of one session: no two sessions ever share one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::departure::{Parcel, Present, Watched};
use super::failure::Failure;
use crate::acceptor::configure;
use crate::connector::{Way, refusal_in};
use crate::http::Cause;
use crate::{Anchor, ConnectError, Endpoint, Peer, Role, Session, Trust, tls};

/// Octets that are read at once, and of an answer's whole head.
const BUFFER: usize = 64 * 1024;

/// Header fields of an answer.
const MAX_HEADERS: usize = 64;

/// For a connection that has failed to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection on which nothing has been said for so long is not used any more: common servers close
/// it after five seconds, and a request that crosses that may or may not have been heard.
const IDLE: Duration = Duration::from_secs(3);

/// How a server is reached.
pub(crate) enum Reach {
    /// TCP.
    Plain,
    /// TLS; the server proves its name by a certificate.
    Tls(TlsConnector, ServerName<'static>),
    /// TLS; the server proves its name by a certificate of our CA, which may revoke it.
    Own(Box<Trust>, ServerName<'static>),
    /// A gateway of ours, which must stay who it was when the session began.
    Gateway(Arc<Way>, Arc<Peer>),
}

/// A connection on which one request follows another.
pub(super) struct Connection {
    sender: SendRequest<Parcel>,
    /// Moves the octets, and knows in the end what went wrong.
    driver: Option<JoinHandle<Option<Cause>>>,
    abort: AbortHandle,
    idle_since: Instant,
    present: Present,
    /// For what is no request: it is not kept for one.
    is_spare: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// A connection's place among those of its session, and among those of all sessions.
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    /// None for a spare one: those of all sessions may be taken by requests that wait for what is said here.
    all: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Waits for one until `deadline`.
    pub(super) async fn among(
        own: &Arc<Semaphore>,
        all: &Arc<Semaphore>,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let waiting = async {
            let own = Arc::clone(own).acquire_owned().await;
            own.ok().zip(Arc::clone(all).acquire_owned().await.ok())
        };
        // A semaphore that is never closed has no other error than time.
        let (own, all) = timeout(deadline, waiting).await.ok().flatten().ok_or(Failure::Busy)?;
        Ok(Self { _own: own, all: Some(all) })
    }

    /// Waits for a spare one until `deadline`.
    pub(super) async fn spare(own: &Arc<Semaphore>, deadline: Duration) -> Result<Self, Failure> {
        let own = timeout(deadline, Arc::clone(own).acquire_owned()).await;
        let own = own.ok().and_then(Result::ok).ok_or(Failure::Busy)?;
        Ok(Self { _own: own, all: None })
    }
}

/// Why there is no answer, and the request if it was never sent.
pub(super) struct Unsent {
    pub(super) request: Option<Request<Parcel>>,
    pub(super) failure: Failure,
}

impl Reach {
    /// Opens a connection within `deadline`. It has its place for as long as there is anything of it.
    pub(super) async fn open(
        &self,
        endpoint: &Endpoint,
        place: Place,
        deadline: Duration,
    ) -> Result<Connection, Failure> {
        let connecting = async {
            let tcp = TcpStream::connect(endpoint.address()).await?;
            configure(&tcp).map(|()| tcp)
        };
        let opening = async {
            match self {
                Self::Plain => Connection::on(connecting.await?, Some(place)).await,
                Self::Tls(tls, name) => {
                    let stream = tls.connect(name.clone(), connecting.await?).await?;
                    Connection::on(stream, Some(place)).await
                }
                Self::Own(trust, name) => {
                    Connection::of(session_with(trust, name, connecting.await?).await?, Some(place))
                        .await
                }
                Self::Gateway(way, server) => {
                    let session = way.open().await?;
                    if !is_same(server, session.peer()) {
                        return Err(Failure::Changed);
                    }
                    Connection::of(session, Some(place)).await
                }
            }
        };
        let late = |_| Failure::Unreachable(io::ErrorKind::TimedOut.into());
        timeout(deadline, opening).await.map_err(late)?
    }
}

/// The verdict is that of now, by the roots and the lists in force.
async fn session_with(
    trust: &Trust,
    name: &ServerName<'static>,
    tcp: TcpStream,
) -> Result<Session<TlsStream<TcpStream>>, Failure> {
    let trust = trust.present();
    let config = tls::http_config(None, &Anchor::Trust(trust.clone()));
    let config = config.map_err(ConnectError::Identity)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name.clone(), tcp).await;
    let refused = |error| refusal_in(&error).map_or_else(|| error.into(), Failure::from);
    let stream = stream.map_err(refused)?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let none = || ConnectError::Tls(rustls::Error::NoCertificatesPresented);
    let (leaf, intermediates) = chain.split_first().ok_or_else(none)?;
    let peer = Peer::from_chain(leaf, intermediates, trust.roots(), Role::Server);
    Ok(Session::new(stream, peer.map_err(ConnectError::Denied)?, trust))
}

/// Whether what was concluded from the one certificate follows from the other.
fn is_same(one: &Peer, other: &Peer) -> bool {
    one.principal == other.principal && one.permissions == other.permissions
}

impl Connection {
    pub(super) async fn on<S>(stream: S, place: Option<Place>) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::driven_by(place, |told, present| drive(stream, told, present)).await
    }

    /// To a peer who may be cut off at any time.
    pub(super) async fn of(
        session: Session<TlsStream<TcpStream>>,
        place: Option<Place>,
    ) -> Result<Self, Failure> {
        let work = |told, present| async move {
            let driven = session.run(|stream| drive(stream, told, present)).await;
            driven.unwrap_or_else(|denial| Some(Cause::Refused(ConnectError::Denied(denial))))
        };
        Self::driven_by(place, work).await
    }

    async fn driven_by<W>(
        place: Option<Place>,
        work: impl FnOnce(oneshot::Sender<SendRequest<Parcel>>, Present) -> W,
    ) -> Result<Self, Failure>
    where
        W: Future<Output = Option<Cause>> + Send + 'static,
    {
        let is_spare = place.as_ref().is_some_and(|place| place.all.is_none());
        let (told, sender) = oneshot::channel();
        let present = Present::default();
        let work = work(told, present.clone());
        let driver = tokio::spawn(async move {
            let ended = work.await;
            drop(place);
            ended
        });
        let abort = driver.abort_handle();
        match sender.await {
            Ok(sender) => {
                let idle_since = Instant::now();
                Ok(Self { sender, driver: Some(driver), abort, idle_since, present, is_spare })
            }
            Err(_) => Err(driver.await.ok().flatten().map_or_else(ended, Failure::from)),
        }
    }

    /// Whether it can be used at once.
    pub(super) fn is_fresh(&mut self) -> bool {
        self.idle_since.elapsed() < IDLE
            && matches!(self.sender.ready().now_or_never(), Some(Ok(())))
    }

    /// Whether requests have no use of it.
    pub(super) fn is_spare(&self) -> bool {
        self.is_spare
    }

    /// Its last answer has been read to the end.
    pub(super) fn rest(&mut self) {
        self.idle_since = Instant::now();
    }

    /// Asks, and waits for the head of the answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<Parcel>,
    ) -> Result<Response<Incoming>, Unsent> {
        self.present.is(request.body().departure());
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut error) => {
                let request = error.take_message();
                Err(Unsent { request, failure: self.why(&error.into_error()).await })
            }
        }
    }

    /// Why it failed: where a request was only told that the connection is gone, that knows more.
    pub(super) async fn why(&mut self, error: &hyper::Error) -> Failure {
        let ended = match self.driver.take() {
            Some(driver) => timeout(LAST_WORDS, driver).await.ok().and_then(Result::ok).flatten(),
            None => None,
        };
        ended.unwrap_or_else(|| Cause::of(error)).into()
    }
}

fn ended() -> Failure {
    Failure::Broken("the connection ended".to_owned())
}

/// Moves the octets of one connection until it ends.
async fn drive<S>(
    stream: S,
    told: oneshot::Sender<SendRequest<Parcel>>,
    present: Present,
) -> Option<Cause>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER).max_headers(MAX_HEADERS);
    let driven = async {
        let (sender, connection) =
            builder.handshake(TokioIo::new(Watched::new(stream, present))).await?;
        // Whoever asked may have gone meanwhile.
        drop(told.send(sender));
        connection.await
    };
    driven.await.err().map(|error| Cause::of(&error))
}
