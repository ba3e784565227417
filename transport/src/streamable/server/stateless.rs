//! What a request must be that stands for itself (MCP 2026-07-28). Its body decides; headers that say
//! something else are refused, because somebody in between may have decided by them.

use hyper::HeaderMap;
use hyper::header::HeaderName;

use super::headers::text;
use super::refusal::Refusal;
use crate::message::{Id, Object, Value};
use crate::streamable::annotations::Annotations;
use crate::streamable::mirror::{decoded, named_by};
use crate::streamable::{
    CAPABILITIES_IN_META, METHOD, NAME, PARAM_PREFIX, PROTOCOL_VERSION, STATELESS, VERSION_IN_META,
    WITH_SESSIONS,
};

/// The extension that whoever uses tasks must know.
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The methods of earlier revisions that this one has no more.
const REMOVED: [&str; 7] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/result",
];

/// The revision that a request of the stateless era names.
pub(crate) enum Revision {
    WithSessions,
    Stateless,
}

/// What is looked at in a request, or in a notification, which has no id.
pub(crate) struct Asked<'a> {
    pub(crate) id: Option<&'a Id>,
    pub(crate) method: &'a str,
    pub(crate) params: Option<Object<'a>>,
}

impl Asked<'_> {
    fn id(&self) -> Option<Id> {
        self.id.cloned()
    }

    /// Which era a message belongs to: the body says so, or else the header.
    pub(crate) fn revision(&self, headers: &HeaderMap) -> Result<Revision, Refusal> {
        let in_header = text(headers, &PROTOCOL_VERSION);
        if headers.contains_key(PROTOCOL_VERSION) && in_header.is_none() {
            return Err(Refusal::Mismatch(self.id(), "MCP-Protocol-Version".into()));
        }
        let in_body = self.version_in_body()?;
        match (in_header, in_body) {
            (Some(header), _) if WITH_SESSIONS.contains(&header) && in_body.is_none() => {
                Ok(Revision::WithSessions)
            }
            (None, None) => Ok(Revision::WithSessions),
            (Some(header), None) if header != STATELESS => {
                Err(Refusal::Version(self.id(), shown(header)))
            }
            (Some(_), None) if self.id.is_none() => Ok(Revision::Stateless),
            (Some(_), None) => {
                Err(self
                    .lacks("params._meta[\"io.modelcontextprotocol/protocolVersion\"] is missing"))
            }
            (header, Some(body)) => {
                let body = body.as_str().unwrap_or_default();
                if header != Some(&*body) {
                    return Err(Refusal::Mismatch(self.id(), "MCP-Protocol-Version".into()));
                }
                match &*body == STATELESS {
                    true => Ok(Revision::Stateless),
                    false => Err(Refusal::Version(self.id(), shown(&body))),
                }
            }
        }
    }

    fn version_in_body(&self) -> Result<Option<Value<'_>>, Refusal> {
        let unreadable = |why| Refusal::Unreadable(self.id(), why);
        let params = self.params.map(|params| params.known(["_meta"])).transpose();
        let meta = params.map_err(unreadable)?.and_then(|params| params.get("_meta"));
        let Some(meta) = meta.and_then(Value::as_object) else { return Ok(None) };
        Ok(meta.known([VERSION_IN_META]).map_err(unreadable)?.get(VERSION_IN_META))
    }

    fn lacks(&self, what: &'static str) -> Refusal {
        Refusal::Parameters(self.id(), what)
    }

    /// Whether a stateless request is one: with a method that there still is, and with what its
    /// sender can do, which no earlier request has said for it (MCP 2026-07-28, basic).
    pub(crate) fn must_stand_for_itself(&self) -> Result<(), Refusal> {
        if REMOVED.contains(&self.method) {
            return Err(Refusal::NoSuchMethod(self.id()));
        }
        let unreadable = |why| Refusal::Unreadable(self.id(), why);
        let params = self.params.map(|params| params.known(["_meta"])).transpose();
        let meta = params.map_err(unreadable)?.and_then(|params| params.get("_meta")?.as_object());
        let capabilities = match meta {
            Some(meta) => meta.known([CAPABILITIES_IN_META]).map_err(unreadable)?,
            None => return Err(self.lacks("params._meta is missing")),
        };
        let capabilities = capabilities.get(CAPABILITIES_IN_META).and_then(Value::as_object);
        let Some(capabilities) = capabilities else {
            return Err(self
                .lacks("params._meta[\"io.modelcontextprotocol/clientCapabilities\"] is missing"));
        };
        // Whose task it is would be said otherwise before what the client lacks.
        if self.method.starts_with("tasks/") && !knows_tasks(capabilities) {
            return Err(Refusal::WithoutTasks(self.id()));
        }
        Ok(())
    }

    /// Whether the headers of a stateless request say what its body says.
    pub(crate) fn must_agree(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if text(headers, &METHOD) != Some(self.method) {
            return Err(Refusal::Mismatch(self.id(), "Mcp-Method".into()));
        }
        let unreadable = |why| Refusal::Unreadable(self.id(), why);
        let Some(member) = named_by(self.method) else { return Ok(()) };
        let params = self.params.map(|params| params.known(["name", "uri", "taskId"])).transpose();
        let named = params.map_err(unreadable)?.and_then(|params| params.get(member)?.as_str());
        // A body that lacks what the method asks for is refused further on, in clearer words.
        let Some(named) = named else { return Ok(()) };
        match text(headers, &NAME).and_then(decoded).is_some_and(|name| *name == *named) {
            true => Ok(()),
            false => Err(Refusal::Mismatch(self.id(), "Mcp-Name".into())),
        }
    }
}

impl Asked<'_> {
    /// Whether the headers of a call say what those of its arguments say that its tool wants there.
    pub(crate) fn must_mirror(
        &self,
        headers: &HeaderMap,
        annotations: &Annotations,
    ) -> Result<(), Refusal> {
        let unreadable = |why| Refusal::Unreadable(self.id(), why);
        let params = self.params.map(|params| params.known(["name", "arguments"])).transpose();
        let Some(params) = params.map_err(unreadable)? else { return Ok(()) };
        let Some(tool) = params.get("name").and_then(Value::as_str) else { return Ok(()) };
        let arguments = params.get("arguments").and_then(Value::as_object);
        let said = |name: &HeaderName| text(headers, name).and_then(decoded);
        let is_unclear =
            |name: &&HeaderName| name.as_str().starts_with(PARAM_PREFIX) && said(name).is_none();
        if let Some(header) = headers.keys().find(is_unclear) {
            return Err(Refusal::Mismatch(self.id(), header.to_string().into()));
        }
        match annotations.disagreeing(&tool, arguments, said) {
            None => Ok(()),
            Some(header) if !headers.contains_key(header) => {
                Err(Refusal::NotMirrored(self.id(), header.to_string()))
            }
            Some(header) => Err(Refusal::Mismatch(self.id(), header.to_string().into())),
        }
    }
}

fn shown(version: &str) -> String {
    version.chars().take(32).collect()
}

fn knows_tasks(capabilities: Object<'_>) -> bool {
    let known = || {
        let extensions = capabilities.known(["extensions"]).ok()?.get("extensions")?.as_object()?;
        extensions.known([TASKS]).ok()?.get(TASKS)
    };
    known().is_some()
}
