//! From the client: each line becomes a request of HTTP.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use tokio::io::{DuplexStream, ReadHalf};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::departure::Departure;
use super::exchange::Ask;
use super::failure::Failure;
use super::headers::{mirrored, own_version};
use super::{InFlight, State, Talk};
use crate::frame::LineReader;
use crate::message::{Id, Message, Object, ReadError};
use crate::policy::{Refusal, refusal};
use crate::streamable::{PROTOCOL_VERSION, SESSION_ID};

/// Requests in flight of one session; each may hold a connection.
const MAX_IN_FLIGHT: usize = 1024;

/// A request that the client makes.
struct Request<'a> {
    line: &'a [u8],
    id: Id,
    method: &'a str,
    params: Option<Object<'a>>,
}

impl State {
    /// What belongs to every request of a session (up to 2025-11-25).
    pub(super) fn session_headers(&self) -> HeaderMap {
        let pairs = [(SESSION_ID, &self.session), (PROTOCOL_VERSION, &self.version)];
        let known = pairs.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        known.collect()
    }

    /// Ends what would not end by itself.
    fn stop_listening(&mut self) {
        let requests = self.in_flight.values().filter(|request| request.is_listen);
        for listening in requests.map(|request| &request.task).chain(&self.listening) {
            listening.abort();
        }
    }

    /// Beside a message: what it names in itself, or what the session has agreed on.
    fn headers(&self, method: &str, params: Option<Object<'_>>) -> HeaderMap {
        match own_version(params) {
            Some(version) => mirrored(&version, method, params, &self.annotations),
            None => self.session_headers(),
        }
    }
}

impl Talk {
    /// Reads what the client says until it has said everything, and waits for what is still in flight.
    pub(super) async fn upward(
        self: &Arc<Self>,
        from_client: ReadHalf<DuplexStream>,
        tasks: &mut JoinSet<()>,
    ) {
        let limits = &self.server.limits;
        let mut lines = LineReader::new(from_client, limits.line, limits.message);
        let mut beginning = None;
        while let Ok(Some(line)) = lines.next().await {
            while tasks.try_join_next().is_some() {}
            match Message::read(line) {
                Ok(Message::Request { id, method, params }) => {
                    self.settled(beginning.take(), tasks).await;
                    let request = Request { line, id, method: &method, params };
                    match self.begin(&request, tasks) {
                        Ok(()) if method == "initialize" => beginning = Some(request.id),
                        Ok(()) => {}
                        Err(refused) => self.say(&refusal(Some(&request.id), &refused)).await,
                    }
                }
                Ok(Message::Notification { method, params }) => {
                    self.settled(beginning.take(), tasks).await;
                    self.notify(line, &method, params, tasks).await;
                }
                Ok(Message::Response { .. }) => {
                    let headers = self.state().session_headers();
                    self.post(line, headers).await;
                }
                Ok(Message::Stray(_)) => {}
                Err(error) => self.refuse(line, error).await,
            }
        }
        // What stays for as long as it is wanted is wanted no longer.
        self.state().stop_listening();
        while tasks.join_next().await.is_some() {}
    }

    /// Waits until a session that is `beginning` has begun. A client that does not wait for that itself would
    /// have its next request refused, for it names no session; over a stream of lines it gets by. What it
    /// answers goes on meanwhile, for a server may ping it first.
    async fn settled(&self, beginning: Option<Id>, tasks: &mut JoinSet<()>) {
        let Some(id) = beginning else { return };
        while self.state().in_flight.contains_key(&id) && tasks.join_next().await.is_some() {}
    }

    async fn refuse(&self, line: &[u8], error: ReadError) {
        let refused = refusal(Message::salvage_id(line).as_ref(), &Refusal::from(error));
        self.say(&refused).await;
    }

