//! What a server may ask of a client: `client:<method>`, in the server's own certificate.

use std::borrow::Cow;

use vouchsafe_certs::PermissionSet;

use super::rules::{CLIENT, recorded};
use super::{Decision, Judgement, Permit, Refusal, Verdict, answer};
use crate::message::{Message, Object, Outcome, ReadError, Value};

/// What a server's certificate lets it ask, be it in a request of its own (up to 2025-11-25) or in an
/// input request inside of a result (2026-07-28).
#[derive(Debug)]
pub(super) struct Asking(PermissionSet);

impl Asking {
    pub(super) fn new(held: PermissionSet) -> Self {
        Self(held)
    }

    pub(super) fn for_method(&self, method: &str) -> Result<(), Refusal> {
        if method == "ping" || self.0.allows(CLIENT, method) {
            return Ok(());
        }
        Err(Refusal::NotPermitted(format!(
            "{CLIENT}:{} in the server's certificate",
            recorded(method)
        )))
    }

    /// MCP 2025-11-25: an error may ask the client to open a URL.
    pub(super) fn with_error(&self, error: Object<'_>) -> Result<(), Refusal> {
        let data = error.known(["data"])?.get("data").and_then(Value::as_object);
        let Some(data) = data else { return Ok(()) };
        match data.known(["elicitations"])?.get("elicitations") {
            Some(_) => self.for_method("elicitation/create"),
            None => Ok(()),
        }
    }

    /// Of a result, or of the parameters of a notification.
    pub(super) fn within(&self, holder: Object<'_>) -> Result<(), Refusal> {
        match holder.known(["inputRequests"])?.get("inputRequests") {
            Some(requests) => self.all_of(requests),
            None => Ok(()),
        }
    }

    pub(super) fn all_of(&self, requests: Value<'_>) -> Result<(), Refusal> {
        for (_, request) in requests.as_object().ok_or(Refusal::ResultShape)?.members() {
            let request = request.as_object().ok_or(Refusal::ResultShape)?;
            let method = request.known(["method"])?.get("method").and_then(Value::as_str);
            self.for_method(&method.ok_or(Refusal::ResultShape)?)?;
        }
        Ok(())
    }
}

/// Holds the server of one session, at the connecting side, to the permissions in the server's certificate.
#[derive(Debug)]
pub struct ServerPolicy {
    asking: Asking,
    farewell: Option<String>,
}

impl ServerPolicy {
    /// Of a session whose server holds these permissions.
    #[must_use]
    pub fn new(held: PermissionSet) -> Self {
        Self { asking: Asking::new(held), farewell: None }
    }

    /// Judges one line from the server.
    pub fn judge_server<'a>(&mut self, line: &'a [u8]) -> Judgement<'a> {
        self.judge_read(line, Message::read(line))
    }

    /// Judges one line from the server that has been read.
    pub(crate) fn judge_read<'a>(
        &mut self,
        line: &'a [u8],
        message: Result<Message<'a>, ReadError>,
    ) -> Judgement<'a> {
        self.farewell = None;
        let (id, judged) = match message {
            Ok(Message::Request { id, method, .. }) => {
                return match self.asking.for_method(&method) {
                    Ok(()) => Judgement::forward(line),
                    Err(refusal) => Judgement::answer(answer::refusal(Some(&id), &refusal))
                        .recorded(&method, None, Decision::Denied(refusal)),
                };
            }
            Ok(Message::Response { id, outcome: Outcome::Result(result) }) => {
                (Some(id), self.asking.within(result))
            }
            Ok(Message::Response { id, outcome: Outcome::Error(error) }) => {
                (Some(id), self.asking.with_error(error))
            }
            Ok(Message::Notification { params: Some(params), .. }) => {
                (None, self.asking.within(params))
            }
            Ok(Message::Stray(error)) => {
                let message = error.known(["message"]).ok().and_then(|error| error.get("message"));
                self.farewell = message.and_then(Value::as_str).map(Cow::into_owned);
                return Judgement::forward(line);
            }
            Ok(_) => return Judgement::forward(line),
            Err(error) => return Judgement::denied("unreadable", None, error.into()),
        };
        let Err(refusal) = judged else { return Judgement::forward(line) };
        let verdict = match id {
            Some(id) => Verdict::Forward(Permit(answer::refusal(Some(&id), &refusal).into())),
            None => Verdict::Drop,
        };
        let decision = Decision::Denied(refusal);
        Judgement { verdict, record: None }.recorded("inputRequests", None, decision)
    }

    /// What the gateway said last, if that was an error that belongs to no request: it says so
    /// before it closes a session.
    #[must_use]
    pub fn farewell(&self) -> Option<&str> {
        self.farewell.as_deref()
    }
}
