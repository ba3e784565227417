//! Which session a message comes from or goes to. Pure: lines in, lines out.
//!
//! To the server all requests bear numbers that never come again, so an answer that nobody waits for
//! any more is nobody's. The server meets one client, this switch: it is initialized once, and every
//! session that initializes gets what it said then.

use std::collections::{HashMap, HashSet};

use super::overlong::Concerned;
use crate::message::{Concerning, Id, Message, Object, Outcome, Value, progress_token, request_as};
use crate::policy::error;
use crate::streamable::WITH_SESSIONS;

const METHOD_NOT_FOUND: i32 = -32601;
/// JSON-RPC: the fault is not the client's.
const INTERNAL_ERROR: i32 = -32603;

/// Subscriptions of one session. Whoever has more is told that there are too many.
const MAX_SUBSCRIPTIONS: usize = 1024;
const INVALID_REQUEST: i32 = -32600;

/// Tasks whose owners are remembered. What is said of others reaches nobody; they can be asked for.
const MAX_TASKS: usize = 65_536;

/// One session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seat(pub(super) u64);

/// A line, and where it goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    ToServer(Vec<u8>),
    ToClient(Seat, Vec<u8>),
    /// The session has said everything and was answered everything.
    Close(Seat),
}

/// What is to be done when an answer comes.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The session is told of changes to this resource, unless the server refuses.
    Subscribe(String),
    /// A call may become a task.
    NoteTask,
}

/// A request that the server has not answered.
#[derive(Debug)]
struct Flight {
    seat: Seat,
    id: Id,
    token: Option<Id>,
    then: Then,
}

#[derive(Debug, Default)]
struct Present {
    /// Requests in flight, by what the session calls them.
    flights: HashMap<Id, u64>,
    subscriptions: HashSet<String>,
    /// Whether it wants to hear of lists that change.
    is_initialized: bool,
    has_said_everything: bool,
}

/// What the server answered to `initialize`.
#[derive(Debug, Default)]
enum Initialized {
    #[default]
    Not,
    /// It was asked, and these wait for the answer.
    Asked(u64, Vec<(Seat, Id)>),
    Done(String),
}

/// Everybody's requests, and what they have set up.
#[derive(Debug, Default)]
pub(super) struct Switch {
    last: u64,
    flights: HashMap<u64, Flight>,
    seats: HashMap<Seat, Present>,
    tasks: HashMap<String, Seat>,
    initialized: Initialized,
}

impl Switch {
    /// A line from a session, which has passed its policy.
    pub(super) fn hear_client(&mut self, seat: Seat, line: &[u8]) -> Vec<Action> {
        match Message::read(line) {
            Ok(Message::Request { id, method, params }) => {
                self.request(seat, line, id, &method, params)
            }
            Ok(Message::Notification { method, params }) => match &*method {
                "notifications/cancelled" => self.cancel(seat, params),
                "notifications/initialized" => {
                    self.present(seat).is_initialized = true;
                    Vec::new()
                }
                // Of one client's roots, or about requests that are never made to it.
                "notifications/roots/list_changed" | "notifications/progress" => Vec::new(),
                _ => vec![Action::ToServer(line.to_vec())],
            },
            // The server's requests are answered here, so there is nothing to answer to.
            Ok(Message::Response { .. } | Message::Stray(_)) | Err(_) => Vec::new(),
        }
    }

    fn request(
        &mut self,
        seat: Seat,
        line: &[u8],
        id: Id,
        method: &str,
        params: Option<Object<'_>>,
    ) -> Vec<Action> {
        let uri = || {
            let known = params?.known(["uri"]).ok()?;
            Some(known.get("uri")?.as_str()?.into_owned())
        };
        let then = match method {
            "initialize" => return self.initialize(seat, id),
            // It would be every session's.
            "logging/setLevel" => {
                let answer = error(Some(&id), METHOD_NOT_FOUND, "Method not found", None);
                return vec![Action::ToClient(seat, answer)];
            }
            "resources/subscribe" => match uri() {
                Some(uri) if self.present(seat).subscriptions.len() < MAX_SUBSCRIPTIONS => {
                    // From now on nobody else's unsubscribing ends it.
                    self.present(seat).subscriptions.insert(uri.clone());
                    Then::Subscribe(uri)
                }
                _ => {
                    let answer = error(Some(&id), INVALID_REQUEST, "Too many subscriptions", None);
                    return vec![Action::ToClient(seat, answer)];
                }
            },
            "resources/unsubscribe" => {
                let uri = uri().unwrap_or_default();
                let was_its = self.present(seat).subscriptions.remove(&uri);
                if !was_its
                    || self.seats.values().any(|present| present.subscriptions.contains(&uri))
                {
                    // Others still want to hear of it, or it was never asked for.
                    return vec![Action::ToClient(seat, result(&id, "{}"))];
                }
                Then::Nothing
            }
            "tools/call" => Then::NoteTask,
            _ => Then::Nothing,
        };
        let token = params.and_then(progress_token);
        self.forward(seat, line, id, token, then)
    }

