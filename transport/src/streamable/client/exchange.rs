//! One request and its answer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request};
use tokio::time::timeout;

use super::answer::{Answer, Kind, failure, line_of, unnamed_error};
use super::connection::{Place, Unsent};
use super::departure::{Departure, Parcel};
use super::failure::Failure;
use super::headers::session_id;
use super::listening::{Followed, Mark};
use super::{Connection, Server, Talk};
use crate::message::{Id, Message, Object, Outcome, Value};
use crate::streamable::annotations::next_cursor;
use crate::streamable::{EVENTS, JSON, SESSION_ID};

/// Connections that are kept for what may be asked next.
const MAX_IDLE: usize = 8;

/// How long an answer's end is waited for once it has been heard.
const REST: Duration = Duration::from_secs(1);

/// Longest name of a version.
const MAX_VERSION_LEN: usize = 64;

/// A request of the client's under way.
pub(super) struct Ask {
    pub(super) id: Id,
    pub(super) method: String,
    pub(super) headers: HeaderMap,
    pub(super) line: Bytes,
    pub(super) departure: Arc<Departure>,
    /// Of 2026-07-28.
    pub(super) is_modern: bool,
    /// It is answered when it ends.
    pub(super) is_listen: bool,
    /// Of a list that the talk itself asks for: where its next page begins.
    pub(super) next_page: Option<OnceLock<String>>,
}

/// An answer whose status is no success.
pub(super) struct Refused {
    /// The error in it, if there is one.
    pub(super) said: Option<Vec<u8>>,
    failed: Failure,
}

impl Ask {
    /// Whether we ask for ourselves, and not for the client.
    fn is_own(&self) -> bool {
        self.next_page.is_some()
    }

    fn has_session(&self) -> bool {
        self.headers.contains_key(SESSION_ID)
    }
}

/// What a connection is opened for.
#[derive(Clone, Copy)]
enum Use {
    Request,
    /// Whatever is no request.
    Word,
}

impl Talk {
    /// Asks, and sees to it that there is an answer.
    pub(super) async fn answer(self: Arc<Self>, ask: Ask) {
        if let Err(failure) = self.exchange(&ask).await {
            self.fail(Some(&ask.id), failure).await;
        }
    }

    async fn exchange(&self, ask: &Ask) -> Result<(), Failure> {
        let Some(refused) = self.tried(ask, ask.headers.clone()).await? else { return Ok(()) };
        // A server that asks for other headers has done nothing yet.
        let refused = match self.other_headers(ask, &refused).await {
            Some(headers) => self.tried(ask, headers).await?,
            None => Some(refused),
        };
        match refused {
            Some(refused) => self.pass_on(ask, refused).await,
            None => Ok(()),
        }
    }

    /// Asks once, and passes on the answer, unless its status is no success.
    pub(super) async fn tried(
        &self,
        ask: &Ask,
        headers: HeaderMap,
    ) -> Result<Option<Refused>, Failure> {
        let parcel = Parcel::watched(ask.line.clone(), &ask.departure);
        let mut answer = self.asked(Method::POST, headers, parcel).await?;
        if !answer.status.is_success() {
            return self.refused(ask, answer).await.map(Some);
        }
        if ask.method == "initialize" {
            self.begin_session(&answer)?;
        }
        let mut mark = Mark::default();
        loop {
            match answer.kind() {
                Kind::Message => return self.hear_body(ask, answer).await.map(|()| None),
                Kind::Events => {}
                Kind::Other => return Err(Failure::ContentType),
            }
            match self.follow(&mut answer, Some(ask), &mut mark).await? {
                Followed::Answered => {
                    self.finish(answer).await;
                    return Ok(None);
                }
                Followed::Ended(reason) => answer = self.resume(ask, &mut mark, reason).await?,
            }
        }
    }

