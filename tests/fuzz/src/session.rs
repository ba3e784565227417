//! A second set of books of one session: what was asked, what may be answered, what may be known. Kept from the
//! octets that were forwarded alone, and read by another JSON parser than the policy's.

use std::collections::{HashMap, HashSet};

use vouchsafe_certs::{Permission, PermissionSet};

use crate::json::Meaning;
use crate::permission;
use crate::third::must_mean_the_same;
use crate::verdict::is_one_line;

/// Requests of one direction that may be in flight: few, so that the fuzzer finds the limit.
pub const MAX_IN_FLIGHT: usize = 4;

/// An operator's rule: this tool needs that permission instead of its own.
pub const MAPPED: (&str, &str, &str) = ("mapped", "files", "read");

/// What clients hold, chosen by the first octet of the input.
const HELD: [&[&str]; 4] = [
    &["tools:a*", "prompts:p", "resources:r:*", "methods:x/*"],
    &["files:read", "tools:ab", "resources:r:1"],
    &["*"],
    &["methods:*"],
];

pub fn held(choice: u8) -> PermissionSet {
    let texts = held_texts(choice).iter();
    texts.map(|text| Permission::parse(text).expect("well-formed")).collect()
}

fn held_texts(choice: u8) -> &'static [&'static str] {
    HELD[usize::from(choice) % HELD.len()]
}

/// One session as it looks from outside.
pub struct Books {
    held: &'static [&'static str],
    /// Requests that the server was sent and has not answered, each with its method.
    open: HashMap<String, String>,
    /// Requests that the client has cancelled. Their answers may still come, so nothing else may have their ids.
    cancelled: HashSet<String>,
    /// Requests that the client was sent and has not answered.
    asked: HashSet<String>,
    tasks: HashSet<String>,
}

impl Books {
    /// Of a client that holds what was chosen.
    pub fn new(choice: u8) -> Self {
        Self {
            held: held_texts(choice),
            open: HashMap::new(),
            cancelled: HashSet::new(),
            asked: HashSet::new(),
            tasks: HashSet::new(),
        }
    }

    /// A message that the server was sent.
    pub fn sent_to_server(&mut self, line: &[u8]) {
        let message = read(line);
        let method = message.get("method").and_then(Meaning::text);
        match (method, message.get("id")) {
            (Some(method), Some(id)) => {
                assert!(self.may_ask(method, &message), "forwarded without permission");
                assert!(
                    !self.cancelled.contains(&key(id)),
                    "the answer of another request may come"
                );
                let earlier = self.open.insert(key(id), method.to_owned());
                assert!(earlier.is_none(), "two requests in flight with one id");
                assert!(self.open.len() <= MAX_IN_FLIGHT, "too many requests in flight");
            }
            (Some(method), None) => self.client_notified(method, &message),
            (None, id) => {
                let id = key(id.expect("a response has an id"));
                assert!(self.asked.remove(&id), "answers what the server did not ask");
            }
        }
    }

    fn client_notified(&mut self, method: &str, message: &Meaning) {
        match method {
            "notifications/cancelled" => {
                let id = message.at(&["params", "requestId"]).expect("names a request");
                assert!(self.open.remove(&key(id)).is_some(), "cancels what is not in flight");
                self.cancelled.insert(key(id));
            }
            "notifications/initialized" | "notifications/roots/list_changed" => {}
            "notifications/progress" | "notifications/tasks/status" if !self.asked.is_empty() => {}
            _ => {
                assert!(!is_request(method), "a request in the shape of a notification");
                assert!(permission::allows(self.held, "methods", method), "unknown notification");
            }
        }
    }