    fn forward(
        &mut self,
        seat: Seat,
        line: &[u8],
        id: Id,
        token: Option<Id>,
        then: Then,
    ) -> Vec<Action> {
        self.last += 1;
        let number = self.last;
        let Ok(numbered) = request_as(line, number) else { return Vec::new() };
        self.present(seat).flights.insert(id.clone(), number);
        self.flights.insert(number, Flight { seat, id, token, then });
        vec![Action::ToServer(numbered)]
    }

    /// The server is asked once. It is told of a client that can do nothing, for there is none that
    /// could answer for all.
    fn initialize(&mut self, seat: Seat, id: Id) -> Vec<Action> {
        self.present(seat);
        match &mut self.initialized {
            Initialized::Done(said) => vec![Action::ToClient(seat, result(&id, said))],
            Initialized::Asked(_, waiting) => {
                waiting.push((seat, id));
                Vec::new()
            }
            Initialized::Not => {
                self.last += 1;
                self.initialized = Initialized::Asked(self.last, vec![(seat, id)]);
                vec![Action::ToServer(initialize(self.last))]
            }
        }
    }

    fn cancel(&mut self, seat: Seat, params: Option<Object<'_>>) -> Vec<Action> {
        let known = params.and_then(|params| params.known(["requestId"]).ok());
        let id = known.and_then(|known| known.get("requestId")).and_then(Id::from_value);
        let number = id.and_then(|id| self.present(seat).flights.remove(&id));
        let Some(number) = number else { return Vec::new() };
        // A late answer is nobody's.
        self.flights.remove(&number);
        let mut actions = vec![Action::ToServer(cancellation(number))];
        actions.extend(self.close_if_done(seat));
        actions
    }

    /// A session has said everything.
    pub(super) fn finish(&mut self, seat: Seat) -> Vec<Action> {
        self.present(seat).has_said_everything = true;
        self.close_if_done(seat)
    }

    fn close_if_done(&self, seat: Seat) -> Vec<Action> {
        let waits = matches!(&self.initialized, Initialized::Asked(_, waiting) if waiting.iter().any(|(own, _)| *own == seat));
        let is_done = self
            .seats
            .get(&seat)
            .is_some_and(|present| present.has_said_everything && present.flights.is_empty());
        if is_done && !waits { vec![Action::Close(seat)] } else { Vec::new() }
    }

    /// A session is gone: what it waits for is cancelled, and what only it wanted to hear of ends.
    pub(super) fn leave(&mut self, seat: Seat) -> Vec<Action> {
        let Some(Present { flights, subscriptions, .. }) = self.seats.remove(&seat) else {
            return Vec::new();
        };
        self.tasks.retain(|_, owner| *owner != seat);
        if let Initialized::Asked(_, waiting) = &mut self.initialized {
            waiting.retain(|(waiting, _)| *waiting != seat);
        }
        let mut actions = Vec::new();
        for number in flights.into_values() {
            self.flights.remove(&number);
            actions.push(Action::ToServer(cancellation(number)));
        }
        for uri in subscriptions {
            if !self.seats.values().any(|present| present.subscriptions.contains(&uri)) {
                self.last += 1;
                actions.push(Action::ToServer(unsubscription(self.last, &uri)));
            }
        }
        actions
    }

