//! From the client: requests are authorized, notifications and responses must belong to this session.

use std::borrow::Cow;
use std::time::Instant;

use super::parameters::Parameters;
use super::rules::{Ask, METHODS, PROMPTS, RESOURCES, TOOLS, ask, method_permission, recorded};
use super::state::{Asked, Pending};
use super::tools::{Fit, Turn};
use super::{ClientPolicy, Decision, Judgement, Refusal, answer};
use crate::message::{Edit, Id, Message, Object, Outcome, ReadError, Value, edit};
use crate::quota::InFlight;

/// Resources or tasks that one request listens to. Each is held against every permission.
pub(super) const MAX_LISTENED: usize = 4096;

/// A client's request under judgement.
struct Request<'a> {
    line: &'a [u8],
    id: Id,
    method: Cow<'a, str>,
    params: Parameters<'a>,
}

/// Why a request is not forwarded, and what it named.
struct Denied {
    refusal: Refusal,
    /// Kind and name of something that is answered as if it did not exist.
    hidden: Option<(&'static str, String)>,
    /// Something that is there.
    named: Option<String>,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, hidden: None, named: None }
    }
}

impl From<ReadError> for Denied {
    fn from(error: ReadError) -> Self {
        Refusal::from(error).into()
    }
}

/// A request that may go on.
struct Allowed {
    ask: Ask,
    name: Option<String>,
    /// The line to send instead, where part of the request is not permitted.
    rewritten: Option<String>,
    place: Option<InFlight>,
    /// Its arguments can be judged when the server has said which tools it has.
    awaits_tools: bool,
}

