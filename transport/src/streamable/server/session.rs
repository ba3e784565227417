//! One session of lines, and the HTTP streams that its messages come and go by.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep, timeout};

use super::Owner;
use super::outbox::{Event, Next, Outbox};
use crate::frame::{FrameError, LineReader, LineWriter};
use crate::message::{Id, Message, Object, Outcome, Value, request_as};
use crate::policy::error;
use crate::streamable::WITH_SESSIONS;
use crate::streamable::annotations::Annotations;
use crate::woken::when_woken;

/// The stream of what belongs to no request.
pub(crate) const STANDALONE: u64 = 0;

/// Streams of one session at once, those that are kept to be resumed included.
const MAX_STREAMS: usize = 1024;

/// Streams that have ended, and are kept to be resumed.
const MAX_ENDED: usize = 64;

/// A session with more unread than this is held up.
const HIGH: usize = 1024 * 1024;

/// Kept of what belongs to no request, while nobody listens for that.
const KEPT_FOR_NOBODY: usize = 256 * 1024;

/// JSON-RPC: there is no such method.
const METHOD_NOT_FOUND: i32 = -32601;

/// How requests relate to sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// Up to 2025-11-25: whoever initialized a session names it, and streams can be resumed.
    WithSessions,
    /// From 2026-07-28 on: all requests of an owner share one session of lines. Whoever closes the
    /// stream of a request cancels it.
    Stateless,
}

/// What a session bears.
#[derive(Debug, Clone)]
pub(crate) struct SessionLimits {
    /// Octets of one message, and of what is kept to be resumed.
    pub(crate) line: usize,
    /// From the first octet of a message to its last, and for a reader to take something.
    pub(crate) patience: Duration,
    /// Without a request or a reader.
    pub(crate) idle: Duration,
}

/// Why a request does not get a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoStream {
    /// A request with this id is in flight.
    DuplicateId,
    /// Too many are.
    TooMany,
    /// The session is over.
    Ended,
}

/// A session of lines, used by HTTP requests.
pub(crate) struct HttpSession {
    pub(crate) owner: Owner,
    pub(crate) era: Era,
    limits: SessionLimits,
    to_server: AsyncMutex<Option<LineWriter<WriteHalf<DuplexStream>>>>,
    state: Mutex<State>,
    /// Told when something was read.
    room: Notify,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<u64, Outbox>,
    last_stream: u64,
    last_reader: u64,
    /// With sessions: the streams of the requests in flight, and of progress.
    requests: HashMap<Id, u64>,
    tokens: HashMap<Id, u64>,
    /// With sessions: the request that opened it, and the revision that was agreed.
    initialize: Option<Id>,
    version: Option<String>,
    /// What the other side said last that belongs to no request: why it ends, perhaps.
    farewell: Option<Bytes>,
    /// Stateless: what tools want to see in headers, once they have been listed.
    annotations: Option<Arc<Annotations>>,
    used: Option<Instant>,
    is_over: bool,
}

impl HttpSession {
    /// Takes our end of a session of lines.
    pub(crate) fn start(
        owner: Owner,
        era: Era,
        limits: SessionLimits,
        near: DuplexStream,
    ) -> Arc<Self> {
        let (from_server, to_server) = tokio::io::split(near);
        let to_server = LineWriter::new(to_server, limits.patience);
        let mut state = State::default();
        state.streams.insert(STANDALONE, Outbox::default());
        let session = Arc::new(Self {
            owner,
            era,
            to_server: AsyncMutex::new(Some(to_server)),
            state: Mutex::new(state),
            room: Notify::new(),
            limits,
        });
        tokio::spawn(Arc::clone(&session).read(from_server));
        session
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// The revision that `initialize` has settled.
    pub(crate) fn version(&self) -> Option<String> {
        self.state().version.clone()
    }

    /// What the tools that were listed so far want to see in headers; `None` if none were.
    pub(crate) fn annotations(&self) -> Option<Arc<Annotations>> {
        self.state().annotations.clone()
    }

    /// Notes that there is no list of tools.
    pub(crate) fn has_no_tools(&self) {
        self.state().annotations.get_or_insert_default();
    }

    /// Why the session ended, if the other side said so.
    pub(crate) fn farewell(&self) -> Option<Bytes> {
        self.state().farewell.clone()
    }

    /// Sends a message of the client's.
    pub(crate) async fn send(&self, line: &[u8]) -> Result<(), NoStream> {
        self.touch();
        match self.to_server.lock().await.as_mut() {
            Some(to_server) => to_server.send(line).await.map_err(|_| NoStream::Ended),
            None => Err(NoStream::Ended),
        }
    }

    /// Sends a request of the client's, and gives the stream on which it is answered.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        line: &[u8],
        id: Id,
        method: &str,
        token: Option<Id>,
    ) -> Result<Reading, NoStream> {
        let reading = self.begin(id, method, token)?;
        let sent = match self.era {
            Era::WithSessions => self.send(line).await,
            Era::Stateless => {
                let line = request_as(line, reading.stream).map_err(|_| NoStream::Ended)?;
                self.send(&line).await
            }
        };
        sent.map(|()| reading)
    }