    /// Asks, and lets the answer come beside whatever is said next.
    fn begin(
        self: &Arc<Self>,
        request: &Request<'_>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), Refusal> {
        let Request { line, id, method, params } = request;
        let is_modern = own_version(*params).is_some();
        let is_listen = *method == "subscriptions/listen";
        let mut state = self.state();
        if state.in_flight.contains_key(id) {
            return Err(Refusal::DuplicateId);
        }
        if state.in_flight.len() >= MAX_IN_FLIGHT {
            return Err(Refusal::TooManyInFlight);
        }
        let (departure, has_left) = Departure::new();
        let ask = Ask {
            id: id.clone(),
            method: (*method).to_owned(),
            headers: state.headers(method, *params),
            line: Bytes::copy_from_slice(line),
            departure,
            is_modern,
            is_listen,
            next_page: None,
        };
        // The task cannot end before it is on record: for that it needs the state.
        let task = tasks.spawn(Arc::clone(self).answer(ask));
        let in_flight = InFlight { task, has_left, is_modern, is_listen, is_cancelled: false };
        state.in_flight.insert(id.clone(), in_flight);
        Ok(())
    }

    /// Waits until the server has a notification, so that what is said next comes after it.
    async fn notify(
        self: &Arc<Self>,
        line: &[u8],
        method: &str,
        params: Option<Object<'_>>,
        tasks: &mut JoinSet<()>,
    ) {
        if method == "notifications/cancelled" {
            if let Some((task, has_left)) = self.cancel(params) {
                tasks.spawn(Arc::clone(self).forget(task));
                let headers = self.state().headers(method, params);
                let line = Bytes::copy_from_slice(line);
                tasks.spawn(Arc::clone(self).withdraw(line, headers, has_left));
            }
            return;
        }
        let headers = self.state().headers(method, params);
        let is_taken = self.post(line, headers).await;
        if is_taken && method == "notifications/initialized" {
            let listening = tasks.spawn(Arc::clone(self).listen());
            if let Some(before) = self.state().listening.replace(listening) {
                before.abort();
            }
        }
    }

    /// The request that a cancellation is to be posted for; in 2026-07-28 closing a request's stream is
    /// its cancellation.
    fn cancel(&self, params: Option<Object<'_>>) -> Option<(AbortHandle, watch::Receiver<bool>)> {
        let id = params.and_then(|params| params.known(["requestId"]).ok()?.get("requestId"));
        let id = id.and_then(Id::from_value)?;
        let mut state = self.state();
        let request = state.in_flight.get_mut(&id).filter(|request| !request.is_cancelled)?;
        request.is_cancelled = true;
        let task = request.task.clone();
        if request.is_modern {
            task.abort();
            state.in_flight.remove(&id);
            return None;
        }
        Some((task, request.has_left.clone()))
    }

    /// Posts a cancellation behind the request that it is of: a server that hears of it before the
    /// request would carry the request out. What never left needs none.
    async fn withdraw(
        self: Arc<Self>,
        line: Bytes,
        headers: HeaderMap,
        mut has_left: watch::Receiver<bool>,
    ) {
        let leaving = has_left.wait_for(|has_left| *has_left);
        let grace = self.server.limits.child_grace;
        let left = timeout(grace, async { leaving.await.is_ok() }).await;
        if left == Ok(true) {
            self.post(&line, headers).await;
        }
    }

    /// A server should not answer what was cancelled (MCP, cancellation), and need not close the stream
    /// either: nobody waits for it longer than for a process that was told to end.
    async fn forget(self: Arc<Self>, task: AbortHandle) {
        sleep(self.server.limits.child_grace).await;
        task.abort();
        self.state().in_flight.retain(|_, request| request.task.id() != task.id());
    }

    /// Says something to which there is no answer; whether the server has taken it.
    async fn post(&self, line: &[u8], headers: HeaderMap) -> bool {
        let line = Bytes::copy_from_slice(line);
        let has_session = headers.contains_key(SESSION_ID);
        let posting = async {
            let answer = self.tell(Method::POST, headers, line).await?;
            let taken = answer.taken(has_session);
            self.finish(answer).await;
            taken
        };
        let posted = timeout(self.server.limits.write, posting).await;
        match posted.unwrap_or(Err(Failure::TooLate)) {
            Ok(()) => true,
            Err(failure) => {
                self.fail(None, failure).await;
                false
            }
        }
    }
}
