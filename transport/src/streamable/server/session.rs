//! One session of lines, and the HTTP streams that its messages come and go by.

mod state;

use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use self::state::{Addressed, State};
use super::Owner;
use super::outbox::{Event, Next, Outbox};
use crate::frame::{FrameError, LineReader, LineWriter};
use crate::message::{Id, Message, request_as};
use crate::policy::error;
use crate::streamable::annotations::Annotations;
use crate::woken::when_woken;

/// The stream of what belongs to no request.
pub(crate) const STANDALONE: u64 = 0;

/// Of a message that is longer nothing is kept for longer than it must be.
const MUCH: usize = 64 * 1024;

/// Streams of one session at once, those included that are kept to be resumed, and those whose reader
/// left and whose server has not been told yet.
const MAX_STREAMS: usize = 1024;

/// Until a server is told again that a reader left, where it did not hear in time.
const AGAIN: Duration = Duration::from_secs(1);

/// JSON-RPC: there is no such method.
const METHOD_NOT_FOUND: i32 = -32601;

/// Refusals that may wait for a server to read them. One that asks on without reading gets no more.
const REFUSALS: usize = 64;

/// Letters of a method that a refusal repeats.
const SHOWN: usize = 64;

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
    /// Told when the reader of a request left before its answer.
    departed: Notify,
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
            departed: Notify::new(),
            limits,
        });
        tokio::spawn(Arc::clone(&session).read(from_server));
        session
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Waits until the other side has said everything.
    pub(crate) async fn until_over(&self) {
        loop {
            let mut told = pin!(self.room.notified());
            told.as_mut().enable();
            if self.is_over() {
                return;
            }
            told.await;
        }
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
        self.write(line, None).await
    }

    /// Writes a line of the session's, or the request of a stream.
    async fn write(&self, line: &[u8], request: Option<u64>) -> Result<(), NoStream> {
        let mut to_server = self.to_server.lock().await;
        let to_server = to_server.as_mut().ok_or(NoStream::Ended)?;
        if let Some(request) = request {
            self.state().sending(request);
        }
        to_server.send(line).await.map_err(|_| NoStream::Ended)
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
        let request = Some(reading.stream);
        let sent = match self.era {
            Era::WithSessions => self.write(line, request).await,
            Era::Stateless => {
                let line = request_as(line, reading.stream).map_err(|_| NoStream::Ended)?;
                self.write(&line, request).await
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
        if state.streams.len() + state.departed.len() >= MAX_STREAMS {
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
        self.end();
        if let Some(mut to_server) = self.to_server.lock().await.take() {
            drop(to_server.close().await);
        }
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
        let (refusals, waiting) = mpsc::channel(REFUSALS);
        let distributed = async {
            loop {
                let line: Result<Option<&[u8]>, FrameError> = from_server.next().await;
                let Ok(Some(line)) = line else { return };
                self.distribute(line, &refusals).await;
            }
        };
        tokio::select! {
            () = distributed => {}
            () = when_woken(self.until_idle()) => {}
            () = when_woken(self.refuse(waiting)) => {}
            () = when_woken(self.cancel_departed()) => {}
        }
        self.close().await;
    }

    async fn until_idle(&self) {
        loop {
            sleep(self.limits.idle / 2).await;
            let state = self.state();
            let is_used = state.used.is_some_and(|used| used.elapsed() < self.limits.idle);
            let is_read = state.streams.values().any(Outbox::is_read);
            // A request that is never answered keeps nothing that nobody reads.
            if !is_used && !is_read {
                return;
            }
        }
    }

    /// Answers requests of the server, beside what it says: one that does not read at present, be it
    /// for a long message of one client's, keeps nobody else's answer back.
    async fn refuse(&self, mut waiting: mpsc::Receiver<Vec<u8>>) {
        while let Some(refusal) = waiting.recv().await {
            if self.send(&refusal).await.is_err() {
                break;
            }
        }
        // The end of what the server says is the end of the session.
        pending().await
    }

    async fn distribute(&self, line: &[u8], refusals: &mpsc::Sender<Vec<u8>>) {
        let Ok(message) = Message::read(line) else { return };
        match &message {
            Message::Request { id, method, .. } if self.era == Era::Stateless => {
                // There is no client that could be asked (MCP 2026-07-28, basic).
                let shown: String = method.chars().take(SHOWN).collect();
                let reason = format!("{shown}: requests of servers are not served here");
                // Where there is no room, nobody reads.
                let _ = refusals.try_send(error(Some(id), METHOD_NOT_FOUND, &reason, None));
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
        state.used = Some(Instant::now());
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

    /// The next message of a stream. What came before it has been taken: there is room for more.
    fn poll_next(&self, reading: &Reading, context: &Context<'_>) -> Poll<Option<Event>> {
        let keeps = self.era == Era::WithSessions;
        let mut state = self.state();
        let Some(outbox) = state.streams.get_mut(&reading.stream) else {
            return Poll::Ready(None);
        };
        let unread = outbox.unread();
        let next = outbox.next(reading.reader, reading.read, keeps, context.waker());
        let taken = unread - outbox.unread();
        if taken > MUCH {
            // No other message may come for long.
            state.make_room(self.limits.line);
        }
        drop(state);
        if taken > 0 {
            self.room.notify_waiters();
        }
        match next {
            Next::Wait => Poll::Pending,
            Next::End => Poll::Ready(None),
            Next::Event(event) => Poll::Ready(Some(event)),
        }
    }

    /// A reader went away.
    fn left(self: &Arc<Self>, reading: &Reading) {
        let mut state = self.state();
        state.used = Some(Instant::now());
        let Some(outbox) = state.streams.get_mut(&reading.stream) else { return };
        if !outbox.detach(reading.reader, reading.read) {
            return;
        }
        if self.era == Era::Stateless {
            let is_waited_for = outbox.is_sent && !outbox.is_answered();
            state.streams.remove(&reading.stream);
            if is_waited_for && !state.is_over {
                state.departed.push_back(reading.stream);
                self.departed.notify_one();
            }
        } else {
            state.make_room(self.limits.line);
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// MCP 2026-07-28: whoever closes the stream of a request cancels the request. It keeps its place
    /// until its server has been told: whoever asks and leaves faster than the server reads would
    /// fill the memory otherwise.
    async fn cancel_departed(&self) {
        loop {
            let next = self.state().departed.front().copied();
            let Some(number) = next else {
                self.departed.notified().await;
                continue;
            };
            let line = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number},"reason":"The client closed the stream"}}}}"#
            );
            match self.write(line.as_bytes(), None).await {
                Ok(()) => self.state().departed.retain(|told| *told != number),
                // Nobody reads at present, or the session is over.
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// The client cancelled a request: its stream ends without an answer.
    pub(crate) fn cancelled(&self, request: &Id) {
        let mut state = self.state();
        let Some(stream) = state.requests.remove(request) else { return };
        state.tokens.retain(|_, of| *of != stream);
        if let Some(outbox) = state.streams.get_mut(&stream) {
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

/// Somebody who reads a stream.
pub(crate) struct Reading {
    session: Arc<HttpSession>,
    pub(crate) stream: u64,
    reader: u64,
    /// The number of the message that was taken last.
    pub(crate) read: u64,
}

impl Reading {
    /// The next message; `None` at the stream's end. It stays the next one until it is [taken](Self::took).
    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Option<Event>> {
        self.session.poll_next(self, context)
    }

    /// All of a message has gone on, and what it took is free for others once the next one is asked for.
    pub(crate) fn took(&mut self, event: &Event) {
        self.read = event.number;
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
