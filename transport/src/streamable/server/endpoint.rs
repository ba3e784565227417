//! One endpoint: POST, GET and DELETE, each to its session.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::de::IgnoredAny;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::events::Events;
use super::headers::{must_accept_answers, must_accept_events, must_be_json, text};
use super::outbox::Event;
use super::refusal::Refusal;
use super::registry::Registry;
use super::session::{Era, HttpSession, NoStream, Reading, SessionLimits};
use super::site::Site;
use super::stateless::{Asked, Revision};
use super::{Open, Owner};
use crate::http::Body;
use crate::message::{Id, Message, Outcome, Value, progress_token};
use crate::streamable::annotations::{PAGES, list_tools, next_cursor};
use crate::streamable::{
    EVENTS, JSON, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID, STATELESS, WITH_SESSIONS,
};

/// Octets that the two ends of a session hold for each other, in each direction.
const BUFFER_LEN: usize = 64 * 1024;

/// So long an answer is waited for before its head goes out: an error is said there as well.
const AT_ONCE: Duration = Duration::from_millis(500);

/// For what a session that has ended said last.
const LAST_WORD: Duration = Duration::from_secs(1);

/// nginx and others hold back what they forward, unless they are told not to.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What an endpoint bears.
#[derive(Debug, Clone)]
pub(crate) struct EndpointLimits {
    session: SessionLimits,
    /// From `initialize` to its answer: a server may take its time to start.
    start: Duration,
}

impl EndpointLimits {
    /// Messages of at most `line` octets, each read by `patience`; sessions that nobody uses for
    /// `idle` end; and a server has time to `start`.
    pub(crate) fn new(line: usize, patience: Duration, idle: Duration, start: Duration) -> Self {
        Self { session: SessionLimits { line, patience, idle }, start }
    }
}

/// Streamable HTTP at one path.
pub(crate) struct Endpoint {
    site: Site,
    limits: EndpointLimits,
    sessions: Registry,
}

impl Endpoint {
    pub(crate) fn new(site: Site, limits: EndpointLimits) -> Self {
        Self { site, limits, sessions: Registry::default() }
    }

    /// Answers one request of an owner's; `open` opens a session of lines for it, where it takes one.
    pub(crate) async fn answer(
        &self,
        owner: Owner,
        open: Open,
        request: Request<Bytes>,
    ) -> Response<Body> {
        let answered = match self.site.must_be_meant(&request) {
            Err(refusal) => Err(refusal),
            Ok(()) => match *request.method() {
                Method::POST => self.post(owner, open, request).await,
                Method::GET => self.get(&owner, request.headers()),
                Method::DELETE => self.delete(&owner, request.headers()).await,
                _ => Err(Refusal::Method),
            },
        };
        answered.unwrap_or_else(Refusal::into_response)
    }

    /// Ends every session: whatever stands behind them is told that its client has said everything.
    pub(crate) async fn close(&self) {
        let mut closing = JoinSet::new();
        for session in self.sessions.all() {
            closing.spawn(async move { session.close().await });
        }
        closing.join_all().await;
    }

