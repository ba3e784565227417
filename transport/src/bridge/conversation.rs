//! What a client and its server have agreed on and are in the middle of: enough to go on in another
//! session as if nothing had happened, and to say what did not survive.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::{Id, Message, Object, Outcome, Value};
use crate::policy::{TOO_MANY_REQUESTS, error};

/// Resources that are subscribed to again in a new session; further ones are forgotten.
const MAX_SUBSCRIPTIONS: usize = 4096;

/// Requests of a server that wait for the client.
const MAX_ASKED: usize = 4096;

/// No answer to a request of a lost session comes later. Most clients never give one, since they are
/// told that the request is cancelled; the id shall not be lost to the server for ever.
const LATE: Duration = Duration::from_secs(600);

/// Longer than that a bridge does not wait to restore something: meanwhile nothing else is heard.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request that the session did not survive may be made again.
const LOST: i32 = -32603;

/// The state of a client's talk with its server, over one session after the other.
#[derive(Default)]
pub(super) struct Conversation {
    /// The client's `initialize` (up to 2025-11-25), once it has been answered.
    handshake: Option<Handshake>,
    /// The client's `notifications/initialized`.
    initialized: Option<Vec<u8>>,
    /// The parameters of the last `logging/setLevel`.
    level: Option<String>,
    /// The parameters of each `resources/subscribe` that is in force, by URI.
    subscriptions: BTreeMap<String, String>,
    /// The client's requests that are not answered.
    in_flight: HashMap<Id, Request>,
    /// The server's requests that are not answered.
    asked: HashSet<Id>,
    /// Those among them whose session is gone, and since when. Their answers must not reach another's
    /// request.
    orphans: HashMap<Id, Instant>,
    /// Requests of our own, whose answers concern nobody.
    replayed: HashMap<Id, Vec<u8>>,
    /// The `initialize` that is being repeated.
    repeating: Option<Id>,
    /// Whether the server has ever answered.
    is_under_way: bool,
    /// Messages so far, in both directions.
    heard: u64,
}

struct Handshake {
    line: Vec<u8>,
    id: Id,
    /// The version that was agreed on.
    version: Option<String>,
    /// The lists of which the server says when they change.
    announced: Vec<&'static str>,
}

/// What a client's request changes once it is answered.
enum Request {
    Initialize(Vec<u8>),
    SetLevel(String),
    Subscribe {
        uri: String,
        params: String,
    },
    Unsubscribe(String),
    /// It stays in flight for as long as it is wanted (2026-07-28), so it is made again.
    Listen(Vec<u8>),
    Other,
}

impl Request {
    fn of(line: &[u8], method: &str, params: Option<Object<'_>>) -> Self {
        let text = || params.map(|params| params.text().to_owned());
        let uri = || Some(member(params?, "uri")?.as_str()?.into_owned());
        let request = match method {
            "initialize" => Some(Self::Initialize(line.to_owned())),
            "subscriptions/listen" => Some(Self::Listen(line.to_owned())),
            "logging/setLevel" => text().map(Self::SetLevel),
            "resources/subscribe" => {
                uri().zip(text()).map(|(uri, params)| Self::Subscribe { uri, params })
            }
            "resources/unsubscribe" => uri().map(Self::Unsubscribe),
            _ => None,
        };
        request.unwrap_or(Self::Other)
    }
}

/// What becomes of a message of the server before it is judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is for the client.
    ForClient,
    /// It answers a request of our own.
    ForNobody,
    /// The repeated `initialize` is answered as before: the client may go on.
    Repeated,
    /// The server does not begin again, for this reason.
    Failed(String),
    /// The repeated `initialize` is answered otherwise, so that the client cannot go on.
    Otherwise,
    /// It answers a request of our own, which is to be made again after that time.
    TooOften(Vec<u8>, Duration),
    /// Its id is that of an earlier session's request, which the client may yet answer.
    Ambiguous(Id),
}

