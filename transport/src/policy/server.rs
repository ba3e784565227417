//! From the server: answers must belong to a request, lists are filtered, notifications may name only
//! what the client may know.

use std::time::Instant;

use super::client::MAX_LISTENED;
use super::list::privately;
use super::parameters::{Parameters, RESULT_KEYS, Results};
use super::redact::WalkRules;
use super::rules::{Ask, METHODS_OF_SERVERS, RESOURCES, TOOLS, recorded};
use super::state::{Asked, Pending, Task};
use super::{ClientPolicy, Decision, Judgement, Refusal, answer};
use crate::message::{Edit, Id, Message, Object, Outcome, Value};

/// Task ids are remembered, so they have a limit; a task with a longer one belongs to nobody.
const MAX_TASK_ID_LEN: usize = 1024;

impl ClientPolicy {
    /// Judges one line from the server.
    pub fn judge_server<'a>(&mut self, line: &'a [u8]) -> Judgement<'a> {
        match Message::read(line) {
            Ok(Message::Response { id, outcome }) => self.judge_response(line, &id, outcome),
            Ok(Message::Notification { method, params }) => {
                match self.client_may_see(&method, params) {
                    Ok(()) => self.forward_words(line, &method, params),
                    Err(refusal) => Judgement::denied(&method, None, refusal),
                }
            }
            Ok(Message::Request { id, method, .. }) => self.judge_server_request(line, id, &method),
            Ok(Message::Stray(_)) => Judgement::drop(),
            Err(error) => Judgement::denied("unreadable", None, error.into()),
        }
    }

    fn judge_response<'a>(
        &mut self,
        line: &'a [u8],
        id: &Id,
        outcome: Outcome<'a>,
    ) -> Judgement<'a> {
        let Some(pending) = self.answered(id) else {
            return Judgement::denied("response", None, Refusal::NotOwn);
        };
        if pending.is_cancelled {
            return Judgement::drop();
        }
        if pending.ask == Ask::Lookup {
            return self.judge_looked_up_page(&outcome);
        }
        let latency = pending.since.elapsed();
        let error = matches!(outcome, Outcome::Error(_));
        let (judgement, redacted) = match self.judge_outcome(line, outcome, &pending) {
            Ok(judged) => judged,
            // The client is waiting: it gets an error in place of what cannot be shown.
            Err(refusal) => {
                let permit = super::Permit(answer::refusal(Some(id), &refusal).into());
                let verdict = super::Verdict::Forward(permit);
                return Judgement { verdict, record: None }.recorded(
                    &pending.method,
                    pending.name,
                    Decision::Denied(refusal),
                );
            }
        };
        let decision = Decision::Answered { latency, error, redacted };
        judgement.recorded(&pending.method, pending.name, decision)
    }

    /// What the client sees of an answer, and how many secrets were taken out of it.
    fn judge_outcome<'a>(
        &mut self,
        line: &'a [u8],
        outcome: Outcome<'a>,
        pending: &Pending,
    ) -> Result<(Judgement<'a>, usize), Refusal> {
        match outcome {
            Outcome::Error(error) => {
                self.server_may(|asking| asking.with_error(error))?;
                Ok(self.without_secrets(line, error, WalkRules::Words, vec![]))
            }
            Outcome::Result(result) => self.judge_result(line, result, pending),
        }
    }

    /// What the client sees of a result, and how many secrets were taken out of it.
    fn judge_result<'a>(
        &mut self,
        line: &'a [u8],
        result: Object<'_>,
        pending: &Pending,
    ) -> Result<(Judgement<'a>, usize), Refusal> {
        let members = result.known(RESULT_KEYS)?;
        if let Some(requests) = members.get("inputRequests") {
            self.server_may(|asking| asking.all_of(requests))?;
        }
        let text = std::str::from_utf8(line).map_err(|_| Refusal::ResultShape)?;
        let mut edits = Vec::new();
        match pending.ask {
            Ask::List(list) => {
                self.learn_tools(pending.ask, &members);
                edits.extend(self.filter(text, result, &members, list)?);
            }
            Ask::Item { kind: TOOLS, .. } => self.note_task(&members, pending),
            Ask::Item { kind: RESOURCES, .. } => edits.extend(privately(text, result, &members)),
            _ => {}
        }
        edits.extend(self.close_state(text, &members)?);
        match pending.ask {
            // They hold nobody's contents.
            Ask::Lifecycle | Ask::Listen | Ask::List(_) => {
                Ok((Judgement::edited(line, text, edits), 0))
            }
            _ => Ok(self.without_secrets(line, result, WalkRules::Result, edits)),
        }
    }

    /// The state that a client is to hold, with its mark.
    fn close_state(&self, text: &str, members: &Results<'_>) -> Result<Option<Edit>, Refusal> {
        let Some((seal, state)) = self.seal.as_ref().zip(members.get("requestState")) else {
            return Ok(None);
        };
        let closed = seal.close(&state.as_str().ok_or(Refusal::ResultShape)?);
        Ok(Some((state.span_in(text), serde_json::Value::from(closed).to_string())))
    }

    /// The line with these edits, and without what looks like a secret in one part of it.
    fn without_secrets<'a>(
        &self,
        line: &'a [u8],
        part: Object<'_>,
        rules: WalkRules,
        mut edits: Vec<Edit>,
    ) -> (Judgement<'a>, usize) {
        let mut secrets = 0;
        if let Some(redaction) = &self.rules.redaction {
            let start = part.text().as_ptr().addr() - line.as_ptr().addr();
            for replaced in redaction.of(part.text(), rules) {
                let span = start + replaced.span.start..start + replaced.span.end;
                edits.push((span, replaced.text));
                secrets += replaced.secrets;
            }
        }
        match std::str::from_utf8(line) {
            Ok(text) => (Judgement::edited(line, text, edits), secrets),
            Err(_) => (Judgement::forward(line), secrets),
        }
    }

    /// A notification that the client may see, without what looks like a secret in what it tells.
    fn forward_words<'a>(
        &self,
        line: &'a [u8],
        method: &str,
        params: Option<Object<'_>>,
    ) -> Judgement<'a> {
        let rules = match method {
            "notifications/message" | "notifications/progress" => WalkRules::Words,
            "notifications/tasks" | "notifications/tasks/status" => WalkRules::Result,
            _ => return Judgement::forward(line),
        };
        let Some(params) = params else { return Judgement::forward(line) };
        match self.without_secrets(line, params, rules, vec![]) {
            (judgement, 0) => judgement,
            (judgement, secrets) => judgement.recorded(method, None, Decision::Redacted(secrets)),
        }
    }

    /// A call that became a task belongs to this session: nested in 2025-11-25, flat in the extension of 2026-07-28.
    fn note_task(&mut self, result: &Results<'_>, call: &Pending) {
        let nested =
            || result.get("task")?.as_object()?.known(["taskId"]).ok()?.get("taskId")?.as_str();
        let flat = || {
            let kind = result.get("resultType")?.as_str()?;
            if kind == "task" { result.get("taskId")?.as_str() } else { None }
        };
        if let Some(task) = flat().or_else(nested).filter(|task| task.len() <= MAX_TASK_ID_LEN) {
            let tool = call.name.clone().unwrap_or_default();
            let progress_token = call.progress_token.clone();
            self.own(task.into_owned(), Task { tool, progress_token });
        }
    }

    fn judge_server_request<'a>(&mut self, line: &'a [u8], id: Id, method: &str) -> Judgement<'a> {
        let refusal = if !METHODS_OF_SERVERS.contains(&method) {
            Refusal::UnknownMethod(recorded(method))
        } else if let Err(refusal) = self.server_may(|asking| asking.for_method(method)) {
            refusal
        } else if self.asked.contains_key(&id) {
            Refusal::DuplicateId
        } else if self.asked.len() >= self.rules.max_in_flight {
            Refusal::TooManyInFlight
        } else {
            self.asked.insert(id, Asked { method: recorded(method), since: Instant::now() });
            return Judgement::forward(line).recorded(method, None, Decision::Allowed);
        };
        Judgement::answer(answer::refusal(Some(&id), &refusal)).recorded(
            method,
            None,
            Decision::Denied(refusal),
        )
    }

    fn client_may_see(&mut self, method: &str, params: Option<Object<'_>>) -> Result<(), Refusal> {
        if let Some(params) = params {
            self.server_may(|asking| asking.within(params))?;
        }
        let params = Parameters::read(params)?;
        self.must_own_subscription(&params)?;
        if let (Some(tools), "notifications/tools/list_changed") = (&mut self.tools, method) {
            tools.forget();
        }
        match method {
            "notifications/message"
            | "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/elicitation/complete" => Ok(()),
            "notifications/progress" => {
                let token = params.get("progressToken").and_then(Id::from_value);
                own(token.is_some_and(|token| self.knows_token(&token)))
            }
            // Of its own request, or (2026-07-28) of a subscription that ends.
            "notifications/cancelled" => {
                let id =
                    params.get("requestId").and_then(Id::from_value).ok_or(Refusal::Parameters)?;
                let is_listen =
                    |pending: &Pending| pending.ask == Ask::Listen && !pending.is_cancelled;
                let listens = self.pending.get(&id).is_some_and(is_listen);
                if listens {
                    self.cancel(&id);
                }
                own(self.asked.remove(&id).is_some() || listens)
            }
            "notifications/resources/updated" => self.must_know_resource(&params.text("uri")?),
            "notifications/subscriptions/acknowledged" => self.judge_acknowledgement(&params),
            "notifications/tasks/status" | "notifications/tasks" => {
                self.must_own_task(&params.text("taskId")?)
            }
            _ if self.allows(super::rules::METHODS, method) => Ok(()),
            _ => Err(Refusal::UnknownMethod(recorded(method))),
        }
    }

    fn must_own_task(&self, task: &str) -> Result<(), Refusal> {
        let task = self.tasks.get(task).ok_or(Refusal::NotOwn)?;
        match self.task_goes_on(task) {
            true => Ok(()),
            false => Err(self.refusal(TOOLS, &task.tool)),
        }
    }

    fn must_know_resource(&self, uri: &str) -> Result<(), Refusal> {
        match self.allows(RESOURCES, uri) {
            true => Ok(()),
            false => Err(self.refusal(RESOURCES, uri)),
        }
    }

    /// A notification that names a subscription must name a listen request of this session.
    fn must_own_subscription(&self, params: &Parameters<'_>) -> Result<(), Refusal> {
        let Some(id) = params.subscription() else { return Ok(()) };
        let pending = Id::from_value(id).and_then(|id| self.pending.get(&id));
        own(pending.is_some_and(|pending| pending.ask == Ask::Listen && !pending.is_cancelled))
    }

    /// The server must not have agreed to more than it was asked for.
    fn judge_acknowledgement(&self, params: &Parameters<'_>) -> Result<(), Refusal> {
        let agreed = params.get("notifications").and_then(Value::as_object);
        let Some(agreed) = agreed else { return Ok(()) };
        let Some(uris) = agreed.known(["resourceSubscriptions"])?.get("resourceSubscriptions")
        else {
            return Ok(());
        };
        for (nth, uri) in uris.as_array().ok_or(Refusal::Parameters)?.enumerate() {
            let uri = uri.as_str().filter(|_| nth < MAX_LISTENED).ok_or(Refusal::Parameters)?;
            self.must_know_resource(&uri)?;
        }
        Ok(())
    }
}

fn own(is_own: bool) -> Result<(), Refusal> {
    if is_own { Ok(()) } else { Err(Refusal::NotOwn) }
}