    fn begin(
        self: &Arc<Self>,
        id: Id,
        method: &str,
        token: Option<Id>,
    ) -> Result<Reading, NoStream> {
        let mut state = self.state();
        if state.is_over {
            return Err(NoStream::Ended);
        }
        if state.streams.len() >= MAX_STREAMS {
            return Err(NoStream::TooMany);
        }
        let is_known = self.era == Era::WithSessions && state.requests.contains_key(&id);
        if is_known {
            return Err(NoStream::DuplicateId);
        }
        state.last_stream += 1;
        let stream = state.last_stream;
        if self.era == Era::WithSessions {
            if method == "initialize" {
                state.initialize = Some(id.clone());
            }
            state.requests.insert(id.clone(), stream);
            state.tokens.extend(token.clone().map(|token| (token, stream)));
        }
        let mut outbox = Outbox::answering(id, token);
        outbox.lists_tools = method == "tools/list";
        state.streams.insert(stream, outbox);
        Ok(self.attach(&mut state, stream, 0))
    }

    /// Reads what belongs to no request; `None` if somebody does already.
    pub(crate) fn listen(self: &Arc<Self>) -> Option<Reading> {
        let mut state = self.state();
        let outbox = state.streams.get(&STANDALONE).filter(|outbox| !outbox.is_read())?;
        let first = outbox.first_unread();
        Some(self.attach(&mut state, STANDALONE, first))
    }

    /// Goes on with a stream after one of its messages; `None` if it is not there any more.
    pub(crate) fn resume(self: &Arc<Self>, stream: u64, number: u64) -> Option<Reading> {
        let mut state = self.state();
        state.streams.get(&stream).filter(|outbox| outbox.goes_on_after(number))?;
        Some(self.attach(&mut state, stream, number))
    }

    fn attach(self: &Arc<Self>, state: &mut State, stream: u64, read: u64) -> Reading {
        state.last_reader += 1;
        state.used = Some(Instant::now());
        let reader = state.last_reader;
        if let Some(outbox) = state.streams.get_mut(&stream) {
            outbox.attach(reader);
        }
        Reading { session: Arc::clone(self), stream, reader, read }
    }

    /// Ends the session: the server is told that its client has said everything.
    pub(crate) async fn close(&self) {
        if let Some(mut to_server) = self.to_server.lock().await.take() {
            drop(to_server.close().await);
        }
        self.end();
    }

    fn end(&self) {
        let mut state = self.state();
        state.is_over = true;
        state.streams.values_mut().for_each(Outbox::end);
        drop(state);
        self.room.notify_waiters();
    }

    /// Distributes what the server says until it has said everything, or nobody cares any more.
    async fn read(self: Arc<Self>, from_server: ReadHalf<DuplexStream>) {
        let limits = &self.limits;
        let mut from_server = LineReader::new(from_server, limits.line, limits.patience);
        let distributed = async {
            loop {
                let line: Result<Option<&[u8]>, FrameError> = from_server.next().await;
                let Ok(Some(line)) = line else { return };
                self.distribute(line).await;
            }
        };
        tokio::select! {
            () = distributed => {}
            () = when_woken(self.until_idle()) => {}
        }
        self.close().await;
    }

    async fn until_idle(&self) {
        loop {
            sleep(self.limits.idle / 2).await;
            let state = self.state();
            let is_used = state.used.is_some_and(|used| used.elapsed() < self.limits.idle);
            let is_read = state.streams.values().any(Outbox::is_read);
            if !is_used && !is_read && state.requests.is_empty() {
                return;
            }
        }
    }