    async fn post(
        &self,
        owner: Owner,
        open: Open,
        request: Request<Bytes>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        must_be_json(&head.headers)?;
        must_accept_answers(&head.headers)?;
        let line = on_one_line(body);
        let message = Message::read(&line)
            .map_err(|why| Refusal::Unreadable(Message::salvage_id(&line), why))?;
        match &message {
            Message::Request { id, method, params } => {
                let asked = Asked { id: Some(id), method, params: *params };
                match asked.revision(&head.headers)? {
                    Revision::Stateless => {
                        asked.must_agree(&head.headers)?;
                        asked.must_stand_for_itself()?;
                        let session = self.shared(owner, open);
                        if method == "tools/call" {
                            self.must_mirror(&session, &asked, &head.headers).await?;
                        }
                        self.ask(&session, &line, &asked, id).await
                    }
                    Revision::WithSessions if method == "initialize" => {
                        self.initialize(owner, open, &line, id).await
                    }
                    Revision::WithSessions => {
                        let session = self.named(&owner, &head.headers, Some(id))?;
                        self.ask(&session, &line, &asked, id).await
                    }
                }
            }
            Message::Notification { method, params } => {
                let asked = Asked { id: None, method, params: *params };
                if matches!(asked.revision(&head.headers)?, Revision::Stateless) {
                    // A stream is closed to cancel its request; there is nothing else to say.
                    return Ok(accepted());
                }
                let session = self.named(&owner, &head.headers, None)?;
                if let Some(id) = cancelled(&asked) {
                    session.cancelled(&id);
                }
                take(&session, &line).await
            }
            Message::Response { .. } | Message::Stray(_) => {
                take(&*self.named(&owner, &head.headers, None)?, &line).await
            }
        }
    }

    /// Whether the headers of a call repeat what its tool wants to see there. Where no list of tools
    /// has passed yet, or another may have taken its place, the server is asked for one.
    async fn must_mirror(
        &self,
        session: &Arc<HttpSession>,
        asked: &Asked<'_>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if let Some(annotations) = session.annotations()
            && asked.must_mirror(headers, &annotations).is_ok()
        {
            return Ok(());
        }
        let learnt = timeout(self.limits.start, learn(session)).await;
        let learnt = learnt.map_err(|_| Refusal::NoAnswer(asked.id.cloned()))?;
        learnt.map_err(|error| Refusal::Unlisted(asked.id.cloned(), error))?;
        match session.annotations() {
            Some(annotations) => asked.must_mirror(headers, &annotations),
            None => Err(Refusal::Ended(asked.id.cloned(), session.farewell())),
        }
    }

    /// Opens a session, and names it if the server agrees to it.
    async fn initialize(
        &self,
        owner: Owner,
        open: Open,
        line: &[u8],
        id: &Id,
    ) -> Result<Response<Body>, Refusal> {
        let opening = Opening(Some(self.open(owner, Era::WithSessions, open)));
        let Some(session) = &opening.0 else { return Err(Refusal::Unavailable) };
        let asked = session.ask(line, id.clone(), "initialize", None).await;
        let reading = match asked {
            Ok(reading) => reading,
            Err(none) => return Err(self.no_stream(session, none, id).await),
        };
        let first = timeout(self.limits.start, next(&reading)).await;
        let first = first.map_err(|_| Refusal::NoAnswer(Some(id.clone())))?;
        let first = first.ok_or_else(|| Refusal::Ended(Some(id.clone()), session.farewell()))?;
        if first.is_error && first.is_last {
            return Ok(whole(&first));
        }
        let name = self.sessions.enter(session)?;
        let is_primed = is_primed(session);
        opening.has_succeeded();
        let mut response = match first.is_last {
            true => whole(&first),
            false => events(Events::new(reading, is_primed)),
        };
        if let Ok(name) = HeaderValue::from_str(&name) {
            response.headers_mut().insert(SESSION_ID, name);
        }
        Ok(response)
    }

    /// Asks within a session. The answer comes as a stream, as it does from most servers, unless it is
    /// an error, which has a status.
    async fn ask(
        &self,
        session: &Arc<HttpSession>,
        line: &[u8],
        asked: &Asked<'_>,
        id: &Id,
    ) -> Result<Response<Body>, Refusal> {
        let reading = session
            .ask(line, id.clone(), asked.method, asked.params.and_then(progress_token))
            .await;
        let reading = match reading {
            Ok(reading) => reading,
            Err(none) => return Err(self.no_stream(session, none, id).await),
        };
        match timeout(AT_ONCE, next(&reading)).await {
            Ok(Some(first)) if first.is_error => Ok(whole(&first)),
            Ok(None) => Err(Refusal::Ended(Some(id.clone()), session.farewell())),
            Ok(Some(first)) => {
                // Of a stream that is over there is nothing to resume.
                let is_primed = is_primed(session) && !first.is_last;
                Ok(events(Events::new(reading, is_primed)))
            }
            Err(_) => Ok(events(Events::new(reading, is_primed(session)))),
        }
    }