impl Conversation {
    /// Whether a line of the client may go to the server.
    pub(super) fn hear_client(&mut self, line: &[u8]) -> bool {
        self.heard += 1;
        match Message::read(line) {
            Ok(Message::Request { id, method, params }) => {
                let request = Request::of(line, &method, params);
                self.in_flight.insert(id, request);
            }
            Ok(Message::Notification { method, params }) => match &*method {
                "notifications/initialized" => self.initialized = Some(line.to_owned()),
                "notifications/cancelled" => {
                    let id = params.and_then(|params| member(params, "requestId"));
                    id.and_then(Id::from_value).map(|id| self.in_flight.remove(&id));
                }
                _ => {}
            },
            Ok(Message::Response { id, .. }) => {
                self.asked.remove(&id);
                return self.orphans.remove(&id).is_none();
            }
            // The gateway says what is wrong with it.
            Ok(Message::Stray(_)) | Err(_) => {}
        }
        true
    }

    /// Takes note of a message of the server.
    pub(super) fn hear_server(&mut self, message: &Message<'_>) -> Heard {
        self.heard += 1;
        match message {
            Message::Response { id, outcome } => self.answered(id, *outcome),
            Message::Request { id, .. } => match self.orphans.get(id) {
                Some(since) if since.elapsed() < LATE => Heard::Ambiguous(id.clone()),
                _ => {
                    self.orphans.remove(id);
                    Heard::ForClient
                }
            },
            Message::Notification { method, params } if method == "notifications/cancelled" => {
                let id = params.and_then(|params| member(params, "requestId"));
                id.and_then(Id::from_value).map(|id| self.asked.remove(&id));
                Heard::ForClient
            }
            Message::Notification { .. } | Message::Stray(_) => Heard::ForClient,
        }
    }

    /// Takes note of a request of the server that the client gets to see.
    pub(super) fn asked(&mut self, id: Id) {
        if self.asked.len() < MAX_ASKED {
            self.asked.insert(id);
        }
    }

    fn answered(&mut self, id: &Id, outcome: Outcome<'_>) -> Heard {
        if self.repeating.as_ref() == Some(id) {
            self.repeating = None;
            return self.compare(outcome);
        }
        if let Some(line) = self.replayed.remove(id) {
            return match retry_after(outcome) {
                Some(wait) if wait <= PATIENCE => {
                    self.replayed.insert(id.clone(), line.clone());
                    Heard::TooOften(line, wait)
                }
                _ => Heard::ForNobody,
            };
        }
        let Some(request) = self.in_flight.remove(id) else { return Heard::ForClient };
        self.is_under_way = true;
        let Outcome::Result(result) = outcome else { return Heard::ForClient };
        match request {
            Request::Initialize(line) => {
                let (version, announced) = (version(result), announced(result));
                self.handshake = Some(Handshake { line, id: id.clone(), version, announced });
            }
            Request::SetLevel(params) => self.level = Some(params),
            Request::Subscribe { uri, params } if self.subscriptions.len() < MAX_SUBSCRIPTIONS => {
                self.subscriptions.insert(uri, params);
            }
            Request::Unsubscribe(uri) => drop(self.subscriptions.remove(&uri)),
            Request::Subscribe { .. } | Request::Listen(_) | Request::Other => {}
        }
        Heard::ForClient
    }

    /// Whether the server agrees to what it agreed to before.
    fn compare(&self, outcome: Outcome<'_>) -> Heard {
        let before = self.handshake.as_ref().and_then(|handshake| handshake.version.as_deref());
        match outcome {
            Outcome::Result(result) if version(result).as_deref() == before => Heard::Repeated,
            Outcome::Result(_) => Heard::Otherwise,
            Outcome::Error(error) => {
                let message = member(error, "message").and_then(Value::as_str).unwrap_or_default();
                Heard::Failed(message.into_owned())
            }
        }
    }

