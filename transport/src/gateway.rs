//! The gateway: sessions of verified clients, each with an MCP server behind it.

mod over_http;
mod own;
mod places;
mod work;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use vouchsafe_certs::Principal;

use self::over_http::Visit;
use self::own::Own;
use self::places::{Place, Sessions};
use crate::acceptor::{Acceptor, Protocol, Speaks};
use crate::causes;
use crate::door::Door;
use crate::event::{Event, EventLog, as_json};
use crate::frame::LineWriter;
use crate::http::{Caller, HttpService, Refusals};
use crate::live::{Live, Ongoing};
use crate::policy::{Rules, Seal, closing};
use crate::quota::{Quota, Quotas};
use crate::relay::{RelayEnd, Subject};
use crate::web::Web;
use crate::woken::when_woken;
use crate::{Denial, Identity, Limits, Session, TlsError, Trust, Upstream};

/// Octets read of a client that does not say what it speaks, before it is known.
const FIRST_LEN: usize = 256;

/// How long the audit of an answer may wait for company.
const FLUSH: Duration = Duration::from_millis(100);

/// What a gateway is made of.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "built by its user, field by field")]
pub struct GatewayConfig {
    /// What the gateway shows. Another one is shown to whoever connects next.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// What it demands of clients.
    pub trust: Trust,
    /// The MCP server behind each session.
    pub upstream: Upstream,
    /// Streamable HTTP at [`MCP_PATH`](crate::MCP_PATH) of the same port, for agents that choose HTTP
    /// in the handshake (ALPN `h2` or `http/1.1`).
    pub streamable_http: bool,
    /// Whatever else is served over HTTP on the same port, to everybody who has a certificate.
    pub http: Option<HttpService>,
    /// The operator's adjustments of the policy.
    pub rules: Rules,
    /// What it bears.
    pub limits: Limits,
    /// Where every decision is recorded.
    pub log: EventLog,
}

impl GatewayConfig {
    /// With the policy and the limits as they come, and MCP in lines and over HTTP.
    #[must_use]
    pub fn new(
        identity: watch::Receiver<Arc<Identity>>,
        trust: Trust,
        upstream: Upstream,
        log: EventLog,
    ) -> Self {
        let (rules, limits) = (Rules::default(), Limits::default());
        Self { identity, trust, upstream, streamable_http: true, http: None, rules, limits, log }
    }
}

/// What somebody has who may come in.
struct Entry {
    place: Place,
    /// Where there are quotas, and a session of its own is what was opened.
    quota: Option<Arc<Quota>>,
}

/// Accepts sessions and holds each to its client's certificate.
pub struct Gateway {
    acceptor: Acceptor,
    own: Own,
    seal: Seal,
    upstream: Upstream,
    web: Option<Web>,
    rules: Arc<Rules>,
    limits: Limits,
    log: Arc<EventLog>,
    sessions: Arc<Sessions>,
    connections: Arc<Sessions>,
    live: Arc<Live>,
    quotas: Quotas,
    refusals: Refusals,
    counter: AtomicU64,
    stopping: watch::Sender<bool>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Prepares a gateway.
    ///
    /// # Errors
    /// [`TlsError`] if the identity cannot be used.
    pub fn new(config: GatewayConfig) -> Result<Self, TlsError> {
        let GatewayConfig { identity, trust, upstream, streamable_http, http, rules, limits, log } =
            config;
        let log = Arc::new(log);
        let speaks = match (&http, streamable_http) {
            (Some(_), _) => Speaks::HttpOfHolders,
            (None, true) => Speaks::Http,
            (None, false) => Speaks::Lines,
        };
        Ok(Self {
            acceptor: Acceptor::new(identity.clone(), trust, &limits, speaks)?,
            upstream,
            web: Web::new(http, streamable_http.then(|| identity.clone()), &limits, &log),
            own: Own::of(identity),
            seal: Seal::random().ok_or(rustls::Error::FailedToGetRandomBytes)?,
            rules: Arc::new(rules),
            quotas: Quotas::new(limits.principals.clone()),
            limits,
            refusals: Refusals::new(Some(Arc::clone(&log))),
            log,
            sessions: Arc::default(),
            connections: Arc::default(),
            live: Arc::default(),
            counter: AtomicU64::new(1),
            stopping: watch::Sender::new(false),
        })
    }

