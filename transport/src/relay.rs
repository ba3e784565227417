//! The two directions of one session at the gateway, with the policy between them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep, timeout};

use crate::event::{Event, EventLog, NoRecord, as_json};
use crate::frame::{FrameError, LineReader, LineWriter};
use crate::live::Ongoing;
use crate::policy::{ClientPolicy, Decision, Judgement, Record, Verdict};
use crate::quota::Quota;
use crate::trust::Lookout;
use crate::woken::when_woken;
use crate::{Denial, Limits, Peer, UpstreamError};

/// How long a pause for the sake of a rate lasts before one looks whether the limit is still the same.
const LOOK: Duration = Duration::from_secs(1);

/// How long a server may take to say which tools it has, where a call waits for that.
const LOOK_UP: Duration = Duration::from_secs(10);

/// How a session ended, other than by losing trust.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayEnd {
    #[error("the client closed the session")]
    ClientClosed,
    #[error("the client broke off")]
    ClientGone,
    #[error("the server closed the session")]
    ServerClosed,
    #[error("the client sent no message in time")]
    Silent,
    #[error("{0}")]
    NotStarted(UpstreamError),
    #[error("the gateway stopped")]
    Stopped,
    #[error("the operator closed the session")]
    Operator,
    #[error("from the client: {0}")]
    Client(FrameError),
    #[error("from the server: {0}")]
    Server(FrameError),
    #[error("{0}")]
    Denied(Denial),
}

impl RelayEnd {
    fn of_client(error: FrameError) -> Self {
        match error {
            FrameError::Io(_) => Self::ClientGone,
            other => Self::Client(other),
        }
    }
}

impl From<NoRecord> for RelayEnd {
    fn from(_: NoRecord) -> Self {
        Self::Denied(Denial::AuditUnavailable)
    }
}

/// Who a session belongs to, as its audit events name it.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) session: u64,
    principal: Box<RawValue>,
    serial: Box<RawValue>,
}

impl Subject {
    pub(crate) fn new(session: u64, peer: &Peer) -> Self {
        let (principal, serial) = (peer.principal.as_str(), peer.serial.to_string());
        Self { session, principal: as_json(principal), serial: as_json(&serial) }
    }

    pub(crate) fn event(&self, event: &'static str) -> Event<'_> {
        Event {
            event,
            session: Some(self.session),
            principal: Some(&self.principal),
            serial: Some(&self.serial),
            ..Event::default()
        }
    }
}

/// Whether a client has said anything of late. A timer for every message would cost more than the
/// messages do, so one looks from time to time.
#[derive(Debug, Default)]
struct Heard {
    ever: AtomicBool,
    lately: AtomicBool,
}

impl Heard {
    fn now(&self) {
        self.ever.store(true, Ordering::Relaxed);
        self.lately.store(true, Ordering::Relaxed);
    }