    async fn no_stream(&self, session: &HttpSession, none: NoStream, id: &Id) -> Refusal {
        match none {
            NoStream::DuplicateId => Refusal::DuplicateId(id.clone()),
            NoStream::TooMany => Refusal::TooManyRequests(Some(id.clone())),
            NoStream::Ended => {
                // Its last word may still be on the way.
                drop(timeout(LAST_WORD, session.until_over()).await);
                Refusal::Ended(Some(id.clone()), session.farewell())
            }
        }
    }

    /// A stream for what belongs to no request, or the rest of one that was lost.
    fn get(&self, owner: &Owner, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        if text(headers, &PROTOCOL_VERSION) == Some(STATELESS) || !headers.contains_key(SESSION_ID)
        {
            return Err(Refusal::Method);
        }
        must_accept_events(headers)?;
        let session = self.named(owner, headers, None)?;
        let reading = match text(headers, &LAST_EVENT_ID) {
            None => session.listen().ok_or(Refusal::Conflict)?,
            Some(event) => {
                let at = event.split_once('-');
                let at = at.and_then(|(stream, number)| {
                    Some((stream.parse().ok()?, number.parse().ok()?))
                });
                let resumed = at.and_then(|(stream, number)| session.resume(stream, number));
                resumed.ok_or(Refusal::UnknownEvent)?
            }
        };
        Ok(events(Events::new(reading, is_primed(&session))))
    }