    async fn distribute(&self, line: &[u8]) {
        let Ok(message) = Message::read(line) else { return };
        match &message {
            Message::Request { id, method, .. } if self.era == Era::Stateless => {
                // There is no client that could be asked (MCP 2026-07-28, basic).
                let reason = format!("{method}: requests of servers are not served here");
                let answer = error(Some(id), METHOD_NOT_FOUND, &reason, None);
                // Where the session is over, nobody waits for it any more.
                let _ = self.send(&answer).await;
            }
            Message::Stray(_) => self.state().farewell = Some(Bytes::copy_from_slice(line)),
            _ => {
                let addressed = match self.era {
                    Era::WithSessions => self.state().address(line, &message),
                    Era::Stateless => self.state().address_shared(line, &message),
                };
                if let Some(addressed) = addressed {
                    self.deliver(addressed).await;
                }
            }
        }
    }

    /// Puts a message on its stream. A reader that is slow holds up the session, and one that does
    /// not read at all loses its stream.
    async fn deliver(&self, addressed: Addressed) {
        while !self.state().has_room() {
            if timeout(self.limits.patience, self.until_room()).await.is_err() {
                self.state().give_up_on_slowest();
            }
        }
        let Addressed { stream, line, is_error, is_last } = addressed;
        let mut state = self.state();
        if let Some(outbox) = state.streams.get_mut(&stream) {
            outbox.push(line, is_error, is_last);
        }
        state.make_room(self.limits.line);
    }