impl ClientPolicy {
    /// Judges one line from the client.
    pub fn judge_client<'a>(&mut self, line: &'a [u8]) -> Judgement<'a> {
        self.judge(line, Turn::First)
    }

    pub(super) fn judge<'a>(&mut self, line: &'a [u8], turn: Turn) -> Judgement<'a> {
        match Message::read(line) {
            Ok(Message::Request { id, method, params }) => {
                // What is judged again has been paid for.
                let spent = if turn == Turn::First { self.spend() } else { Ok(()) };
                match spent.and_then(|()| Parameters::read(params)) {
                    Ok(params) => self.judge_request(Request { line, id, method, params }, turn),
                    Err(refusal) => Judgement::answer(answer::refusal(Some(&id), &refusal))
                        .recorded(&method, None, Decision::Denied(refusal)),
                }
            }
            Ok(Message::Notification { method, params }) => {
                self.judge_client_notification(line, &method, params)
            }
            Ok(Message::Response { id, outcome }) => match self.asked.remove(&id) {
                Some(Asked { method, since }) => {
                    let (latency, error) = (since.elapsed(), matches!(outcome, Outcome::Error(_)));
                    let decision = Decision::Answered { latency, error, redacted: 0 };
                    Judgement::forward(line).recorded(&method, None, decision)
                }
                None => {
                    let refusal = self.spend().err().unwrap_or(Refusal::NotOwn);
                    Judgement::denied("response", None, refusal)
                }
            },
            Ok(Message::Stray(_)) => match self.spend() {
                Ok(()) => Judgement::drop(),
                Err(refusal) => Judgement::denied("response", None, refusal),
            },
            Err(error) => {
                let refusal = self.spend().err().unwrap_or_else(|| error.into());
                let id = Message::salvage_id(line);
                Judgement::answer(answer::refusal(id.as_ref(), &refusal)).recorded(
                    "unreadable",
                    None,
                    Decision::Denied(refusal),
                )
            }
        }
    }

    fn judge_request<'a>(&mut self, request: Request<'a>, turn: Turn) -> Judgement<'a> {
        match self.authorize(&request, turn) {
            Ok(Allowed { awaits_tools: true, .. }) => self.look_up(&request.params),
            Ok(Allowed { ask, name, rewritten, place, .. }) => {
                self.pending.insert(
                    request.id,
                    Pending {
                        method: recorded(&request.method),
                        name: name.clone(),
                        ask,
                        progress_token: request.params.progress_token(),
                        since: Instant::now(),
                        is_cancelled: false,
                        place,
                    },
                );
                let forward = match rewritten {
                    Some(line) => Judgement::rewritten(line),
                    None => Judgement::forward(request.line),
                };
                forward.recorded(&request.method, name, Decision::Allowed)
            }
            Err(denied) => self.deny(&request, denied),
        }
    }

    fn deny<'a>(&self, request: &Request<'a>, denied: Denied) -> Judgement<'a> {
        let Denied { refusal, hidden, named } = denied;
        let line = match &hidden {
            Some(_) if self.rules.explain_denials => answer::explained(&request.id, &refusal),
            Some((kind, name)) => answer::absent(&request.id, kind, name),
            None => answer::refusal(Some(&request.id), &refusal),
        };
        let name = hidden.map(|(_, name)| name).or(named).map(|name| recorded(&name));
        Judgement::answer(line).recorded(&request.method, name, Decision::Denied(refusal))
    }

    fn authorize(&mut self, request: &Request<'_>, turn: Turn) -> Result<Allowed, Denied> {
        self.forget_late();
        if self.pending.contains_key(&request.id) {
            return Err(Refusal::DuplicateId.into());
        }
        if self.is_busy() {
            return Err(Refusal::TooManyInFlight.into());
        }
        let ask = ask(&request.method)?;
        let mut awaits_tools = false;
        let mut edits = Vec::new();
        let name = match ask {
            Ask::Lifecycle | Ask::List(_) => None,
            Ask::Item { kind, parameter } => {
                let name = request.params.text(parameter)?;
                self.must_allow(kind, &name)?;
                if kind == TOOLS {
                    awaits_tools = self.must_fit(&name, &request.params, turn)?;
                }
                Some(recorded(&name))
            }
            Ask::Completion => Some(self.authorize_completion(&request.params)?),
            Ask::OwnTask => {
                // A task goes on with what was permitted when it began, which may be suspended now.
                let task = request.params.text("taskId")?;
                let goes_on = self.tasks.get(&*task).is_some_and(|task| self.task_goes_on(task));
                let is_suspended = self.held.suspended().is_some() && !goes_on;
                if is_suspended && !self.allows(METHODS, &request.method) {
                    let needed = method_permission(&recorded(&request.method));
                    return Err(Refusal::Suspended(needed).into());
                }
                Some(self.authorize_task(&request.params)?)
            }
            Ask::Listen => {
                edits.push(self.narrow_listen(request)?);
                None
            }
            Ask::Unknown | Ask::Lookup => {
                self.must_allow_method(&request.method)?;
                None
            }
        };
        edits.extend(self.open_state(request)?);
        let line = std::str::from_utf8(request.line).map_err(|_| ReadError::NotUtf8)?;
        let rewritten = (!edits.is_empty()).then(|| edit(line, edits));
        Ok(Allowed { ask, name, rewritten, place: self.enter()?, awaits_tools })
    }

    /// The state that the client holds for the server, without its mark; `None` if it holds none.
    fn open_state(&self, request: &Request<'_>) -> Result<Option<Edit>, Refusal> {
        let Some((seal, held)) = self.seal.as_ref().zip(request.params.get("requestState")) else {
            return Ok(None);
        };
        let closed = held.as_str().ok_or(Refusal::Parameters)?;
        let state = seal.open(&closed).ok_or(Refusal::NotOwn)?;
        let text = std::str::from_utf8(request.line).map_err(|_| Refusal::Parameters)?;
        let state = serde_json::Value::from(state).to_string();
        Ok(Some((held.span_in(text), state)))
    }

    fn must_allow(&self, kind: &'static str, name: &str) -> Result<(), Denied> {
        if self.allows(kind, name) {
            return Ok(());
        }
        Err(match self.refusal(kind, name) {
            // It is known to whoever holds the permission, so there is nothing to hide.
            suspended @ Refusal::Suspended(_) => suspended.into(),
            refusal => Denied { refusal, hidden: Some((kind, name.to_owned())), named: None },
        })
    }

    /// Arguments that do not fit are told so; a tool that the server does not list is not there.
    fn must_fit(&self, name: &str, params: &Parameters<'_>, turn: Turn) -> Result<bool, Denied> {
        match self.judge_arguments(name, params, turn) {
            Ok(fit) => Ok(matches!(fit, Fit::Unknown)),
            Err(refusal @ Refusal::Unlisted) => {
                let hidden = Some((TOOLS, name.to_owned()));
                Err(Denied { refusal, hidden, named: None })
            }
            Err(refusal) => Err(Denied { refusal, hidden: None, named: Some(name.to_owned()) }),
        }
    }

    /// A method without a rule of its own goes by its name.
    fn must_allow_method(&self, method: &str) -> Result<(), Refusal> {
        if self.allows(METHODS, method) {
            return Ok(());
        }
        Err(match self.refusal(METHODS, method) {
            Refusal::NotPermitted(_) => Refusal::UnknownMethod(recorded(method)),
            suspended => suspended,
        })
    }

    /// `ref` names a prompt, a resource, or a resource template by its text.
    fn authorize_completion(&self, params: &Parameters<'_>) -> Result<String, Denied> {
        let reference = params.get("ref").and_then(Value::as_object);
        let reference = reference.ok_or(Refusal::Parameters)?.known(["type", "name", "uri"])?;
        let text = |key| reference.get(key).and_then(Value::as_str).ok_or(Refusal::Parameters);
        let (kind, name) = match &*text("type")? {
            "ref/prompt" => (PROMPTS, text("name")?),
            "ref/resource" => (RESOURCES, text("uri")?),
            _ => return Err(Refusal::Parameters.into()),
        };
        self.must_allow(kind, &name)?;
        Ok(recorded(&name))
    }

    fn authorize_task(&self, params: &Parameters<'_>) -> Result<String, Denied> {
        let task = params.text("taskId")?;
        if !self.owns_task(&task) {
            let hidden = Some(("tasks", task.into_owned()));
            return Err(Denied { refusal: Refusal::NotOwn, hidden, named: None });
        }
        Ok(recorded(&task))
    }

    /// The filter of the request narrowed to what is permitted: the server never hears of the rest.
    fn narrow_listen(&self, request: &Request<'_>) -> Result<Edit, Denied> {
        let filter = request.params.get("notifications").ok_or(Refusal::Parameters)?;
        let filter_object = filter.as_object().ok_or(Refusal::Parameters)?;
        filter_object.known(["resourceSubscriptions", "taskIds"])?;
        let mut narrowed = Vec::new();
        for (key, value) in filter_object.members() {
            let kept = match &*key {
                "resourceSubscriptions" => keep(value, |uri| self.allows(RESOURCES, uri))?,
                "taskIds" => keep(value, |task| self.owns_task(task))?,
                "toolsListChanged" | "promptsListChanged" | "resourcesListChanged" => {
                    value.text().to_owned()
                }
                _ => continue,
            };
            narrowed.push(format!("{}:{kept}", serde_json::Value::from(&*key)));
        }
        let line = std::str::from_utf8(request.line).map_err(|_| ReadError::NotUtf8)?;
        Ok((filter.span_in(line), format!("{{{}}}", narrowed.join(","))))
    }

    fn judge_client_notification<'a>(
        &mut self,
        line: &'a [u8],
        method: &str,
        params: Option<Object<'a>>,
    ) -> Judgement<'a> {
        let spent = self.spend_on_notification(method);
        let params = match spent.and_then(|()| Parameters::read(params)) {
            Ok(params) => params,
            Err(refusal) => return Judgement::denied(method, None, refusal),
        };
        match method {
            "notifications/initialized" | "notifications/roots/list_changed" => {
                Judgement::forward(line)
            }
            "notifications/cancelled" => {
                let id = params.get("requestId");
                match id.and_then(Id::from_value).and_then(|id| self.cancel(&id)) {
                    Some(name) => {
                        Judgement::forward(line).recorded(method, name, Decision::Allowed)
                    }
                    // The answer may have crossed it on the way: no offence, but nothing that is free either.
                    None => match self.spend() {
                        Ok(()) => Judgement::drop(),
                        Err(refusal) => Judgement::denied(method, None, refusal),
                    },
                }
            }
            // Of the server's own requests, while they are in flight.
            "notifications/progress" | "notifications/tasks/status" if !self.asked.is_empty() => {
                Judgement::forward(line)
            }
            "notifications/progress" | "notifications/tasks/status" => Judgement::drop(),
            // A request's method without an id is no notification, and there are servers that do not
            // look for one.
            _ if ask(method) == Ok(Ask::Unknown) && self.allows(METHODS, method) => {
                Judgement::forward(line).recorded(method, None, Decision::Allowed)
            }
            _ => {
                let refusal = Refusal::NotPermitted(method_permission(&recorded(method)));
                Judgement::denied(method, None, refusal)
            }
        }
    }
}

/// An array of texts, reduced to those that pass.
fn keep(array: Value<'_>, pass: impl Fn(&str) -> bool) -> Result<String, Refusal> {
    let mut kept = Vec::new();
    for (nth, element) in array.as_array().ok_or(Refusal::Parameters)?.enumerate() {
        let text = element.as_str().filter(|_| nth < MAX_LISTENED).ok_or(Refusal::Parameters)?;
        if pass(&text) {
            kept.push(element.text());
        }
    }
    Ok(format!("[{}]", kept.join(",")))
}