    /// The sessions that there are at present.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Serves until `shutdown` is done; then ends every session and waits for the last child.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut door = Door::new(listener);
        let mut connections = JoinSet::new();
        let (alive, mut last_child) = mpsc::channel(1);
        // It ends with this future, however that ends.
        let mut upkeep = JoinSet::new();
        upkeep.spawn(Arc::clone(&self).keep_up());
        let mut limits = self.quotas.changes();
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = door.next() => match accepted {
                    Ok((tcp, address)) => {
                        let connection = Arc::clone(&self).connection(tcp, address, alive.clone());
                        connections.spawn(connection);
                    }
                    Err(reason) => {
                        let gateway = Arc::clone(&self);
                        connections.spawn(async move { gateway.refusals.tell(None, &reason).await });
                    }
                },
                Some(_) = connections.join_next() => {}
                () = self.quotas.follow(&mut limits) => {}
            }
        }
        // Whoever comes now is better told so than kept waiting, and the next one may have the address.
        drop(door);
        self.stopping.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        drop(timeout(self.limits.child_grace, ended).await);
        connections.shutdown().await;
        drop(upkeep);
        // Whoever was cut off here is told so by the closed connection.
        self.last_words().await;
        drop(alive);
        // Two graces: from closing stdin to SIGTERM, and from there to SIGKILL.
        drop(timeout(self.limits.child_grace * 3, last_child.recv()).await);
        // Sessions behind HTTP end beside their connections.
        self.last_words().await;
    }

    /// Sees to it that what was noted or counted gets into the audit. A reader of that who stalls holds
    /// up this, and neither the door nor the end.
    async fn keep_up(self: Arc<Self>) {
        let mut flush = every(FLUSH);
        let mut second = every(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = flush.tick() => drop(self.log.flush().await),
                _ = second.tick() => self.sum_up().await,
            }
        }
    }

    /// The same once more, for as long as the end may be held up by whoever reads it.
    async fn last_words(&self) {
        let said = async {
            self.sum_up().await;
            drop(self.log.flush().await);
        };
        drop(timeout(self.limits.child_grace, said).await);
    }

    async fn connection(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        alive: mpsc::Sender<()>,
    ) {
        // Handshake and session each have a place of their own for as long as they last: what a task may
        // ever need would be moved when it is spawned, and kept by sessions that need nothing.
        match Box::pin(self.acceptor.accept(tcp, address)).await {
            Ok((session, protocol)) => {
                Box::pin(self.open(session, protocol, Some(address), alive)).await;
            }
            // It is gone already; there is nothing more to refuse.
            Err(error) => {
                let (reason, cause) = (error.to_string(), Some(error.cause()));
                let (reason, address) = (Some(&*reason), Some(address));
                let event = Event { event: "refused", address, reason, cause, ..Event::default() };
                self.refusals.tell_of(&event).await;
            }
        }
    }

    /// Opens a session, over a connection of its own or behind HTTP, and sees it through.
    async fn open<S>(
        self: &Arc<Self>,
        session: Session<S>,
        protocol: Protocol,
        address: Option<SocketAddr>,
        alive: mpsc::Sender<()>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let peer = Arc::clone(session.peer());
        // Whoever may not come in now leaves no more than a word, and nothing is started for them.
        let entry = match self.enter(&peer.principal, protocol) {
            Ok(entry) => entry,
            Err(denial) => return self.turn_away(session, protocol, address, denial).await,
        };
        let subject = Subject::new(self.counter.fetch_add(1, Ordering::Relaxed), &peer);
        let cause = (protocol == Protocol::Behind).then_some(causes::BEHIND_HTTP);
        let opened = Event { address, cause, ..subject.event("opened") };
        // No record, no call.
        if self.log.record(&opened).await.is_ok() {
            let (number, now) = (subject.session, self.log.now());
            let ongoing = self.live.enter(number, &peer, address, protocol.spoken(), now);
            let caller = address.map(|address| Caller::new(address, Some(Arc::clone(&peer))));
            let until_recorded = alive.clone();
            let visit = Visit { caller, kin: session.kin(), alive };
            self.session(session, (&subject, &ongoing), protocol, visit, entry).await;
            drop(until_recorded);
        }
    }

    /// What has happened too often within a second to be told one by one.
    async fn sum_up(&self) {
        self.refusals.sum_up().await;
        self.quotas.sum_up(&self.log).await;
        for (number, session) in self.live.denied() {
            self.sum_up_denials(&Subject::new(number, &session.peer), &session).await;
        }
        if let Some(web) = &self.web {
            web.server.refusals.sum_up().await;
        }
    }

    /// What one session has had denied too often to be told one by one.
    async fn sum_up_denials(&self, subject: &Subject, ongoing: &Ongoing) {
        for (event, from, times) in ongoing.denials.sum_up() {
            let reason = format!("{times} further times within a second");
            let (from, reason) = (Some(from), Some(&*reason));
            let event = Event { from, reason, ..subject.event(event) };
            // What was denied stays denied if that fails.
            drop(self.log.record(&event).await);
        }
    }

    async fn session<S>(
        self: &Arc<Self>,
        session: Session<S>,
        whose: (&Subject, &Ongoing),
        protocol: Protocol,
        visit: Visit,
        Entry { place, quota }: Entry,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (subject, ongoing) = whose;
        let keeper = Box::new((visit.alive.clone(), place));
        let held = session.held();
        let work = session.run(async |stream| {
            let stream = ongoing.counting(stream);
            // Each in a place of its own size: otherwise every session takes that of the largest.
            match protocol {
                Protocol::Http | Protocol::Http2 => {
                    Box::pin(self.exchange(stream, protocol, visit, ongoing)).await
                }
                Protocol::Unsaid => {
                    let stream = BufReader::with_capacity(FIRST_LEN, stream);
                    Box::pin(self.either(stream, held, whose, visit, keeper)).await
                }
                Protocol::Mcp | Protocol::Behind => {
                    Box::pin(self.work(stream, &visit.kin, (held, quota), whose, keeper)).await
                }
            }
        });
        let is_http = matches!(protocol, Protocol::Http | Protocol::Http2);
        let ended = tokio::select! {
            biased;
            () = when_woken(self.stopped()), if !is_http => Ok(RelayEnd::Stopped),
            ended = work => ended,
        };
        self.record_end(subject, ongoing, &ended).await;
    }

    /// Takes a place among the sessions of a principal, and out of its rate what opening one costs. A
    /// connection of HTTP is none, and costs nothing: behind it are as many as are opened, or none at
    /// all. One that has not said what it speaks pays when it has.
    fn enter(&self, principal: &Principal, protocol: Protocol) -> Result<Entry, Denial> {
        let Limits { sessions, sessions_per_principal, .. } = self.limits;
        if matches!(protocol, Protocol::Http | Protocol::Http2) {
            let place = self.connections.enter(principal, sessions_per_principal, sessions)?;
            return Ok(Entry { place, quota: None });
        }
        let own = self.quotas.sessions_of(principal).unwrap_or(sessions_per_principal);
        let place = self.sessions.enter(principal, own, sessions)?;
        let quota = match protocol {
            Protocol::Unsaid => None,
            _ => self.paid(principal)?,
        };
        Ok(Entry { place, quota })
    }

    /// The quota of a principal that opens a session, and has paid for it.
    fn paid(&self, principal: &Principal) -> Result<Option<Arc<Quota>>, Denial> {
        let quota = self.quotas.of(principal);
        let paid = quota.as_ref().map_or(Ok(()), |quota| quota.open(Instant::now()));
        paid.map_err(|retry_after| Denial::TooOften { retry_after }).map(|()| quota)
    }

    /// Tells somebody who may not come in now, once that is on record or counted: behind HTTP it is a
    /// message of a principal that is refused, otherwise a connection.
    async fn turn_away<S>(
        &self,
        session: Session<S>,
        protocol: Protocol,
        address: Option<SocketAddr>,
        denial: Denial,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let principal = &session.peer().principal;
        let (whose, serial) =
            (as_json(principal.as_str()), as_json(&session.peer().serial.to_string()));
        let reason = denial.to_string();
        let event = Event {
            event: "refused",
            principal: Some(&whose),
            serial: Some(&serial),
            address,
            reason: Some(&reason),
            cause: Some(denial.cause()),
            ..Event::default()
        };
        match protocol {
            Protocol::Behind => {
                let event = Event { event: "limited", from: Some("client"), ..event };
                match self.quotas.is_told(principal) {
                    true => self.log.conclude(&event).await,
                    false => self.log.observe(&event),
                }
            }
            _ => self.refusals.tell_of(&event).await,
        }
        if matches!(protocol, Protocol::Mcp | Protocol::Behind) {
            let told = |stream| tell(stream, closing(&denial), self.limits.drain);
            // Whoever may not stay either is not told.
            drop(session.run(told).await);
        }
    }

    /// The session is over already.
    async fn record_end(
        &self,
        subject: &Subject,
        ongoing: &Ongoing,
        ended: &Result<RelayEnd, Denial>,
    ) {
        self.sum_up_denials(subject, ongoing).await;
        let (event, reason, cause) = match ended {
            Err(denial) | Ok(RelayEnd::Denied(denial)) => {
                ("cut", denial.to_string(), denial.cause())
            }
            Ok(end) => ("closed", end.to_string(), end.cause()),
        };
        let junk = ongoing.junk.load(Ordering::Relaxed);
        let mut event = subject.event(event);
        event.reason = Some(&reason);
        event.cause = Some(cause);
        event.calls = Some(ongoing.calls.load(Ordering::Relaxed));
        event.junk = (junk > 0).then_some(junk);
        // Ten thousand may end at once. What has ended is not undone for want of a record, and is told.
        if self.log.note(&event).await.is_err() {
            self.log.observe(&event);
        }
    }

    /// Waits until the gateway stops.
    async fn stopped(&self) {
        // The sender is this gateway's own, so there is no error.
        drop(self.stopping.subscribe().wait_for(|stopping| *stopping).await);
    }
}

/// What was held up comes late, and not all at once: what counts by the second needs a second.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Tells a client why it is not served, and closes.
async fn tell(stream: impl AsyncWrite + Unpin, line: Vec<u8>, patience: Duration) -> RelayEnd {
    let mut writer = LineWriter::new(stream, patience);
    if writer.send(&line).await.is_ok() {
        drop(writer.close().await);
    }
    RelayEnd::ServerClosed
}
