//! Streams of events: the answer to a request, or what a server says unasked (up to 2025-11-25).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

use super::answer::{Answer, Kind, by, failure, line_of};
use super::exchange::Ask;
use super::failure::Failure;
use super::{LARGE, Talk};
use crate::streamable::sse::{Event, EventReader, TooLong};
use crate::streamable::{LAST_EVENT_ID, SESSION_ID};
use crate::{Backoff, Limits};

/// Before a stream is taken up again, if its server does not say: and how little or much it may say.
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// From asking for a stream to its first octet.
const HEAD: Duration = Duration::from_secs(30);

/// Attempts in a row to take a stream up again that come to nothing.
const ATTEMPTS: u32 = 5;

/// Up to where a stream was heard.
#[derive(Debug)]
pub(super) struct Mark {
    /// The last event that has an id.
    last: Option<HeaderValue>,
    pause: Duration,
    /// When something came last.
    heard: Instant,
}

impl Default for Mark {
    fn default() -> Self {
        Self { last: None, pause: PAUSE, heard: Instant::now() }
    }
}

impl Mark {
    fn note(&mut self, event: &Event) {
        if event.id.is_some() {
            self.last.clone_from(&event.id);
        }
        if let Some(pause) = event.retry {
            self.pause = pause.clamp(SHORTEST, LONGEST);
        }
    }
}

/// How a stream of events came to an end.
#[derive(Debug)]
pub(super) enum Followed {
    /// With the answer to the request.
    Answered,
    /// Without, for this reason.
    Ended(String),
}

/// Events as they come with an answer.
struct Events<'a> {
    answer: &'a mut Answer,
    reader: EventReader,
    octets: Bytes,
    /// Since when there has been an event that is not whole.
    begun: Option<Instant>,
    room: &'a AsyncMutex<()>,
    /// While a large event is heard and said.
    taken: Option<MutexGuard<'a, ()>>,
}

impl<'a> Events<'a> {
    fn of(answer: &'a mut Answer, limits: &Limits, room: &'a AsyncMutex<()>) -> Self {
        // The line end of a message counts too.
        let reader = EventReader::new(limits.line.saturating_sub(1));
        Self { answer, reader, octets: Bytes::new(), begun: None, room, taken: None }
    }

    /// The next event, or why there is none. The one before has been said.
    async fn next(
        &mut self,
        limits: &Limits,
        patience: Option<Duration>,
        mark: &mut Mark,
    ) -> Result<Result<Event, String>, Failure> {
        self.taken = None;
        loop {
            match self.reader.read(&mut self.octets) {
                Ok(Some(event)) => {
                    self.begun = None;
                    mark.note(&event);
                    return Ok(Ok(event));
                }
                Ok(None) => {}
                Err(TooLong) => return Err(Failure::TooLong(limits.line)),
            }
            if self.taken.is_none() && self.reader.len() > LARGE {
                self.taken = Some(self.room.lock().await);
                self.begun = None;
                mark.heard = Instant::now();
            }
            self.begun =
                self.begun.or_else(|| Some(Instant::now())).filter(|_| self.reader.is_begun());
            let whole = self.begun.map(|begun| begun + limits.message);
            let silent = patience.map(|patience| mark.heard + patience);
            let deadline = whole.into_iter().chain(silent).min();
            match by(deadline, self.answer.body.frame()).await? {
                None => return Ok(Err("the stream ended".to_owned())),
                Some(Ok(frame)) => {
                    mark.heard = Instant::now();
                    // Trailers say nothing.
                    self.octets = frame.into_data().unwrap_or_default();
                }
                Some(Err(error)) => match self.answer.connection.why(&error).await {
                    Failure::Broken(reason) => return Ok(Err(reason)),
                    failure => return Err(failure),
                },
            }
        }
    }
}

impl Talk {
    /// Passes on what comes over a stream, until the answer is there or the stream is over.
    pub(super) async fn follow(
        &self,
        answer: &mut Answer,
        ask: Option<&Ask>,
        mark: &mut Mark,
    ) -> Result<Followed, Failure> {
        let limits = &self.server.limits;
        // What is wanted for as long as it lasts may be silent for as long as it likes.
        let patience = ask.filter(|ask| !ask.is_listen).map(|_| limits.answer);
        let mut events = Events::of(answer, limits, &self.room);
        loop {
            match events.next(limits, patience, mark).await? {
                Ok(event) if event.data.is_empty() || event.is_foreign => {}
                Ok(event) => {
                    if self.hear(line_of(event.data), ask).await {
                        return Ok(Followed::Answered);
                    }
                }
                Err(reason) => return Ok(Followed::Ended(reason)),
            }
        }
    }

    /// Takes up a stream that was over before the answer came, where its server offers that
    /// (MCP 2025-11-25, resumability; in 2026-07-28 there is no such thing).
    pub(super) async fn resume(
        &self,
        ask: &Ask,
        mark: &mut Mark,
        reason: String,
    ) -> Result<Answer, Failure> {
        if ask.is_modern || mark.last.is_none() {
            return Err(Failure::Broken(reason));
        }
        for _ in 0..ATTEMPTS {
            sleep(mark.pause).await;
            if mark.heard.elapsed() > self.server.limits.answer {
                return Err(Failure::TooLate);
            }
            match self.stream_from(mark.last.clone()).await {
                Ok(answer) => return Ok(answer),
                // It may come back.
                Err(Failure::Unreachable(_) | Failure::Broken(_) | Failure::TooLate) => {}
                Err(Failure::Status(status)) if status.is_server_error() => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Broken(reason))
    }

    /// Listens to what the server says unasked, for as long as it offers that.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut backoff = Backoff::new(PAUSE, LONGEST);
        let mut mark = Mark::default();
        loop {
            let before = mark.heard;
            let failed = match self.stream_from(mark.last.clone()).await {
                Ok(mut answer) => self.follow(&mut answer, None, &mut mark).await.err(),
                Err(failure) => Some(failure),
            };
            let pause = match failed {
                // 405, for one: there is no such stream.
                Some(Failure::Status(status)) if status.is_client_error() => return,
                Some(Failure::ContentType | Failure::Redirect) => return,
                Some(failure) => {
                    self.fail(None, failure).await;
                    backoff.pause()
                }
                None if mark.heard == before => backoff.pause(),
                None => {
                    backoff.reset();
                    Duration::ZERO
                }
            };
            sleep(pause.max(mark.pause)).await;
        }
    }

    /// A stream of events, from an event on.
    async fn stream_from(&self, last: Option<HeaderValue>) -> Result<Answer, Failure> {
        let mut headers = self.state().session_headers();
        let has_session = headers.contains_key(SESSION_ID);
        headers.extend(last.map(|last| (LAST_EVENT_ID, last)));
        let asking = self.send(Method::GET, headers, Bytes::new());
        let answer = timeout(HEAD, asking).await.map_err(|_| Failure::TooLate)??;
        match answer.kind() {
            _ if answer.status != StatusCode::OK => Err(failure(answer.status, has_session)),
            Kind::Events => Ok(answer),
            _ => Err(Failure::ContentType),
        }
    }

    /// Tells the server that the session is over (MCP 2025-11-25, session management).
    pub(super) async fn leave(&self) {
        let (headers, session) = {
            let mut state = self.state();
            (state.session_headers(), state.session.take())
        };
        if session.is_some() {
            // Whether it takes note is its own affair.
            drop(self.tell(Method::DELETE, headers, Bytes::new()).await);
        }
    }
}
