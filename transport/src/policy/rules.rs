//! Which permission a request needs: the one table that lists, calls and notifications share.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::redact::{PatternError, Redaction};
use super::schema::Schemas;
use crate::message::ReadError;
use vouchsafe_certs::{Permission, PermissionError, PermissionSet};

/// The kinds that the transport itself asks for.
pub(crate) const TOOLS: &str = "tools";
pub(crate) const RESOURCES: &str = "resources";
pub(crate) const PROMPTS: &str = "prompts";
pub(crate) const METHODS: &str = "methods";
pub(crate) const CLIENT: &str = "client";

/// What an operator may adjust of the policy. The default asks for `tools:<name>` and explains nothing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rules {
    pub(super) required: HashMap<String, (String, String)>,
    /// Tells a caller which permission was missing, instead of answering as if the thing did not exist.
    pub explain_denials: bool,
    /// Requests of one direction that may be in flight at once.
    pub max_in_flight: usize,
    /// Where arguments are checked: the schemas that sessions share.
    pub(super) schemas: Option<Arc<Schemas>>,
    /// Where secrets are taken out of what servers say: what they look like.
    pub(super) redaction: Option<Redaction>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            required: HashMap::new(),
            explain_denials: false,
            max_in_flight: 256,
            schemas: None,
            redaction: None,
        }
    }
}

impl Rules {
    /// Asks for `permission` where `tool` is called or listed, instead of for `tools:<tool>`.
    ///
    /// # Errors
    /// If the permission is malformed or ends in `*`: what is asked for is one name.
    pub fn require(&mut self, tool: &str, permission: &str) -> Result<(), PermissionError> {
        let permission = Permission::parse(permission)?;
        if permission.pattern().ends_with('*') {
            return Err(PermissionError::InnerStar);
        }
        let needed = (permission.kind().to_owned(), permission.pattern().to_owned());
        self.required.insert(tool.to_owned(), needed);
        Ok(())
    }

    /// Checks the arguments of calls against the schemas of their tools.
    pub fn validate_arguments(&mut self) {
        self.schemas = Some(Arc::default());
    }

    /// Takes what looks like a key or a token out of results, errors, and what is told on the way to them.
    ///
    /// # Errors
    /// There is none, unless the patterns that are known do not compile.
    pub fn redact(&mut self) -> Result<(), PatternError> {
        self.redaction = Some(Redaction::new()?);
        Ok(())
    }

    /// Takes this out as well (a regular expression in the syntax of the `regex` crate).
    ///
    /// # Errors
    /// [`PatternError`] if it is none, or is found everywhere.
    pub fn redact_pattern(&mut self, pattern: &str) -> Result<(), PatternError> {
        let mut redaction = self.redaction.take().map_or_else(Redaction::new, Ok)?;
        let added = redaction.add(pattern);
        self.redaction = Some(redaction);
        added
    }

    /// The permission that `name` of `kind` needs.
    pub(crate) fn needed<'a>(&'a self, kind: &'a str, name: &'a str) -> (&'a str, &'a str) {
        match self.required.get(name) {
            Some((kind_needed, name_needed)) if kind == TOOLS => (kind_needed, name_needed),
            _ => (kind, name),
        }
    }

    /// Whether `held` may use `name` of `kind`. Listing and calling both ask here, so what is listed can be called.
    pub(crate) fn allows(&self, held: &PermissionSet, kind: &str, name: &str) -> bool {
        let (kind, name) = self.needed(kind, name);
        held.allows(kind, name)
            && (kind != RESOURCES || is_settled(name) || held.allows_all(RESOURCES))
    }
}

/// Whether a URI means what its text says. Patterns are compared octet by octet, and servers resolve
/// `.` and `..` (RFC 3986 §5.2.4), take `\` for `/` and drop white space (WHATWG URL): such a URI
/// would begin like a permitted one and name another. Its query and fragment are no way around that:
/// there are servers that take all that comes after `file://` for a path.
fn is_settled(uri: &str) -> bool {
    let dots = uri.to_ascii_lowercase().replace("%2e", ".");
    let meant = [("%2f", "/"), ("%5c", "\\"), ("%3f", "?"), ("%23", "#")]
        .into_iter()
        .fold(dots, |meant, (encoded, delimiter)| meant.replace(encoded, delimiter));
    !uri.contains(|c: char| c.is_control() || c == ' ' || c == '\\')
        && !meant.split(['/', '\\', '?', '#']).any(|segment| matches!(segment, "." | ".."))
}

