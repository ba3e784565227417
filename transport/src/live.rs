//! The sessions that there are at present: who they are, what they have done, and how one is ended.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::Peer;
use crate::denials::Denials;

/// The sessions of one gateway.
#[derive(Debug, Default)]
pub struct Live {
    state: Mutex<State>,
    children: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<u64, Arc<Ongoing>>,
    /// Of sessions that are over.
    traffic: Traffic,
}

/// Octets inside of TLS, since the gateway was started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// From clients.
    pub received: u64,
    /// To clients.
    pub sent: u64,
}

/// What is spoken in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spoken {
    /// MCP in lines, over the session's own connection.
    Lines,
    /// A connection of HTTP: behind it are as many sessions as were opened, or none.
    Connection,
    /// MCP behind requests of HTTP.
    Http,
    /// What the client's first octet will tell.
    Unsaid,
}

impl Spoken {
    fn number(self) -> u8 {
        match self {
            Self::Lines => 0,
            Self::Connection => 1,
            Self::Http => 2,
            Self::Unsaid => 3,
        }
    }

    fn of_number(number: u8) -> Self {
        [Self::Lines, Self::Connection, Self::Http]
            .into_iter()
            .find(|spoken| spoken.number() == number)
            .unwrap_or(Self::Unsaid)
    }
}

/// One session, as it is now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LiveSession {
    /// Its number, as in the audit.
    pub number: u64,
    /// The client.
    pub peer: Arc<Peer>,
    /// Where from. Never what an authorization rests on.
    pub address: Option<SocketAddr>,
    /// What is spoken in it.
    pub spoken: Spoken,
    /// Since when; `None` where the clock could not be read.
    pub since: Option<UnixTime>,
    /// Requests allowed.
    pub calls: u64,
    /// Octets both ways.
    pub traffic: Traffic,
}

impl Live {
    /// All sessions, the oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<LiveSession> {
        let view = |(number, session): (&u64, &Arc<Ongoing>)| LiveSession {
            number: *number,
            peer: Arc::clone(&session.peer),
            address: session.address,
            spoken: Spoken::of_number(session.spoken.load(Ordering::Relaxed)),
            since: session.since,
            calls: session.calls.load(Ordering::Relaxed),
            traffic: session.traffic(),
        };
        self.lock().sessions.iter().map(view).collect()
    }

    /// How many sessions there are.
    #[must_use]
    pub fn open(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Child processes that have not been reaped.
    #[must_use]
    pub fn children(&self) -> u64 {
        self.children.load(Ordering::Relaxed)
    }

    /// The octets of all sessions that there have been.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let state = self.lock();
        let all = state.sessions.values().map(|session| session.traffic());
        all.fold(state.traffic, Traffic::and)
    }

    /// Ends a session, which is told so; whether there was one of this number.
    pub fn close(&self, number: u64) -> bool {
        let session = self.lock().sessions.get(&number).cloned();
        session.map(|session| session.closing.notify_one()).is_some()
    }

    /// Sessions that have had something denied since it was summed up last.
    pub(crate) fn denied(&self) -> Vec<(u64, Arc<Ongoing>)> {
        let state = self.lock();
        let denied = state.sessions.iter().filter(|(_, session)| !session.denials.is_none());
        denied.map(|(number, session)| (*number, Arc::clone(session))).collect()
    }

    pub(crate) fn enter(
        self: &Arc<Self>,
        number: u64,
        peer: &Arc<Peer>,
        address: Option<SocketAddr>,
        spoken: Spoken,
        since: Option<UnixTime>,
    ) -> Entered {
        let peer = Arc::clone(peer);
        let counted = (AtomicU64::new(0), AtomicU64::new(0));
        let session = Ongoing {
            peer,
            address,
            spoken: AtomicU8::new(spoken.number()),
            since,
            calls: AtomicU64::new(0),
            junk: AtomicU64::new(0),
            denials: Denials::default(),
            received: counted.0,
            sent: counted.1,
            closing: Notify::new(),
        };
        let session = Arc::new(session);
        self.lock().sessions.insert(number, Arc::clone(&session));
        Entered { live: Arc::clone(self), number, session }
    }

    /// Counts a child process until what is returned is dropped.
    pub(crate) fn child(self: &Arc<Self>) -> ChildCounted {
        self.children.fetch_add(1, Ordering::Relaxed);
        ChildCounted(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic {
    fn and(self, other: Self) -> Self {
        Self { received: self.received + other.received, sent: self.sent + other.sent }
    }
}

/// What a session is and does. Counting costs an atomic addition on memory that nobody else writes.
pub(crate) struct Ongoing {
    pub(crate) peer: Arc<Peer>,
    address: Option<SocketAddr>,
    spoken: AtomicU8,
    since: Option<UnixTime>,
    /// Requests allowed.
    pub(crate) calls: AtomicU64,
    /// Lines of the server that were no messages.
    pub(crate) junk: AtomicU64,
    /// What was denied within the present second.
    pub(crate) denials: Denials,
    received: AtomicU64,
    sent: AtomicU64,
    closing: Notify,
}

impl fmt::Debug for Ongoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ongoing").field("principal", &self.peer.principal).finish_non_exhaustive()
    }
}

impl Ongoing {
    /// Waits until the operator closes it.
    pub(crate) async fn closed_by_operator(&self) {
        self.closing.notified().await;
    }

    /// The client has shown what it speaks.
    pub(crate) fn speaks(&self, spoken: Spoken) {
        self.spoken.store(spoken.number(), Ordering::Relaxed);
    }

    /// Counts the octets of its stream.
    pub(crate) fn counting<S>(&self, stream: S) -> Counting<'_, S> {
        Counting { stream, session: self }
    }

    fn traffic(&self) -> Traffic {
        let (received, sent) = (&self.received, &self.sent);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic { received: read(received), sent: read(sent) }
    }
}

/// A place among the live sessions, left when it is dropped.
pub(crate) struct Entered {
    live: Arc<Live>,
    number: u64,
    session: Arc<Ongoing>,
}

impl std::ops::Deref for Entered {
    type Target = Ongoing;

    fn deref(&self) -> &Ongoing {
        &self.session
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.live.lock();
        state.sessions.remove(&self.number);
        state.traffic = state.traffic.and(self.session.traffic());
    }
}

/// A child process among those that are counted.
pub(crate) struct ChildCounted(Arc<Live>);

impl Drop for ChildCounted {
    fn drop(&mut self) {
        self.0.children.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose octets are counted.
pub(crate) struct Counting<'a, S> {
    stream: S,
    session: &'a Ongoing,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        count(&self.session.received, buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        if let Poll::Ready(Ok(written)) = written {
            count(&self.session.sent, written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn count(counter: &AtomicU64, octets: usize) {
    if octets > 0 {
        counter.fetch_add(u64::try_from(octets).unwrap_or_default(), Ordering::Relaxed);
    }
}