    /// Waits until the first message has not come in time, or no other for between one and two idle times.
    async fn until_silent(&self, limits: &Limits) {
        sleep(limits.first_message).await;
        while self.ever.load(Ordering::Relaxed) {
            self.lately.store(false, Ordering::Relaxed);
            sleep(limits.idle).await;
            if !self.lately.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// One session between a client's stream and a server's.
pub(crate) struct Relay<'a, S> {
    pub(crate) subject: &'a Subject,
    pub(crate) policy: Mutex<ClientPolicy>,
    pub(crate) ongoing: &'a Ongoing,
    pub(crate) log: &'a EventLog,
    pub(crate) limits: &'a Limits,
    quota: Option<Arc<Quota>>,
    lookout: Lookout,
    /// Told whenever the server has said which tools it has.
    looked_up: Notify,
    to_client: AsyncMutex<LineWriter<WriteHalf<S>>>,
}

impl<'a, S: AsyncRead + AsyncWrite> Relay<'a, S> {
    pub(crate) fn new(
        subject: &'a Subject,
        policy: ClientPolicy,
        ongoing: &'a Ongoing,
        lookout: Lookout,
        log: &'a EventLog,
        limits: &'a Limits,
        stream: S,
    ) -> (Self, ReadHalf<S>) {
        let (from_client, to_client) = tokio::io::split(stream);
        let to_client = AsyncMutex::new(LineWriter::new(to_client, limits.write));
        let quota = policy.quota();
        let policy = Mutex::new(policy);
        let looked_up = Notify::new();
        let relay =
            Self { subject, policy, ongoing, log, limits, quota, lookout, looked_up, to_client };
        (relay, from_client)
    }

    /// Carries messages both ways until one side ends.
    pub(crate) async fn run(
        &self,
        from_client: ReadHalf<S>,
        to_server: impl AsyncWrite + Unpin,
        from_server: impl AsyncRead + Unpin,
    ) -> RelayEnd {
        let limits = self.limits;
        let from_client = LineReader::new(from_client, limits.line, limits.message);
        let from_server = LineReader::new(from_server, limits.line, limits.message);
        let to_server = AsyncMutex::new(Some(LineWriter::new(to_server, limits.write)));
        let mut downward = Box::pin(self.downward(from_server, &to_server));
        let heard = Heard::default();
        let end = tokio::select! {
            end = self.upward(from_client, &to_server, &heard) => end,
            end = &mut downward => end,
            () = when_woken(heard.until_silent(self.limits)) => RelayEnd::Silent,
            () = when_woken(self.ongoing.closed_by_operator()) => RelayEnd::Operator,
        };
        if let RelayEnd::ClientClosed = end {
            // Closing a server's stdin is how it is told to end (MCP, lifecycle of stdio). Meanwhile it
            // goes on: what it still has to say to a client that has said everything.
            let told = async {
                if let Some(mut to_server) = to_server.lock().await.take() {
                    // A pipe is closed by being dropped, a stream within the process by being told.
                    drop(to_server.close().await);
                }
            };
            drop(timeout(self.limits.drain, async { tokio::join!(told, downward) }).await);
        } else {
            // It may have stopped with a lock in its hands, and is not asked any more.
            drop(downward);
        }
        drop(timeout(self.limits.drain, self.farewell(&end)).await);
        end
    }

    /// What the client is told at the end, where it still listens.
    async fn farewell(&self, end: &RelayEnd) {
        match end {
            RelayEnd::ClientGone => return,
            RelayEnd::ServerClosed | RelayEnd::Server(FrameError::Io(_)) => {
                self.abandon("The server ended").await;
            }
            RelayEnd::Operator => {
                let reason = format!("The session is closed: {end}");
                self.abandon(&reason).await;
                let line = crate::policy::protocol_error(&reason);
                drop(self.to_client.lock().await.send(&line).await);
            }
            RelayEnd::Client(FrameError::TooLong(_) | FrameError::TooSlow(_)) => {
                let line = crate::policy::protocol_error(&end.to_string());
                drop(self.to_client.lock().await.send(&line).await);
            }
            _ => {}
        }
        drop(self.to_client.lock().await.close().await);
    }

    /// From the client to the server.
    async fn upward(
        &self,
        mut from_client: LineReader<ReadHalf<S>>,
        to_server: &AsyncMutex<Option<LineWriter<impl AsyncWrite + Unpin>>>,
        heard: &Heard,
    ) -> RelayEnd {
        let mut lookout = self.lookout.again();
        loop {
            let line = match from_client.next().await {
                Err(error) => return RelayEnd::of_client(error),
                Ok(None) => return RelayEnd::ClientClosed,
                Ok(Some(line)) => line,
            };
            heard.now();
            self.pace(line.len()).await;
            let mut judgement = self.policy().judge_client(line);
            if let Verdict::LookUp(permit) = judgement.verdict {
                let asked = match to_server.lock().await.as_mut() {
                    Some(to_server) => to_server.forward(permit).await,
                    None => return RelayEnd::ServerClosed,
                };
                if let Err(error) = asked {
                    return RelayEnd::Server(error);
                }
                self.until_looked_up().await;
                judgement = self.policy().judge_looked_up(line);
            }
            let Judgement { verdict, record } = judgement;
            if let Err(error) = self.record("client", record).await {
                return error.into();
            }
            let sent = match verdict {
                Verdict::Forward(permit) => match to_server.lock().await.as_mut() {
                    Some(to_server) => {
                        lookout.clear().await;
                        to_server.forward(permit).await.map_err(RelayEnd::Server)
                    }
                    None => return RelayEnd::ServerClosed,
                },
                Verdict::Answer(line) => self.answer_client(&line).await,
                Verdict::Drop | Verdict::LookUp(_) | Verdict::LookedUp => Ok(()),
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }

    /// From the server to the client.
    async fn downward(
        &self,
        mut from_server: LineReader<impl AsyncRead + Unpin>,
        to_server: &AsyncMutex<Option<LineWriter<impl AsyncWrite + Unpin>>>,
    ) -> RelayEnd {
        let mut lookout = self.lookout.again();
        loop {
            let line = match from_server.next().await {
                Err(error) => return RelayEnd::Server(error),
                Ok(None) => return RelayEnd::ServerClosed,
                Ok(Some(line)) => line,
            };
            self.pace(line.len()).await;
            let Judgement { verdict, record } = self.policy().judge_server(line);
            if let Err(error) = self.record("server", record).await {
                return error.into();
            }
            let sent = match verdict {
                Verdict::Forward(permit) => {
                    let mut to_client = self.to_client.lock().await;
                    lookout.clear().await;
                    let sent = to_client.forward(permit).await;
                    sent.map_err(RelayEnd::of_client)
                }
                Verdict::Answer(line) => match to_server.lock().await.as_mut() {
                    Some(to_server) => to_server.send(&line).await.map_err(RelayEnd::Server),
                    None => Ok(()),
                },
                Verdict::LookedUp => {
                    self.looked_up.notify_one();
                    Ok(())
                }
                Verdict::Drop | Verdict::LookUp(_) => Ok(()),
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }

    /// Holds a message up until the octets before it are within the principal's rate. Meanwhile nothing
    /// more is read, so whoever sends is slowed down by its own full pipe.
    async fn pace(&self, octets: usize) {
        let Some(quota) = &self.quota else { return };
        while let Err(wait) = quota.pass(octets, Instant::now()) {
            sleep(wait.min(LOOK)).await;
        }
    }

    /// Waits until the server has said which tools it has, or does not say it in time. Meanwhile nothing
    /// more is read from the client, so no message overtakes the call that waits.
    async fn until_looked_up(&self) {
        let looked_up = async {
            while self.policy().is_looking_up() {
                self.looked_up.notified().await;
            }
        };
        if timeout(LOOK_UP, looked_up).await.is_err() {
            self.policy().give_up_looking();
        }
    }

    fn policy(&self) -> std::sync::MutexGuard<'_, ClientPolicy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer_client(&self, line: &[u8]) -> Result<(), RelayEnd> {
        self.to_client.lock().await.send(line).await.map_err(RelayEnd::of_client)
    }

    /// Requests that will never be answered get an error instead of silence.
    async fn abandon(&self, message: &str) {
        let answers = self.policy().abandon(message);
        for line in answers {
            if self.answer_client(&line).await.is_err() {
                return;
            }
        }
    }

    async fn record(&self, from: &'static str, record: Option<Record>) -> Result<(), NoRecord> {
        let Some(Record { method, name, decision }) = record else { return Ok(()) };
        let mut event = self.subject.event("allowed");
        event.from = Some(from);
        event.method = Some(&method);
        event.name = name.as_deref();
        let reason;
        match decision {
            Decision::Allowed => {
                self.ongoing.calls.fetch_add(1, Ordering::Relaxed);
            }
            Decision::Denied(refusal) => {
                if from == "server" && method == "unreadable" && !self.is_first_junk() {
                    return Ok(());
                }
                let is_limited = refusal.retry_after().is_some();
                event.event = if is_limited { "limited" } else { "denied" };
                event.cause = Some(refusal.cause());
                // By the principal where the limit is the principal's, however many sessions it has.
                let quota = self.quota.as_ref().filter(|_| is_limited);
                let denials = &self.ongoing.denials;
                if !quota.map_or_else(|| denials.is_told(&event), |quota| quota.is_told()) {
                    self.log.observe(&event);
                    return Ok(());
                }
                reason = refusal.to_string();
                event.reason = Some(&reason);
            }
            Decision::Redacted(secrets) => {
                event.event = "redacted";
                event.redacted = u64::try_from(secrets).ok();
                if !self.ongoing.denials.is_told(&event) {
                    self.log.observe(&event);
                    return Ok(());
                }
            }
            Decision::Answered { latency, error, redacted } => {
                event.redacted = u64::try_from(redacted).ok().filter(|secrets| *secrets > 0);
                event.event = "answered";
                event.from = None;
                event.latency_us = u64::try_from(latency.as_micros()).ok();
                event.error = Some(error);
                return self.log.note(&event).await;
            }
        }
        self.log.record(&event).await
    }

    /// Servers that print to their stdout do so often; the first line is recorded, all are counted.
    fn is_first_junk(&self) -> bool {
        self.ongoing.junk.fetch_add(1, Ordering::Relaxed) == 0
    }
}