    /// The end of a session: what is to be told the client of everything that did not survive it.
    pub(super) fn lose(&mut self) -> Vec<Vec<u8>> {
        let reason = "The connection to the server was lost before the answer came; try again";
        let lost = self.in_flight.extract_if(|_, request| !matches!(request, Request::Listen(_)));
        let mut lines: Vec<Vec<u8>> =
            lost.map(|(id, _)| error(Some(&id), LOST, reason, None)).collect();
        self.orphans.retain(|_, since| since.elapsed() < LATE);
        for id in self.asked.drain() {
            let reason = "The connection was lost";
            let cancelled = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{reason}"}}}}"#
            );
            lines.push(cancelled.into_bytes());
            if self.orphans.len() < MAX_ASKED {
                self.orphans.insert(id, Instant::now());
            }
        }
        self.replayed.clear();
        self.repeating = None;
        lines
    }

    /// The `initialize` that begins another session, if the client began with one. Everything else
    /// waits for [`Heard::Repeated`].
    pub(super) fn begin_again(&mut self) -> Option<Vec<u8>> {
        let handshake = self.handshake.as_ref()?;
        self.repeating = Some(handshake.id.clone());
        Some(handshake.line.clone())
    }

    /// What the client is told once its talk has begun again: another certificate may permit
    /// something else, so lists that it keeps are to be asked for anew.
    pub(super) fn changed(&self) -> Vec<Vec<u8>> {
        let announced = self.handshake.iter().flat_map(|handshake| &handshake.announced);
        let line = |list: &&str| {
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed"}}"#)
        };
        announced.map(|list| line(list).into_bytes()).collect()
    }

    /// What restores the rest.
    pub(super) fn restore(&mut self) -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> = self.initialized.iter().cloned().collect();
        let level = self.level.iter().map(|params| ("logging/setLevel", params));
        let subscribe = self.subscriptions.values().map(|params| ("resources/subscribe", params));
        for (nth, (method, params)) in level.chain(subscribe).enumerate() {
            let id = Id::Text(format!("vouchsafe-{nth}").into());
            let line =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
            lines.push(line.into_bytes());
            self.replayed.extend(Some(id).zip(lines.last().cloned()));
        }
        lines.extend(self.in_flight.values().filter_map(|request| match request {
            Request::Listen(line) => Some(line.clone()),
            _ => None,
        }));
        if lines.is_empty() && self.is_under_way {
            // A gateway does not keep a session for long in which nothing has been said.
            let id = Id::Text("vouchsafe".into());
            lines.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).into_bytes());
            self.replayed.extend(Some(id).zip(lines.last().cloned()));
        }
        lines
    }

    /// Whether the server has ever answered, so that there is something to go on with.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Whether nobody waits for an answer, so that another session would not be noticed.
    pub(super) fn is_quiet(&self) -> bool {
        let is_listen = |request: &Request| matches!(request, Request::Listen(_));
        self.in_flight.values().all(is_listen) && self.asked.is_empty() && self.repeating.is_none()
    }

    /// Messages so far, in both directions.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }
}

/// When a request may be made again that was refused for being one too many.
fn retry_after(outcome: Outcome<'_>) -> Option<Duration> {
    let Outcome::Error(error) = outcome else { return None };
    let is_one_too_many = member(error, "code")?.text().parse() == Ok(TOO_MANY_REQUESTS);
    let wait = member(member(error, "data")?.as_object()?, "retryAfterMs")?.text().parse();
    wait.ok().filter(|_| is_one_too_many).map(Duration::from_millis)
}

fn version(result: Object<'_>) -> Option<String> {
    member(result, "protocolVersion")?.as_str().map(|version| version.into_owned())
}

fn announced(result: Object<'_>) -> Vec<&'static str> {
    let Some(capabilities) = member(result, "capabilities").and_then(Value::as_object) else {
        return Vec::new();
    };
    let is_announced = |list: &&'static str| {
        let capability = member(capabilities, list).and_then(Value::as_object);
        let changes = capability.and_then(|capability| member(capability, "listChanged"));
        changes.is_some_and(|changes| changes.text() == "true")
    };
    ["tools", "prompts", "resources"].into_iter().filter(is_announced).collect()
}

fn member<'a>(object: Object<'a>, key: &'static str) -> Option<Value<'a>> {
    object.known([key]).ok()?.get(key)
}
