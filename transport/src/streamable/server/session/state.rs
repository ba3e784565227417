//! What a session remembers: which message belongs on which stream, and what is kept of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::STANDALONE;
use crate::message::{Concerning, Id, Message, Object, Outcome, Value};
use crate::streamable::WITH_SESSIONS;
use crate::streamable::annotations::Annotations;
use crate::streamable::server::outbox::Outbox;

/// Streams that have ended, and are kept to be resumed.
const MAX_ENDED: usize = 64;

/// A session with more unread than this is held up.
const HIGH: usize = 1024 * 1024;

/// Kept of what was read on streams that are read, for whoever loses one.
const KEPT_OF_READ: usize = 1024 * 1024;

/// Kept of what belongs to no request, while nobody listens for that.
const KEPT_FOR_NOBODY: usize = 256 * 1024;

#[derive(Default)]
pub(super) struct State {
    pub(super) streams: BTreeMap<u64, Outbox>,
    pub(super) last_stream: u64,
    pub(super) last_reader: u64,
    /// With sessions: the streams of the requests in flight, and of progress.
    pub(super) requests: HashMap<Id, u64>,
    pub(super) tokens: HashMap<Id, u64>,
    /// With sessions: the request that opened it, and the revision that was agreed.
    pub(super) initialize: Option<Id>,
    pub(super) version: Option<String>,
    /// What the other side said last that belongs to no request: why it ends, perhaps.
    pub(super) farewell: Option<Bytes>,
    /// Stateless: requests whose reader left before the answer, and whose server is to be told.
    pub(super) departed: VecDeque<u64>,
    /// Stateless: what tools want to see in headers, once they have been listed.
    pub(super) annotations: Option<Arc<Annotations>>,
    pub(super) used: Option<Instant>,
    pub(super) is_over: bool,
}

/// A message, and the stream that it belongs on.
pub(super) struct Addressed {
    pub(super) stream: u64,
    pub(super) line: Bytes,
    pub(super) is_error: bool,
    pub(super) is_last: bool,
}

impl State {
    /// Where a message goes in a session that is one client's.
    pub(super) fn address(&mut self, line: &[u8], message: &Message<'_>) -> Option<Addressed> {
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
    pub(super) fn address_shared(
        &mut self,
        line: &[u8],
        message: &Message<'_>,
    ) -> Option<Addressed> {
        let concerning = Concerning::read(line, message)?;
        let Some(outbox) = self.streams.get(&concerning.number) else {
            if matches!(message, Message::Response { .. }) {
                // Of what is answered there is nothing to cancel.
                self.departed.retain(|departed| *departed != concerning.number);
            }
            return None;
        };
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

    /// From here on the server may hear of a stream's request.
    pub(super) fn sending(&mut self, stream: u64) {
        if let Some(outbox) = self.streams.get_mut(&stream) {
            outbox.is_sent = true;
        }
    }

    fn stream_of(&self, method: &str, params: Object<'_>) -> Option<u64> {
        let known = params.known(["progressToken"]).ok()?;
        let token = known.get("progressToken").and_then(Id::from_value)?;
        self.tokens.get(&token).copied().filter(|_| method == "notifications/progress")
    }

    /// The request that somebody reads and that began last, or none.
    pub(super) fn latest_request(&self) -> u64 {
        let is_open = |outbox: &Outbox| outbox.is_read() && !outbox.is_done();
        let mut latest = self.streams.iter().rev();
        latest.find(|(_, outbox)| is_open(outbox)).map_or(STANDALONE, |(stream, _)| *stream)
    }

    /// What belongs to no request goes to whoever listens for that, or else along with a request.
    pub(super) fn standalone(&self) -> u64 {
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

    pub(super) fn has_room(&self) -> bool {
        let unread = self.streams.values().filter(|outbox| outbox.is_read()).map(Outbox::unread);
        self.is_over || unread.sum::<usize>() < HIGH
    }

    /// Ends the stream of the reader that has most to read.
    pub(super) fn give_up_on_slowest(&mut self) {
        let read = self.streams.values_mut().filter(|outbox| outbox.is_read());
        if let Some(slowest) = read.max_by_key(|outbox| outbox.unread()) {
            slowest.give_up();
        }
    }

    /// Forgets what nobody reads, the oldest first, beyond what is kept to be resumed. What was read
    /// already has a budget of its own: it must not push out what nobody has read yet.
    pub(super) fn make_room(&mut self, octets: usize) {
        while let Some(oldest) = self.oldest_to_forget(octets) {
            self.streams.remove(&oldest);
        }
        let (mut unread, mut read) = (octets, KEPT_OF_READ);
        for (stream, outbox) in &mut self.streams {
            if outbox.is_read() {
                outbox.forget_read(read);
                read = read.saturating_sub(outbox.read_octets());
            } else {
                outbox.shrink(if *stream == STANDALONE { KEPT_FOR_NOBODY } else { unread });
                unread = unread.saturating_sub(outbox.octets());
            }
        }
    }

    /// Of the streams that have ended and that nobody reads the oldest, if there are too many or if
    /// too much is kept.
    fn oldest_to_forget(&self, octets: usize) -> Option<u64> {
        let mut ended = self.streams.iter().filter(|(stream, outbox)| {
            **stream != STANDALONE && outbox.is_done() && !outbox.is_read()
        });
        let (oldest, _) = ended.next()?;
        (ended.count() >= MAX_ENDED || self.kept() > octets).then_some(*oldest)
    }

    /// Octets that are kept for nobody at present.
    fn kept(&self) -> usize {
        self.streams.values().filter(|outbox| !outbox.is_read()).map(Outbox::octets).sum()
    }
}