    /// An answer whose status is no success: the error in it, if there is one.
    async fn refused(&self, ask: &Ask, mut answer: Answer) -> Result<Refused, Failure> {
        let failed = failure(answer.status, ask.has_session());
        if answer.kind() != Kind::Message || answer.status.is_redirection() {
            return Err(failed);
        }
        let (body, _room) = answer.read(&self.server.limits, &self.room).await?;
        let line = line_of(body);
        let said = match Message::read(&line) {
            Ok(Message::Response { id, outcome: Outcome::Error(_) }) if id == ask.id => Some(line),
            _ => unnamed_error(&line, &ask.id),
        };
        self.finish(answer).await;
        Ok(Refused { said, failed })
    }

    async fn pass_on(&self, ask: &Ask, refused: Refused) -> Result<(), Failure> {
        let Refused { said, failed } = refused;
        let Some(said) = said else { return Err(failed) };
        if self.settle(&ask.id) {
            self.say(&said).await;
        }
        match failed {
            over @ Failure::SessionOver => Err(over),
            _ => Ok(()),
        }
    }

    /// The one message of a body.
    async fn hear_body(&self, ask: &Ask, mut answer: Answer) -> Result<(), Failure> {
        let (body, room) = answer.read(&self.server.limits, &self.room).await?;
        // Its connection first: what is asked next may come as soon as the answer is out.
        self.finish(answer).await;
        let is_answer = self.hear(line_of(body), Some(ask)).await;
        drop(room);
        if is_answer { Ok(()) } else { Err(Failure::NotAnAnswer) }
    }

    /// Passes on what the server says, if it may say it here. Whether it is the answer to the request.
    pub(super) async fn hear(&self, line: Vec<u8>, ask: Option<&Ask>) -> bool {
        let is_forward = match Message::read(&line) {
            Ok(Message::Response { id, outcome }) => match ask {
                Some(ask) if ask.id == id => {
                    self.learn(ask, outcome);
                    // What we ask for ourselves is no answer to the client, whatever it calls its own.
                    if !ask.is_own() && self.settle(&id) {
                        self.say(&line).await;
                    }
                    return true;
                }
                // Nobody has asked for it here.
                _ => false,
            },
            // MCP 2026-07-28: servers make no requests.
            Ok(Message::Request { .. }) => ask.is_none_or(|ask| !ask.is_modern),
            Ok(Message::Notification { .. }) => true,
            Ok(Message::Stray(_)) | Err(_) => {
                let unnamed = ask.and_then(|ask| Some((unnamed_error(&line, &ask.id)?, ask)));
                if let Some((error, ask)) = unnamed {
                    if !ask.is_own() && self.settle(&ask.id) {
                        self.say(&error).await;
                    }
                    return true;
                }
                // Whoever judges what the server says takes note of it.
                true
            }
        };
        if is_forward {
            self.say(&line).await;
        }
        false
    }

    /// What an answer means for whatever is asked next.
    fn learn(&self, ask: &Ask, outcome: Outcome<'_>) {
        match (&*ask.method, outcome) {
            ("initialize", Outcome::Result(result)) => {
                self.state().version = version(result);
            }
            // There is no session.
            ("initialize", Outcome::Error(_)) => self.state().session = None,
            ("tools/list", Outcome::Result(result)) => {
                self.state().annotations.note(result);
                if let (Some(next_page), Some(cursor)) = (&ask.next_page, next_cursor(result)) {
                    let _ = next_page.set(cursor);
                }
            }
            _ => {}
        }
    }

    fn begin_session(&self, answer: &Answer) -> Result<(), Failure> {
        if let Some(value) = answer.headers.get(SESSION_ID) {
            let mut session = session_id(value).ok_or(Failure::SessionId)?;
            session.set_sensitive(true);
            self.state().session = Some(session);
        }
        Ok(())
    }

    /// Asks, and waits for an answer for as long as one may take.
    pub(super) async fn asked(
        &self,
        method: Method,
        headers: HeaderMap,
        body: impl Into<Parcel>,
    ) -> Result<Answer, Failure> {
        let asking = self.send(method, headers, body);
        timeout(self.server.limits.answer, asking).await.map_err(|_| Failure::TooLate)?
    }

