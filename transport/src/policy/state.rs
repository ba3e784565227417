//! What a session remembers: requests in flight, tasks it started. Bounded in every dimension.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::Instant as TokioInstant;
use vouchsafe_certs::PermissionSet;

use super::asking::Asking;
use super::rules::{Ask, TOOLS, recorded};
use super::seal::OwnSeal;
use super::tools::Tools;
use super::{Decision, Held, Judgement, Permit, Record, Refusal, Rules, Verdict};
use crate::message::{Edit, Id, edit};
use crate::quota::{InFlight, Quota};

/// Tasks that one session may own at once.
const MAX_TASKS: usize = 4096;

/// Cancelled requests of one session that are remembered at once.
const MAX_CANCELLED: usize = 4096;

/// No answer to a cancelled request comes later.
const LATE: Duration = Duration::from_secs(600);

/// Holds the client of one session to its permissions, and what the server sends it as well.
#[derive(Debug)]
pub struct ClientPolicy {
    pub(super) held: Held,
    pub(super) rules: Arc<Rules>,
    /// What the server may ask of the client; `None` where that is the client's own affair.
    asking: Option<Asking>,
    /// Binds what servers give clients to hold; `None` where there is nobody to bind it to.
    pub(super) seal: Option<OwnSeal>,
    /// What the principal may still do, in this session and all others; `None` where it has no limits.
    quota: Option<Arc<Quota>>,
    /// The server's tools, where arguments are checked.
    pub(super) tools: Option<Tools>,
    /// Whether the client has said that it is initialized.
    initialized: bool,
    /// The client's requests that the server has not answered.
    pub(super) pending: HashMap<Id, Pending>,
    /// Those of them that were cancelled, oldest first. Their answers may still be on the way, and
    /// must not meet another request under the same id.
    cancelled: VecDeque<(Instant, Id)>,
    /// The server's requests that the client has not answered.
    pub(super) asked: HashMap<Id, Asked>,
    /// The tasks that this session's calls have started.
    pub(super) tasks: HashMap<String, Task>,
    /// Their names, the oldest first.
    begun: VecDeque<String>,
}

/// A task, and the call that started it.
#[derive(Debug)]
pub(super) struct Task {
    /// What was called: the task goes on for as long as that is permitted.
    pub(super) tool: String,
    pub(super) progress_token: Option<Id>,
}

/// A request of the server in flight.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) since: Instant,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) method: String,
    pub(super) name: Option<String>,
    pub(super) ask: Ask,
    pub(super) progress_token: Option<Id>,
    pub(super) since: Instant,
    pub(super) is_cancelled: bool,
    /// Its place among those of its principal, until it is answered or cancelled.
    pub(super) place: Option<InFlight>,
}

impl ClientPolicy {
    /// Of a session whose client holds these permissions.
    #[must_use]
    pub fn new(held: PermissionSet, rules: Arc<Rules>) -> Self {
        Self::of(held.into(), rules)
    }

    pub(crate) fn of(held: Held, rules: Arc<Rules>) -> Self {
        let tools = rules.schemas.clone().map(Tools::new);
        Self {
            held,
            rules,
            asking: None,
            seal: None,
            tools,
            quota: None,
            initialized: false,
            pending: HashMap::new(),
            cancelled: VecDeque::new(),
            asked: HashMap::new(),
            tasks: HashMap::new(),
            begun: VecDeque::new(),
        }
    }

    /// Holds the server as well: to these permissions, those of its gateway.
    #[must_use]
    pub fn with_server(self, held: PermissionSet) -> Self {
        Self { asking: Some(Asking::new(held)), ..self }
    }

    /// Whether the server may ask something of the client.
    pub(super) fn server_may(
        &self,
        ask: impl FnOnce(&Asking) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.asking.as_ref().map_or(Ok(()), ask)
    }

    /// Bound to what it was given to hold as well.
    pub(crate) fn with_seal(self, seal: OwnSeal) -> Self {
        Self { seal: Some(seal), ..self }
    }

    /// Held to the quota of its principal as well.
    pub(crate) fn with_quota(self, quota: Option<Arc<Quota>>) -> Self {
        Self { quota, ..self }
    }

    /// That of the principal.
    pub(crate) fn quota(&self) -> Option<Arc<Quota>> {
        self.quota.clone()
    }

    /// Takes leave for one message of the client out of the principal's rate.
    pub(super) fn spend(&self) -> Result<(), Refusal> {
        let Some(quota) = &self.quota else { return Ok(()) };
        quota.take(TokioInstant::now()).map_err(|retry_after| Refusal::TooOften { retry_after })
    }

    /// As [`ClientPolicy::spend`], for a notification. What follows from a request costs nothing more:
    /// without the end of its `initialize` a session would hang, and calls that are not cancelled
    /// take more than those that are. Neither can come more often than its request; a cancellation of
    /// nothing is paid for where that turns out.
    pub(super) fn spend_on_notification(&mut self, method: &str) -> Result<(), Refusal> {
        let is_paid = match method {
            "notifications/initialized" => !std::mem::replace(&mut self.initialized, true),
            "notifications/cancelled" => true,
            _ => false,
        };
        if is_paid { Ok(()) } else { self.spend() }
    }