    /// A line from the server.
    pub(super) fn hear_server(&mut self, line: &[u8]) -> Vec<Action> {
        let Ok(message) = Message::read(line) else { return Vec::new() };
        match &message {
            Message::Response { id: Id::Integer(number), outcome } => {
                let number = u64::try_from(*number).unwrap_or_default();
                match &self.initialized {
                    Initialized::Asked(asked, _) if *asked == number => self.settle(*outcome),
                    _ => self.answer(line, &message, number, *outcome),
                }
            }
            Message::Request { id, method, .. } => {
                let answer = match &**method {
                    "ping" => result(id, "{}"),
                    _ => error(Some(id), METHOD_NOT_FOUND, "There is no one client to ask", None),
                };
                vec![Action::ToServer(answer)]
            }
            Message::Notification { method, params } => self.tell(line, &message, method, *params),
            Message::Response { .. } | Message::Stray(_) => Vec::new(),
        }
    }

    fn settle(&mut self, outcome: Outcome<'_>) -> Vec<Action> {
        let Initialized::Asked(_, waiting) = std::mem::take(&mut self.initialized) else {
            return Vec::new();
        };
        let answer = |id: &Id| match outcome {
            Outcome::Result(said) => result(id, &without_logging(said)),
            Outcome::Error(why) => {
                format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, why.text()).into_bytes()
            }
        };
        let mut actions: Vec<Action> =
            waiting.iter().map(|(seat, id)| Action::ToClient(*seat, answer(id))).collect();
        if let Outcome::Result(said) = outcome {
            self.initialized = Initialized::Done(without_logging(said));
            let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
            actions.insert(0, Action::ToServer(initialized.to_vec()));
        }
        actions.extend(waiting.iter().flat_map(|(seat, _)| self.close_if_done(*seat)));
        actions
    }

    fn answer(
        &mut self,
        line: &[u8],
        message: &Message<'_>,
        number: u64,
        outcome: Outcome<'_>,
    ) -> Vec<Action> {
        let Some(Flight { seat, id, token, then }) = self.flights.remove(&number) else {
            return Vec::new();
        };
        self.present(seat).flights.remove(&id);
        match (then, outcome) {
            (Then::Subscribe(uri), Outcome::Error(_)) => {
                self.present(seat).subscriptions.remove(&uri);
            }
            (Then::NoteTask, Outcome::Result(said)) => self.note_task(seat, said),
            _ => {}
        }
        let answer = Concerning::read(line, message)
            .map(|concerning| concerning.called(&id, token.as_ref()).into_bytes());
        let mut actions: Vec<Action> =
            answer.into_iter().map(|answer| Action::ToClient(seat, answer)).collect();
        actions.extend(self.close_if_done(seat));
        actions
    }

    /// An answer was longer than a message may be. Whoever waits for it gets an error instead; where
    /// it does not show who that is, everybody who waits, for one of them would wait for ever.
    pub(super) fn is_too_long(&mut self, concerned: Concerned, limit: usize) -> Vec<Action> {
        let (numbers, reason) = match concerned {
            Concerned::Nobody => return Vec::new(),
            Concerned::Request(number) => {
                (vec![number], format!("The server's answer is longer than {limit} octets"))
            }
            Concerned::Unknown => {
                let asked = match &self.initialized {
                    Initialized::Asked(number, _) => Some(*number),
                    Initialized::Not | Initialized::Done(_) => None,
                };
                let reason = format!(
                    "The server gave an answer longer than {limit} octets that names no request, so it may be this one's; try again"
                );
                (self.flights.keys().copied().chain(asked).collect(), reason)
            }
        };
        let is_certain = matches!(concerned, Concerned::Request(_));
        numbers.into_iter().flat_map(|number| self.fail(number, &reason, is_certain)).collect()
    }

    /// Answers a request with an error in the server's place. One that it may still be at is cancelled.
    fn fail(&mut self, number: u64, reason: &str, is_answered: bool) -> Vec<Action> {
        if let Initialized::Asked(asked, waiting) = &mut self.initialized
            && *asked == number
        {
            let waiting = std::mem::take(waiting);
            self.initialized = Initialized::Not;
            let failed = waiting.into_iter().flat_map(|(seat, id)| {
                let answer = error(Some(&id), INTERNAL_ERROR, reason, None);
                let done = self.close_if_done(seat);
                std::iter::once(Action::ToClient(seat, answer)).chain(done)
            });
            return failed.collect();
        }
        let Some(Flight { seat, id, .. }) = self.flights.remove(&number) else {
            return Vec::new();
        };
        self.present(seat).flights.remove(&id);
        let answer = error(Some(&id), INTERNAL_ERROR, reason, None);
        let mut actions = vec![Action::ToClient(seat, answer)];
        if !is_answered {
            actions.push(Action::ToServer(cancellation(number)));
        }
        actions.extend(self.close_if_done(seat));
        actions
    }

    /// A notification goes to whom it concerns, and what concerns nobody in particular to nobody.
    fn tell(
        &self,
        line: &[u8],
        message: &Message<'_>,
        method: &str,
        params: Option<Object<'_>>,
    ) -> Vec<Action> {
        if let Some(concerning) = Concerning::read(line, message) {
            let Some(flight) = self.flights.get(&concerning.number) else { return Vec::new() };
            let line = concerning.called(&flight.id, flight.token.as_ref());
            return vec![Action::ToClient(flight.seat, line.into_bytes())];
        }
        let text = |key: &'static str| {
            let known = params?.known([key]).ok()?;
            Some(known.get(key)?.as_str()?.into_owned())
        };
        let told: Vec<Seat> = match method {
            "notifications/resources/updated" => {
                let uri = text("uri").unwrap_or_default();
                self.all(|present| present.hears_of(&uri))
            }
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed" => self.all(|present| present.is_initialized),
            "notifications/tasks/status" | "notifications/tasks" => {
                let task = text("taskId").unwrap_or_default();
                self.tasks.get(&task).copied().into_iter().collect()
            }
            _ => Vec::new(),
        };
        told.into_iter().map(|seat| Action::ToClient(seat, line.to_vec())).collect()
    }

    fn all(&self, hears: impl Fn(&Present) -> bool) -> Vec<Seat> {
        let heard = self.seats.iter().filter(|(_, present)| hears(present));
        let mut seats: Vec<Seat> = heard.map(|(seat, _)| *seat).collect();
        seats.sort_by_key(|seat| seat.0);
        seats
    }

    /// As the policy sees it: nested in 2025-11-25, flat in the extension of 2026-07-28.
    fn note_task(&mut self, seat: Seat, said: Object<'_>) {
        let id = || {
            let known = said.known(["task", "taskId"]).ok()?;
            let nested = known.get("task").and_then(Value::as_object);
            let nested = nested.and_then(|task| task.known(["taskId"]).ok()?.get("taskId"));
            nested.or_else(|| known.get("taskId"))?.as_str().map(std::borrow::Cow::into_owned)
        };
        if let Some(id) = id().filter(|_| self.tasks.len() < MAX_TASKS) {
            self.tasks.insert(id, seat);
        }
    }

    fn present(&mut self, seat: Seat) -> &mut Present {
        self.seats.entry(seat).or_default()
    }
}