    async fn until_room(&self) {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if self.state().has_room() {
                return;
            }
            room.await;
        }
    }

    /// The next message of a stream.
    fn poll_next(&self, reading: &mut Reading, context: &Context<'_>) -> Poll<Option<Event>> {
        let keeps = self.era == Era::WithSessions;
        let mut state = self.state();
        let Some(outbox) = state.streams.get_mut(&reading.stream) else {
            return Poll::Ready(None);
        };
        match outbox.next(reading.reader, reading.read, keeps, context.waker()) {
            Next::Wait => Poll::Pending,
            Next::End => Poll::Ready(None),
            Next::Event(event) => {
                reading.read = event.number;
                drop(state);
                self.room.notify_waiters();
                Poll::Ready(Some(event))
            }
        }
    }

    /// A reader went away.
    fn left(self: &Arc<Self>, reading: &Reading) {
        let mut state = self.state();
        state.used = Some(Instant::now());
        let Some(outbox) = state.streams.get_mut(&reading.stream) else { return };
        if !outbox.detach(reading.reader) {
            return;
        }
        if self.era == Era::Stateless {
            let is_answered = outbox.is_done();
            state.streams.remove(&reading.stream);
            if !is_answered && !state.is_over {
                tokio::spawn(Arc::clone(self).cancel(reading.stream));
            }
        } else {
            state.make_room(self.limits.line);
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// MCP 2026-07-28: whoever closes the stream of a request cancels the request.
    async fn cancel(self: Arc<Self>, number: u64) {
        let line = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"The client closed the stream"}}}}"#
        );
        // Where the session is over, the request is too.
        let _ = self.send(line.as_bytes()).await;
    }

    /// The client cancelled a request: its stream ends without an answer.
    pub(crate) fn cancelled(&self, request: &Id) {
        let mut state = self.state();
        let stream = state.requests.remove(request);
        if let Some(outbox) = stream.and_then(|stream| state.streams.get_mut(&stream)) {
            outbox.end();
        }
    }

    fn touch(&self) {
        self.state().used = Some(Instant::now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message, and the stream that it belongs on.
struct Addressed {
    stream: u64,
    line: Bytes,
    is_error: bool,
    is_last: bool,
}

impl State {
    /// Where a message goes in a session that is one client's.
    fn address(&mut self, line: &[u8], message: &Message<'_>) -> Option<Addressed> {
        let on = |stream, is_error, is_last| {
            Some(Addressed { stream, line: Bytes::copy_from_slice(line), is_error, is_last })
        };
        match message {
            Message::Response { id, outcome } => {
                let stream = self.requests.remove(id)?;
                let token = self.streams.get(&stream).and_then(|outbox| outbox.token.clone());
                if let Some(token) = token {
                    self.tokens.remove(&token);
                }
                if self.initialize.as_ref() == Some(id) {
                    self.settle(*outcome);
                }
                on(stream, matches!(outcome, Outcome::Error(_)), true)
            }
            Message::Notification { method, params } => {
                let own = params.and_then(|params| self.stream_of(method, params));
                let stream = own.unwrap_or_else(|| match &**method {
                    // Said while something is done, it is about that.
                    "notifications/message" | "notifications/progress" => self.latest_request(),
                    _ => self.standalone(),
                });
                on(stream, false, false)
            }
            // A server asks in the course of a request, and does not say of which.
            Message::Request { .. } => on(self.latest_request(), false, false),
            Message::Stray(_) => None,
        }
    }

    /// Where a message goes in a session that many requests share.
    fn address_shared(&mut self, line: &[u8], message: &Message<'_>) -> Option<Addressed> {
        let concerning = crate::message::Concerning::read(line, message)?;
        let outbox = self.streams.get(&concerning.number)?;
        let line = concerning.called(outbox.request.as_ref()?, outbox.token.as_ref());
        if let Message::Response { outcome: Outcome::Result(result), .. } = message
            && outbox.lists_tools
        {
            Arc::make_mut(self.annotations.get_or_insert_default()).note(*result);
        }
        let is_last = matches!(message, Message::Response { .. });
        let is_error = matches!(message, Message::Response { outcome: Outcome::Error(_), .. });
        Some(Addressed { stream: concerning.number, line: line.into(), is_error, is_last })
    }

    fn stream_of(&self, method: &str, params: Object<'_>) -> Option<u64> {
        let known = params.known(["progressToken"]).ok()?;
        let token = known.get("progressToken").and_then(Id::from_value)?;
        self.tokens.get(&token).copied().filter(|_| method == "notifications/progress")
    }

    /// The request that somebody reads and that began last, or none.
    fn latest_request(&self) -> u64 {
        let is_open = |outbox: &Outbox| outbox.is_read() && !outbox.is_done();
        let mut latest = self.streams.iter().rev();
        latest.find(|(_, outbox)| is_open(outbox)).map_or(STANDALONE, |(stream, _)| *stream)
    }

    /// What belongs to no request goes to whoever listens for that, or else along with a request.
    fn standalone(&self) -> u64 {
        match self.streams.get(&STANDALONE).is_some_and(Outbox::is_read) {
            true => STANDALONE,
            false => self.latest_request(),
        }
    }

    fn settle(&mut self, outcome: Outcome<'_>) {
        let Outcome::Result(result) = outcome else { return };
        let version = result.known(["protocolVersion"]).ok();
        let version = version.and_then(|known| known.get("protocolVersion"));
        let version = version.and_then(Value::as_str);
        self.version =
            version.filter(|version| WITH_SESSIONS.contains(&&**version)).map(Into::into);
    }

    fn has_room(&self) -> bool {
        let unread = self.streams.values().filter(|outbox| outbox.is_read()).map(Outbox::unread);
        self.is_over || unread.sum::<usize>() < HIGH
    }

    /// Ends the stream of the reader that has most to read.
    fn give_up_on_slowest(&mut self) {
        let read = self.streams.values_mut().filter(|outbox| outbox.is_read());
        if let Some(slowest) = read.max_by_key(|outbox| outbox.unread()) {
            slowest.give_up();
        }
    }

    /// Forgets what nobody reads, the oldest first, beyond what is kept to be resumed.
    fn make_room(&mut self, octets: usize) {
        let ended = |(stream, outbox): (&u64, &Outbox)| {
            (*stream != STANDALONE && outbox.is_done() && !outbox.is_read()).then_some(*stream)
        };
        let mut forgettable: Vec<u64> = self.streams.iter().filter_map(ended).collect();
        forgettable.reverse();
        while forgettable.len() > MAX_ENDED || (!forgettable.is_empty() && self.kept() > octets) {
            if let Some(oldest) = forgettable.pop() {
                self.streams.remove(&oldest);
            }
        }
        let unread = self.streams.iter_mut().filter(|(_, outbox)| !outbox.is_read());
        let mut left = octets;
        for (stream, outbox) in unread {
            outbox.shrink(if *stream == STANDALONE { KEPT_FOR_NOBODY } else { left });
            left = left.saturating_sub(outbox.octets());
        }
    }

    /// Octets that are kept for nobody at present.
    fn kept(&self) -> usize {
        self.streams.values().filter(|outbox| !outbox.is_read()).map(Outbox::octets).sum()
    }
}

/// Somebody who reads a stream.
pub(crate) struct Reading {
    session: Arc<HttpSession>,
    pub(crate) stream: u64,
    reader: u64,
    /// The number of the message read last.
    pub(crate) read: u64,
}

impl Reading {
    /// The next message; `None` at the stream's end.
    pub(crate) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Event>> {
        let session = Arc::clone(&self.session);
        session.poll_next(self, context)
    }

    /// Whether the stream can be resumed.
    pub(crate) fn can_resume(&self) -> bool {
        self.session.era == Era::WithSessions
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let session = Arc::clone(&self.session);
        session.left(self);
    }
}