    /// A place among the principal's requests in flight.
    pub(super) fn enter(&self) -> Result<Option<InFlight>, Refusal> {
        let entered = self.quota.as_ref().map(Quota::enter).transpose();
        entered.map_err(|retry_after| Refusal::TooManyAtOnce { retry_after })
    }

    pub(super) fn allows(&self, kind: &str, name: &str) -> bool {
        self.rules.allows(self.held.now(), kind, name)
    }

    /// The refusal of something that needs this permission, and that the client may not do now.
    pub(super) fn refusal(&self, kind: &str, name: &str) -> Refusal {
        let (kind_needed, name_needed) = self.rules.needed(kind, name);
        let needed = format!("{kind_needed}:{}", recorded(name_needed));
        let suspended = self.held.suspended();
        match suspended.is_some_and(|whole| self.rules.allows(whole, kind, name)) {
            true => Refusal::Suspended(needed),
            false => Refusal::NotPermitted(needed),
        }
    }

    /// Takes a request out of flight, because its answer is here.
    pub(super) fn answered(&mut self, id: &Id) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        if pending.is_cancelled {
            self.cancelled.retain(|(_, cancelled)| cancelled != id);
        }
        Some(pending)
    }

    /// Marks a request as cancelled, and says what it named. Its id stays taken.
    pub(super) fn cancel(&mut self, id: &Id) -> Option<Option<String>> {
        let pending = self.pending.get_mut(id).filter(|pending| !pending.is_cancelled)?;
        pending.is_cancelled = true;
        pending.place = None;
        self.cancelled.push_back((Instant::now(), id.clone()));
        Some(pending.name.clone())
    }

    /// Forgets the oldest cancelled request once no answer to it comes any more: its id is free.
    pub(super) fn forget_late(&mut self) {
        let is_late = self.cancelled.front().is_some_and(|(at, _)| at.elapsed() > LATE);
        if is_late && let Some((_, id)) = self.cancelled.pop_front() {
            self.pending.remove(&id);
        }
    }

    /// Whether no further request may be made. Cancelled ones do not count as in flight, but there
    /// is a limit to how many are remembered; servers need not answer them.
    pub(super) fn is_busy(&self) -> bool {
        let in_flight = self.pending.len().saturating_sub(self.cancelled.len());
        in_flight >= self.rules.max_in_flight || self.cancelled.len() >= MAX_CANCELLED
    }

    pub(super) fn owns_task(&self, task: &str) -> bool {
        self.tasks.contains_key(task)
    }

    /// Whether a task of this session may go on now: what was called may be suspended.
    pub(super) fn task_goes_on(&self, task: &Task) -> bool {
        self.held.suspended().is_none() || self.allows(TOOLS, &task.tool)
    }

    /// Takes note of a task that a call has started. Nobody says when a task is asked for the last time,
    /// so where there are too many the oldest is forgotten.
    pub(super) fn own(&mut self, task: String, call: Task) {
        if self.tasks.insert(task.clone(), call).is_none() {
            self.begun.push_back(task);
        }
        if self.begun.len() > MAX_TASKS
            && let Some(oldest) = self.begun.pop_front()
        {
            self.tasks.remove(&oldest);
        }
    }

    /// Whether progress may be reported under this token: it came with a request in flight or with a task.
    pub(super) fn knows_token(&self, token: &Id) -> bool {
        let is_its = |pending: &Pending| {
            !pending.is_cancelled && pending.progress_token.as_ref() == Some(token)
        };
        self.pending.values().any(is_its)
            || self
                .tasks
                .values()
                .any(|task| task.progress_token.as_ref() == Some(token) && self.task_goes_on(task))
    }

    /// Error answers for every request that the server will not answer any more.
    pub fn abandon(&mut self, message: &str) -> Vec<Vec<u8>> {
        let is_clients = |pending: &Pending| !pending.is_cancelled && pending.ask != Ask::Lookup;
        let pending = self.pending.drain().filter(|(_, pending)| is_clients(pending));
        pending.map(|(id, _)| super::answer::error(Some(&id), -32603, message, None)).collect()
    }
}

impl<'a> Judgement<'a> {
    pub(super) fn forward(line: &'a [u8]) -> Self {
        Self { verdict: Verdict::Forward(Permit(line.into())), record: None }
    }

    pub(super) fn rewritten(line: String) -> Self {
        Self { verdict: Verdict::Forward(Permit(line.into_bytes().into())), record: None }
    }

    /// Forwarded with these edits, or as it is where there are none.
    pub(super) fn edited(line: &'a [u8], text: &str, edits: Vec<Edit>) -> Self {
        if edits.is_empty() { Self::forward(line) } else { Self::rewritten(edit(text, edits)) }
    }

    pub(super) fn answer(line: Vec<u8>) -> Self {
        Self { verdict: Verdict::Answer(line), record: None }
    }

    pub(super) fn drop() -> Self {
        Self { verdict: Verdict::Drop, record: None }
    }

    pub(super) fn recorded(self, method: &str, name: Option<String>, decision: Decision) -> Self {
        let record = Record { method: recorded(method), name, decision };
        Self { record: Some(record), ..self }
    }

    /// Dropped, and recorded as denied.
    pub(super) fn denied(method: &str, name: Option<String>, refusal: Refusal) -> Self {
        Self::drop().recorded(method, name, Decision::Denied(refusal))
    }
}