    async fn delete(&self, owner: &Owner, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let id = text(headers, &SESSION_ID).ok_or(Refusal::Method)?;
        let session = self.sessions.find(id, owner).ok_or(Refusal::UnknownSession(None))?;
        self.sessions.remove(id);
        // Whoever asked for that need not wait for it.
        tokio::spawn(async move { session.close().await });
        let mut response = Response::new(Body::from(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    fn named(
        &self,
        owner: &Owner,
        headers: &HeaderMap,
        id: Option<&Id>,
    ) -> Result<Arc<HttpSession>, Refusal> {
        let name = text(headers, &SESSION_ID).ok_or_else(|| Refusal::NoSession(id.cloned()))?;
        let version = headers.get(PROTOCOL_VERSION).and_then(|version| version.to_str().ok());
        if let Some(version) = version.filter(|version| !WITH_SESSIONS.contains(version)) {
            return Err(Refusal::Version(id.cloned(), version.chars().take(32).collect()));
        }
        let unknown = || Refusal::UnknownSession(id.cloned());
        self.sessions.find(name, owner).ok_or_else(unknown)
    }

    fn shared(&self, owner: Owner, open: Open) -> Arc<HttpSession> {
        self.sessions.shared(&owner.clone(), || self.open(owner, Era::Stateless, open))
    }

    fn open(&self, owner: Owner, era: Era, open: Open) -> Arc<HttpSession> {
        let (near, far) = tokio::io::duplex(BUFFER_LEN);
        tokio::spawn(open(far));
        HttpSession::start(owner, era, self.limits.session.clone(), near)
    }
}

/// A session that has no name yet. It ends where nobody comes to know its name: the server refused,
/// took too long, or the client went away.
struct Opening(Option<Arc<HttpSession>>);

impl Opening {
    fn has_succeeded(mut self) {
        self.0 = None;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            tokio::spawn(async move { session.close().await });
        }
    }
}

/// A body may be laid out on several lines; a message is one.
fn on_one_line(body: Bytes) -> Bytes {
    match memchr::memchr2(b'\n', b'\r', &body) {
        None => body,
        // Within a string there is none (RFC 8259 §7); what is no JSON stays what it is, and is refused.
        Some(_) if serde_json::from_slice::<IgnoredAny>(&body).is_err() => body,
        Some(_) => {
            let space = |octet: &u8| if matches!(octet, b'\n' | b'\r') { b' ' } else { *octet };
            body.iter().map(space).collect()
        }
    }
}

/// Lists the tools of a stateless session, as its owner may see them. What keeps the list from coming,
/// a rate for instance, keeps back whatever depends on it.
async fn learn(session: &Arc<HttpSession>) -> Result<(), Bytes> {
    let mut cursor = None;
    for _ in 0..PAGES {
        let id = Id::Integer(0);
        let line = list_tools(&id, cursor.as_deref());
        let Ok(mut reading) = session.ask(&line, id, "tools/list", None).await else {
            return Ok(());
        };
        let answer = loop {
            match next(&reading).await {
                None => return Ok(()),
                Some(event) if event.is_last => break event,
                Some(event) => reading.took(&event),
            }
        };
        if answer.is_error {
            // Without lists there is nothing that headers would have to repeat.
            let (StatusCode::NOT_FOUND, _) = said_by(&answer.line) else { return Err(answer.line) };
            session.has_no_tools();
        }
        cursor = next_page(&answer.line);
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

fn next_page(line: &[u8]) -> Option<String> {
    let Ok(Message::Response { outcome: Outcome::Result(result), .. }) = Message::read(line) else {
        return None;
    };
    next_cursor(result)
}

fn cancelled(asked: &Asked<'_>) -> Option<Id> {
    let is_cancellation = asked.method == "notifications/cancelled";
    let params = asked.params.filter(|_| is_cancellation)?;
    params.known(["requestId"]).ok()?.get("requestId").and_then(Id::from_value)
}

async fn take(session: &HttpSession, line: &[u8]) -> Result<Response<Body>, Refusal> {
    match session.send(line).await {
        Ok(()) => Ok(accepted()),
        Err(_) => Err(Refusal::Ended(None, session.farewell())),
    }
}

async fn next(reading: &Reading) -> Option<Event> {
    poll_fn(|context| reading.poll_next(context)).await
}

/// From 2025-11-25 on clients understand an event without a message.
fn is_primed(session: &HttpSession) -> bool {
    session.era == Era::WithSessions
        && session.version().is_some_and(|version| *version >= *"2025-11-25")
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::new()));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// An answer in one piece.
fn whole(event: &Event) -> Response<Body> {
    let mut response = Response::new(Body::from(event.line.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    if event.is_error {
        let (status, again) = said_by(&event.line);
        headers.extend(again.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
        *response.status_mut() = status;
    }
    response
}

/// What a JSON-RPC error is in terms of HTTP, and after how many seconds one may ask again.
pub(super) fn said_by(line: &[u8]) -> (StatusCode, Option<u64>) {
    let said = || {
        let (Ok(Message::Response { outcome: Outcome::Error(error), .. })
        | Ok(Message::Stray(error))) = Message::read(line)
        else {
            return None;
        };
        let error = error.known(["code", "data"]).ok()?;
        let data = error.get("data").and_then(Value::as_object);
        let wait = data.and_then(|data| data.known(["retryAfterMs"]).ok()?.get("retryAfterMs"));
        if let Some(wait) = wait.and_then(|wait| wait.text().parse::<u64>().ok()) {
            return Some((StatusCode::TOO_MANY_REQUESTS, Some(wait.div_ceil(1000))));
        }
        Some((status_of(error.get("code")?.text()), None))
    };
    said().unwrap_or((StatusCode::OK, None))
}

/// MCP 2026-07-28, transports: what the transport itself speaks of has a status of its own.
fn status_of(code: &str) -> StatusCode {
    match code.parse() {
        Ok(-32099..=-32020) => StatusCode::BAD_REQUEST,
        Ok(-32601_i32) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

fn events(events: Events) -> Response<Body> {
    let mut response = Response::new(Body::stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}
