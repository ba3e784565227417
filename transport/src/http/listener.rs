//! The public listener: TLS that shows who it is and asks nothing, and HTTP inside; or HTTP alone, for
//! whoever is on this machine.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::places::{Place, Places, Signal};
use super::server::Server;
use super::{Caller, Handler, HttpLimits, answer_of};
use crate::acceptor::linger;
use crate::door::Door;
use crate::event::EventLog;
use crate::source::Source;
use crate::{Identity, TlsError, tls};

/// How long answers may still be given once the listener stops.
const GRACE: Duration = Duration::from_secs(2);

/// What a public listener is made of.
#[expect(clippy::exhaustive_structs, reason = "built by its user, field by field")]
pub struct PublicListenerConfig {
    /// What it shows; the latest one is shown to every new connection.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// Answers requests.
    pub handler: Handler,
    /// What it bears.
    pub limits: HttpLimits,
    /// Where refusals are recorded.
    pub log: EventLog,
    /// For the TLS library.
    pub clock: Arc<dyn TimeProvider>,
}

impl fmt::Debug for PublicListenerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicListenerConfig").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Serves strangers: server-authenticated TLS 1.3 and HTTP/1.1. It never learns who they are, so
/// nothing that needs to know may be behind it.
pub struct PublicListener {
    /// `None` without TLS.
    tls: Option<Mutex<Shown>>,
    places: Arc<Places>,
    server: Server,
    handler: Handler,
    handshake: Duration,
    stopping: watch::Sender<bool>,
}

/// What is shown at present, and where the next comes from.
struct Shown {
    identity: watch::Receiver<Arc<Identity>>,
    acceptor: TlsAcceptor,
    clock: Arc<dyn TimeProvider>,
}

impl fmt::Debug for PublicListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicListener")
    }
}

impl PublicListener {
    /// Prepares a listener.
    ///
    /// # Errors
    /// [`TlsError`] if the identity cannot be used.
    pub fn new(config: PublicListenerConfig) -> Result<Self, TlsError> {
        let PublicListenerConfig { mut identity, handler, limits, log, clock } = config;
        let present = Arc::clone(&identity.borrow_and_update());
        let acceptor = acceptor(&present, &clock)?;
        let shown = Shown { identity, acceptor, clock };
        Ok(Self { tls: Some(Mutex::new(shown)), ..Self::without_tls(handler, limits, log) })
    }

    /// Prepares a listener that anybody on the way reads along with: for the loopback.
    #[must_use]
    pub fn without_tls(handler: Handler, limits: HttpLimits, log: EventLog) -> Self {
        Self {
            tls: None,
            places: Places::new(&limits),
            handshake: limits.handshake,
            server: Server::new(limits, Some(Arc::new(log))),
            handler,
            stopping: watch::Sender::new(false),
        }
    }

    /// Serves until `shutdown` is done; then gives the answers that are due, for a moment.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut door = Door::new(listener);
        let mut connections = JoinSet::new();
        // It ends with this future, however that ends.
        let mut upkeep = JoinSet::new();
        upkeep.spawn(Arc::clone(&self).keep_up());
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = door.next() => match accepted {
                    Ok((tcp, address)) => match self.admit(address) {
                        Ok((place, signal)) => {
                            let own = Arc::clone(&self);
                            connections.spawn(own.connection(tcp, address, place, signal));
                        }
                        Err(reason) => {
                            drop(tcp);
                            let told = Arc::clone(&self).tell(Some(address), reason.to_owned());
                            connections.spawn(told);
                        }
                    },
                    Err(reason) => {
                        connections.spawn(Arc::clone(&self).tell(None, reason));
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
        // Whoever comes now is better told so than kept waiting, and the next one may have the address.
        drop(door);
        self.stopping.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        drop(timeout(GRACE, ended).await);
        connections.shutdown().await;
        drop(upkeep);
        drop(timeout(GRACE, self.server.refusals.sum_up()).await);
    }

    /// A reader of the audit who stalls holds up what is told and summed up, and never the door.
    async fn tell(self: Arc<Self>, address: Option<SocketAddr>, reason: String) {
        self.server.refusals.tell(address, &reason).await;
    }

    async fn keep_up(self: Arc<Self>) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            second.tick().await;
            self.server.refusals.sum_up().await;
        }
    }

    /// Decides on a connection before anything is spent on it: a handshake costs more than most requests.
    fn admit(&self, address: SocketAddr) -> Result<(Place, Signal), &'static str> {
        let source = Source::of(address.ip());
        if self.server.rates.take(source, Instant::now()).is_err() {
            return Err("too many connections and requests");
        }
        self.places.admit(source).ok_or("too many connections at once")
    }

    async fn connection(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        place: Place,
        mut signal: Signal,
    ) {
        let place = Arc::new(place);
        let caller = Caller::new(address, None).at(Arc::clone(&place));
        let work = async {
            let answer = answer_of(&self.handler, &caller);
            let (speaks, stopping) = (|| place.speaks(), self.stopping.subscribe());
            let Some(shown) = &self.tls else {
                self.server.serve(tcp, &caller, &answer, speaks, stopping).await;
                return;
            };
            match timeout(self.handshake, accept(shown, tcp)).await {
                Ok(Ok(stream)) => {
                    self.server.serve(stream, &caller, &answer, speaks, stopping).await;
                }
                Ok(Err(error)) => {
                    let reason = format!("the TLS handshake failed: {error}");
                    self.server.refusals.tell(Some(address), &reason).await;
                }
                Err(_) => {
                    let reason = format!("no TLS handshake within {:?}", self.handshake);
                    self.server.refusals.tell(Some(address), &reason).await;
                }
            }
        };
        let ended = tokio::select! {
            () = work => true,
            () = signal.is_over() => false,
        };
        if !ended {
            let reason =
                "gave way: too many connections, and most of them from there, or this one silent";
            self.server.refusals.tell(Some(address), reason).await;
        }
    }
}

async fn accept(shown: &Mutex<Shown>, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let acceptor = shown.lock().unwrap_or_else(PoisonError::into_inner).latest();
    match acceptor.accept(tcp).into_fallible().await {
        Ok(stream) => Ok(stream),
        Err((error, tcp)) => {
            linger(tcp).await;
            Err(error)
        }
    }
}

impl Shown {
    /// With the latest identity that can be shown.
    fn latest(&mut self) -> TlsAcceptor {
        // An error means that the sender is gone: this identity is the last.
        if self.identity.has_changed().unwrap_or(false) {
            let latest = Arc::clone(&self.identity.borrow_and_update());
            if let Ok(acceptor) = acceptor(&latest, &self.clock) {
                self.acceptor = acceptor;
            }
        }
        self.acceptor.clone()
    }
}

fn acceptor(identity: &Identity, clock: &Arc<dyn TimeProvider>) -> Result<TlsAcceptor, TlsError> {
    let config = tls::public_config(identity, Arc::clone(clock))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