/// What a client's request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing beyond a valid certificate.
    Lifecycle,
    /// The item that the parameter names.
    Item { kind: &'static str, parameter: &'static str },
    /// That of the prompt or resource that `ref` names.
    Completion,
    /// Nothing; the result is filtered.
    List(List),
    /// The resources and tasks of the filter; others are taken out of it.
    Listen,
    /// A task of this session.
    OwnTask,
    /// `methods:<method>`.
    Unknown,
    /// Nothing: it is the gateway that asks.
    Lookup,
}

/// A list method: where the items stand in the result, and what names an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) member: &'static str,
    pub(crate) identity: &'static str,
    pub(crate) shows: Shows,
}

/// Which items of a list are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Those whose name is permitted under this kind.
    Permitted(&'static str),
    /// Templates of which some expansion is permitted under this kind.
    SomePermitted(&'static str),
    /// Tasks of this session.
    OwnTasks,
}

/// The methods that MCP lets a client use.
const METHODS_OF_CLIENTS: [(&str, Ask); 20] = [
    ("initialize", Ask::Lifecycle),
    ("server/discover", Ask::Lifecycle),
    ("ping", Ask::Lifecycle),
    ("logging/setLevel", Ask::Lifecycle),
    ("tools/call", Ask::Item { kind: TOOLS, parameter: "name" }),
    ("prompts/get", Ask::Item { kind: PROMPTS, parameter: "name" }),
    ("resources/read", Ask::Item { kind: RESOURCES, parameter: "uri" }),
    ("resources/subscribe", Ask::Item { kind: RESOURCES, parameter: "uri" }),
    ("resources/unsubscribe", Ask::Item { kind: RESOURCES, parameter: "uri" }),
    ("completion/complete", Ask::Completion),
    ("subscriptions/listen", Ask::Listen),
    ("tasks/get", Ask::OwnTask),
    ("tasks/result", Ask::OwnTask),
    ("tasks/cancel", Ask::OwnTask),
    ("tasks/update", Ask::OwnTask),
    ("tools/list", list("tools", "name", Shows::Permitted(TOOLS))),
    ("prompts/list", list("prompts", "name", Shows::Permitted(PROMPTS))),
    ("resources/list", list("resources", "uri", Shows::Permitted(RESOURCES))),
    (
        "resources/templates/list",
        list("resourceTemplates", "uriTemplate", Shows::SomePermitted(RESOURCES)),
    ),
    ("tasks/list", list("tasks", "taskId", Shows::OwnTasks)),
];

const fn list(member: &'static str, identity: &'static str, shows: Shows) -> Ask {
    Ask::List(List { member, identity, shows })
}

/// The requests that MCP up to 2025-11-25 lets a server make; in 2026-07-28 there are none.
pub(super) const METHODS_OF_SERVERS: [&str; 8] = [
    "ping",
    "sampling/createMessage",
    "elicitation/create",
    "roots/list",
    "tasks/get",
    "tasks/result",
    "tasks/list",
    "tasks/cancel",
];

/// The methods of requests that MCP knows, whoever makes them.
pub fn known_methods() -> impl Iterator<Item = &'static str> {
    let of_clients = METHODS_OF_CLIENTS.iter().map(|(method, _)| *method);
    let is_new = |method: &&str| METHODS_OF_CLIENTS.iter().all(|(known, _)| known != method);
    of_clients.chain(METHODS_OF_SERVERS.into_iter().filter(is_new))
}

/// Reads the method of a client's request.
///
/// # Errors
/// [`ReadError::CaseVariant`] for a method that some server might take for one of MCP's.
pub(crate) fn ask(method: &str) -> Result<Ask, ReadError> {
    let known = METHODS_OF_CLIENTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(method));
    match known {
        Some((known, ask)) if *known == method => Ok(*ask),
        Some(_) => Err(ReadError::CaseVariant),
        None => Ok(Ask::Unknown),
    }
}

/// The name that a permission for an unknown method has.
pub(crate) fn method_permission(method: &str) -> String {
    format!("{METHODS}:{method}")
}

/// What is recorded of a name: enough to recognise it, never without bound.
pub(crate) fn recorded(name: &str) -> String {
    const MAX: usize = 256;
    let end = (0..=MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// The literal text that every expansion of a URI template (RFC 6570) begins with.
pub(crate) fn literal_prefix(template: &str) -> &str {
    template.split_once('{').map_or(template, |(prefix, _)| prefix)
}

/// MCP 2026-07-28: the id of the listen request that a notification belongs to.
pub(crate) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// MCP 2025-11-25: the task that a message belongs to.
pub(crate) const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// A name for answers, where an overlong one is not repeated whole.
pub(crate) fn shown(name: &str) -> Cow<'_, str> {
    if name.len() <= 256 { Cow::Borrowed(name) } else { Cow::Owned(recorded(name) + "…") }
}