    /// The table of DESIGN §2 once more.
    fn may_ask(&self, method: &str, message: &Meaning) -> bool {
        let parameter = |key| message.at(&["params", key]).and_then(Meaning::text);
        let allows = |kind, key| parameter(key).is_some_and(|name| self.allows(kind, name));
        match method {
            "initialize" | "server/discover" | "ping" | "logging/setLevel" => true,
            "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "tasks/list" => true,
            "tools/call" => allows("tools", "name"),
            "prompts/get" => allows("prompts", "name"),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                allows("resources", "uri")
            }
            "completion/complete" => self.may_complete(message),
            "subscriptions/listen" => self.may_listen(message),
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => {
                parameter("taskId").is_some_and(|task| self.tasks.contains(task))
            }
            _ => permission::allows(self.held, "methods", method),
        }
    }

    fn may_complete(&self, message: &Meaning) -> bool {
        let part = |key| message.at(&["params", "ref", key]).and_then(Meaning::text);
        match part("type") {
            Some("ref/prompt") => part("name").is_some_and(|name| self.allows("prompts", name)),
            Some("ref/resource") => part("uri").is_some_and(|uri| self.allows("resources", uri)),
            _ => false,
        }
    }

    fn may_listen(&self, message: &Meaning) -> bool {
        let texts = |key| {
            let list = message.at(&["params", "notifications", key]).and_then(Meaning::list);
            list.unwrap_or_default().iter().map(|element| element.text().expect("a text"))
        };
        texts("resourceSubscriptions").all(|uri| self.allows("resources", uri))
            && texts("taskIds").all(|task| self.tasks.contains(task))
    }

    fn allows(&self, kind: &str, name: &str) -> bool {
        let (tool, kind_needed, name_needed) = MAPPED;
        match kind == "tools" && name == tool {
            true => permission::allows(self.held, kind_needed, name_needed),
            false if kind == "resources" && goes_elsewhere(name) => {
                permission::is_within(&["resources:*"], self.held)
            }
            false => permission::allows(self.held, kind, name),
        }
    }

    /// A line that the server wrote, whatever became of it.
    pub fn server_wrote(&mut self, line: &[u8]) {
        let Ok(message) = Meaning::read(line) else { return };
        if let (None, Some(id)) = (message.get("method"), message.get("id")) {
            self.cancelled.remove(&key(id));
        }
    }

    /// A message that the client was sent.
    pub fn sent_to_client(&mut self, line: &[u8]) {
        let message = read(line);
        let method = message.get("method").and_then(Meaning::text);
        match (method, message.get("id")) {
            (Some(_), Some(id)) => {
                assert!(self.asked.insert(key(id)), "two server requests in flight with one id");
                assert!(self.asked.len() <= MAX_IN_FLIGHT, "too many server requests in flight");
            }
            (Some(method), None) => self.server_notified(method, &message),
            (None, id) => {
                let id = key(id.expect("a response has an id"));
                let method = self.open.remove(&id).expect("answers what was not asked");
                if let Some(result) = message.get("result") {
                    self.must_be_knowable(&method, result);
                }
            }
        }
    }

    /// The server has ended: every request that waits for it is answered in its place.
    pub fn abandoned(&self, answers: &[Vec<u8>]) {
        let id =
            |answer: &Vec<u8>| key(read(answer).get("id").expect("an answer names its request"));
        let answered: HashSet<String> = answers.iter().map(id).collect();
        assert!(self.open.keys().all(|id| answered.contains(id)), "a request is left waiting");
        let is_known = |id: &String| self.open.contains_key(id) || self.cancelled.contains(id);
        assert!(answered.iter().all(is_known), "answers what was not asked");
    }

    fn server_notified(&mut self, method: &str, message: &Meaning) {
        match method {
            "notifications/cancelled" => {
                let id = key(message.at(&["params", "requestId"]).expect("names a request"));
                let listens = self.open.get(&id).is_some_and(|m| m == "subscriptions/listen");
                if listens {
                    self.open.remove(&id);
                }
                assert!(self.asked.remove(&id) || listens, "cancels what it did not ask");
            }
            "notifications/resources/updated" => {
                let uri = message.at(&["params", "uri"]).and_then(Meaning::text);
                assert!(self.allows("resources", uri.expect("names a resource")));
            }
            _ => {}
        }
    }

    fn must_be_knowable(&mut self, method: &str, result: &Meaning) {
        let (member, identity) = match method {
            "tools/list" => ("tools", "name"),
            "prompts/list" => ("prompts", "name"),
            "resources/list" => ("resources", "uri"),
            "resources/templates/list" => ("resourceTemplates", "uriTemplate"),
            "tasks/list" => ("tasks", "taskId"),
            "tools/call" => return self.note_task(result),
            _ => return,
        };
        for item in result.get(member).and_then(Meaning::list).expect("a list") {
            let name = item.get(identity).and_then(Meaning::text).expect("a name");
            let usable = match member {
                "tasks" => self.tasks.contains(name),
                "resourceTemplates" => self.some_expansion_is_allowed(name),
                kind => self.allows(kind, name),
            };
            assert!(usable, "listed, but not usable");
        }
        assert_eq!(result.get("cacheScope").and_then(Meaning::text), Some("private"));
    }

    fn some_expansion_is_allowed(&self, template: &str) -> bool {
        let literal = template.split('{').next().unwrap_or_default();
        permission::allows(self.held, "resources", literal)
            || permission::witnesses(self.held)
                .iter()
                .any(|(kind, name)| kind == "resources" && name.starts_with(literal))
    }

    fn note_task(&mut self, result: &Meaning) {
        let is_task = result.get("resultType").and_then(Meaning::text) == Some("task");
        let flat = result.get("taskId").filter(|_| is_task);
        let nested = result.at(&["task", "taskId"]);
        let tasks = [flat, nested].into_iter().flatten().filter_map(Meaning::text);
        self.tasks.extend(tasks.map(str::to_owned));
    }
}

/// Whether some server may find another resource under a URI than the one that it begins like, wherever
/// that server thinks that a path ends.
fn goes_elsewhere(uri: &str) -> bool {
    let mut octets = Vec::new();
    let mut rest = uri.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let encoded = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let encoded = encoded.filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        let encoded = encoded.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match encoded.filter(|_| *first == b'%') {
            Some(octet) => (octets.push(octet), rest = &after[2..]),
            None => (octets.push(*first), rest = after),
        };
    }
    let mut segments = octets.split(|octet| b"/\\?#".contains(octet));
    segments.any(|segment| segment == b"." || segment == b"..")
        || uri.contains(|c: char| c.is_control() || " \\".contains(c))
}

/// Whether the method names something to be done: there are servers that do it without an id, too.
pub fn is_request(method: &str) -> bool {
    REQUESTS.contains(&method)
}

/// The requests of the table of DESIGN §2 that need a permission.
const REQUESTS: [&str; 11] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "subscriptions/listen",
    "tasks/get",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
];

fn key(id: &Meaning) -> String {
    format!("{id:?}")
}

/// Reads what was sent: one line, and JSON with one meaning to the other parsers too.
pub fn read(line: &[u8]) -> Meaning {
    assert!(is_one_line(line), "some readers see several messages here");
    let meaning = Meaning::read(line);
    let meaning =
        meaning.unwrap_or_else(|error| panic!("accepted, but not JSON elsewhere: {error}"));
    must_mean_the_same(line, &meaning);
    meaning
}
