//! What a policy looks at inside of messages, each part read in one pass.

use std::borrow::Cow;

use super::Refusal;
use super::rules::{RELATED_TASK, SUBSCRIPTION_ID};
use crate::message::{Id, Known, Object, Value};

/// The keys that a policy looks at inside `params`.
const PARAMETER_KEYS: [&str; 12] = [
    "name",
    "arguments",
    "uri",
    "ref",
    "taskId",
    "task",
    "notifications",
    "requestId",
    "progressToken",
    "_meta",
    "inputResponses",
    "requestState",
];

/// The keys that a policy looks at inside a `result`.
pub(super) const RESULT_KEYS: [&str; 12] = [
    "tools",
    "prompts",
    "resources",
    "resourceTemplates",
    "tasks",
    "task",
    "taskId",
    "resultType",
    "cacheScope",
    "inputRequests",
    "requestState",
    "_meta",
];

/// The keys that a policy looks at inside `_meta`.
const META_KEYS: [&str; 6] = [
    "progressToken",
    SUBSCRIPTION_ID,
    RELATED_TASK,
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

/// What a result says.
pub(super) type Results<'a> = Known<'a, { RESULT_KEYS.len() }>;

/// What a message says beside its method, where it says anything.
pub(super) struct Parameters<'a> {
    members: Option<Known<'a, { PARAMETER_KEYS.len() }>>,
    meta: Option<Known<'a, { META_KEYS.len() }>>,
}

impl<'a> Parameters<'a> {
    pub(super) fn read(params: Option<Object<'a>>) -> Result<Self, Refusal> {
        let members = params.map(|params| params.known(PARAMETER_KEYS)).transpose()?;
        let meta = match members.as_ref().and_then(|members| members.get("_meta")) {
            Some(meta) => Some(meta.as_object().ok_or(Refusal::Parameters)?.known(META_KEYS)?),
            None => None,
        };
        Ok(Self { members, meta })
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.members.as_ref()?.get(key)
    }

    /// The text of a parameter that must be there.
    pub(super) fn text(&self, key: &str) -> Result<Cow<'a, str>, Refusal> {
        self.get(key).and_then(Value::as_str).ok_or(Refusal::Parameters)
    }

    /// The listen request that a notification belongs to.
    pub(super) fn subscription(&self) -> Option<Value<'a>> {
        self.meta.as_ref()?.get(SUBSCRIPTION_ID)
    }

    /// A member of `_meta` that is looked at.
    pub(super) fn meta(&self, key: &str) -> Option<Value<'a>> {
        self.meta.as_ref()?.get(key)
    }

    pub(super) fn progress_token(&self) -> Option<Id> {
        self.meta.as_ref()?.get("progressToken").and_then(Id::from_value)
    }
}