impl Present {
    /// Whoever subscribed to something hears of what is below it as well (MCP, resources).
    fn hears_of(&self, uri: &str) -> bool {
        self.subscriptions.iter().any(|own| {
            uri.strip_prefix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || own.ends_with('/') || rest.starts_with('/'))
        })
    }
}

/// The newest revision with sessions is asked for, whoever comes first: an older client takes what the
/// server answers or leaves it, as it would with a server of its own.
fn initialize(number: u64) -> Vec<u8> {
    let version = WITH_SESSIONS.last().copied().unwrap_or_default();
    let client = concat!(r#"{"name":"vouchsafe","version":""#, env!("CARGO_PKG_VERSION"), "\"}");
    format!(
        r#"{{"jsonrpc":"2.0","id":{number},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{client}}}}}"#
    )
    .into_bytes()
}

/// What the server said, less the log messages that nobody will get.
fn without_logging(said: Object<'_>) -> String {
    let remove = || {
        let mut said: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(said.text()).ok()?;
        said.get_mut("capabilities")?.as_object_mut()?.remove("logging")?;
        serde_json::to_string(&said).ok()
    };
    remove().unwrap_or_else(|| said.text().to_owned())
}

fn result(id: &Id, result: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into_bytes()
}

fn cancellation(number: u64) -> Vec<u8> {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number}}}}}"#
    )
    .into_bytes()
}

fn unsubscription(number: u64, uri: &str) -> Vec<u8> {
    let uri = serde_json::Value::from(uri);
    format!(
        r#"{{"jsonrpc":"2.0","id":{number},"method":"resources/unsubscribe","params":{{"uri":{uri}}}}}"#
    )
    .into_bytes()
}

#[cfg(test)]
mod tests;