    /// Asks over a connection that nobody else uses, and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: impl Into<Parcel>,
    ) -> Result<Answer, Failure> {
        let request = self.request(method, headers, body.into());
        self.over(request, Use::Request).await
    }

    /// Says what is no request. It may be what the requests wait for that have all connections of theirs:
    /// an answer to the server's question, or a cancellation.
    pub(super) async fn tell(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let request = self.request(method, headers, body.into());
        self.over(request, Use::Word).await
    }

    /// Asks over an idle connection, or over one that is opened for it.
    async fn over(&self, mut request: Request<Parcel>, what_for: Use) -> Result<Answer, Failure> {
        loop {
            let (mut connection, is_new) = match self.idle() {
                Some(connection) => (connection, false),
                None => (self.open(what_for).await?, true),
            };
            match connection.ask(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let (status, headers) = (head.status, head.headers);
                    return Ok(Answer { status, headers, body, connection });
                }
                // The server had closed it, and has heard nothing.
                Err(Unsent { request: Some(unsent), .. }) if !is_new => request = unsent,
                Err(Unsent { failure, .. }) => return Err(failure),
            }
        }
    }

    /// A new connection, once there is a place for one more.
    async fn open(&self, what_for: Use) -> Result<Connection, Failure> {
        let Server { reach, endpoint, limits, places, .. } = &self.server;
        let place = match what_for {
            Use::Request => Place::among(&self.places, places, limits.handshake).await?,
            Use::Word => Place::spare(&self.spare, limits.handshake).await?,
        };
        reach.open(endpoint, place, limits.handshake).await
    }

    fn request(&self, method: Method, headers: HeaderMap, body: Parcel) -> Request<Parcel> {
        let endpoint = &self.server.endpoint;
        let accepted = match method {
            Method::GET => EVENTS.to_owned(),
            _ => format!("{JSON}, {EVENTS}"),
        };
        let is_post = method == Method::POST;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = endpoint.target().clone();
        *request.headers_mut() = headers;
        let own = request.headers_mut();
        own.insert(HOST, endpoint.authority().clone());
        own.extend(HeaderValue::try_from(accepted).map(|accepted| (ACCEPT, accepted)));
        if is_post {
            own.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        // Last, so that nothing that was said before stands in their place.
        for (name, value) in &self.server.headers {
            own.insert(name, value.clone());
        }
        request
    }

    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while let Some(mut connection) = idle.pop() {
            if connection.is_fresh() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps the connection of an answer that has been heard, if its body ends.
    pub(super) async fn finish(&self, answer: Answer) {
        let Answer { mut body, mut connection, .. } = answer;
        let ended = async { while let Some(Ok(_)) = body.frame().await {} };
        if timeout(REST, ended).await.is_ok() && body_is_over(&body) {
            connection.rest();
            let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Where places are rare, whoever waits for one has a greater need of it.
            let is_full = [&self.places, &self.server.places].map(|of| of.available_permits() == 0);
            if idle.len() < MAX_IDLE && is_full == [false; 2] && !connection.is_spare() {
                idle.push(connection);
            }
        }
    }
}

fn body_is_over(body: &hyper::body::Incoming) -> bool {
    hyper::body::Body::is_end_stream(body)
}

/// The version that was agreed on, as it can be said in a header.
fn version(result: Object<'_>) -> Option<HeaderValue> {
    let version = result.known(["protocolVersion"]).ok()?.get("protocolVersion");
    let version = version.and_then(Value::as_str)?;
    let is_plain = version.bytes().all(|octet| matches!(octet, 0x21..=0x7e));
    let is_fit = is_plain && (1..=MAX_VERSION_LEN).contains(&version.len());
    is_fit.then(|| HeaderValue::from_str(&version).ok()).flatten()
}
