//! What a session knows about its server's tools: the schemas of their arguments, learnt from the lists
//! that pass, or from lists that the gateway asks for itself where a call comes before any.

use std::collections::HashMap;
use std::sync::Arc;

use super::parameters::{Parameters, Results};
use super::rules::{Ask, TOOLS};
use super::schema::{Misfit, Schema, Schemas};
use super::state::Pending;
use super::{ClientPolicy, Judgement, Permit, Refusal, Verdict};
use crate::message::{Id, Outcome, Value};

/// Tools of one server that are known at once, and the octets of a name.
const MAX_TOOLS: usize = 4096;
const MAX_NAME_LEN: usize = 1024;

/// Pages of a list that the gateway asks for.
const MAX_PAGES: usize = 64;

/// MCP 2026-07-28: what a request says of its sender.
const OF_SENDER: [&str; 3] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

/// The tools of one session's server.
#[derive(Debug)]
pub(super) struct Tools {
    schemas: Arc<Schemas>,
    known: HashMap<String, Arc<Schema>>,
    /// Whether there are no others: a whole list has been read, and none has changed since.
    is_complete: bool,
    looking: Option<Looking>,
}

/// A list that the gateway asks for.
#[derive(Debug)]
struct Looking {
    id: Id,
    pages: usize,
    /// `_meta` of the requests, as that of the call: in the name of the session.
    meta: String,
}

impl Tools {
    pub(super) fn new(schemas: Arc<Schemas>) -> Self {
        Self { schemas, known: HashMap::new(), is_complete: false, looking: None }
    }

    /// Learns what a list says. Whatever is no tool is passed over: its calls are refused.
    pub(super) fn learn(&mut self, result: &Results<'_>) {
        let Some(items) = result.get("tools").and_then(Value::as_array) else { return };
        for item in items {
            let item = item.as_object().and_then(|item| item.known(["name", "inputSchema"]).ok());
            let Some(item) = item else { continue };
            let name = item.get("name").and_then(Value::as_str);
            let Some(name) = name.filter(|name| name.len() <= MAX_NAME_LEN) else { continue };
            if self.known.len() < MAX_TOOLS || self.known.contains_key(&*name) {
                let schema = item.get("inputSchema").map_or("null", Value::text);
                self.known.insert(name.into_owned(), self.schemas.of(schema));
            }
        }
    }

    /// The server says that its tools have changed.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.is_complete = false;
    }
}

/// Which of two judgements of one line: before and after the gateway has asked for the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Second,
}

/// What is to be done about the arguments of a call.
pub(super) enum Fit {
    Fits,
    /// The tool is not known; there may be such a tool.
    Unknown,
}

impl ClientPolicy {
    /// Judges a line again for which the tools had to be looked up.
    pub(crate) fn judge_looked_up<'a>(&mut self, line: &'a [u8]) -> Judgement<'a> {
        self.judge(line, Turn::Second)
    }

    /// Whether the gateway waits for a list of its own.
    pub(crate) fn is_looking_up(&self) -> bool {
        self.tools.as_ref().is_some_and(|tools| tools.looking.is_some())
    }

    /// The list does not come. If it does later, it is nobody's.
    pub(crate) fn give_up_looking(&mut self) {
        let looking = self.tools.as_mut().and_then(|tools| tools.looking.take());
        if let Some(Looking { id, .. }) = looking {
            self.cancel(&id);
        }
    }

    /// Whether the arguments of a call are what its tool asks for.
    pub(super) fn judge_arguments(
        &self,
        name: &str,
        params: &Parameters<'_>,
        turn: Turn,
    ) -> Result<Fit, Refusal> {
        let Some(tools) = &self.tools else { return Ok(Fit::Fits) };
        match (tools.known.get(name), turn) {
            (Some(schema), _) => {
                let arguments = params.get("arguments").map_or("{}", Value::text);
                schema.check(arguments).map_err(|misfit| match misfit {
                    Misfit::Wrong { rule, told } => Refusal::Arguments { rule, told },
                    Misfit::Unchecked(why) => Refusal::Unchecked(why),
                })?;
                Ok(Fit::Fits)
            }
            (None, _) if tools.is_complete => Err(Refusal::Unlisted),
            (None, Turn::First) => Ok(Fit::Unknown),
            (None, Turn::Second) => {
                Err(Refusal::Unchecked("the server does not list its tools".to_owned()))
            }
        }
    }

    /// Asks for the tools, in the name of the session whose call waits for them.
    pub(super) fn look_up<'a>(&mut self, call: &Parameters<'_>) -> Judgement<'a> {
        // Names that nobody has in flight; a client that uses them as well has used them before.
        let free = |number: &u64| !self.pending.contains_key(&lookup_id(*number));
        let id = lookup_id((0..).find(free).unwrap_or_default());
        let meta = OF_SENDER.iter().filter_map(|key| {
            Some(format!("{}:{}", serde_json::Value::from(*key), call.meta(key)?.text()))
        });
        let meta = meta.collect::<Vec<_>>().join(",");
        let line = list_request(&id, &meta, None);
        self.insert_lookup(id.clone());
        if let Some(tools) = &mut self.tools {
            tools.looking = Some(Looking { id, pages: 0, meta });
        }
        Judgement { verdict: Verdict::LookUp(Permit(line.into())), record: None }
    }

    /// A page of the list that the gateway has asked for, or why there is none.
    pub(super) fn judge_looked_up_page<'a>(&mut self, outcome: &Outcome<'_>) -> Judgement<'a> {
        let next = self.learn_page(outcome);
        let done = Judgement { verdict: Verdict::LookedUp, record: None };
        let Some(looking) = self.tools.as_mut().and_then(|tools| tools.looking.as_mut()) else {
            return done;
        };
        looking.pages += 1;
        let (id, is_last) = (looking.id.clone(), looking.pages >= MAX_PAGES);
        match next {
            Some(cursor) if !is_last => {
                let line = list_request(&id, &looking.meta, Some(&cursor));
                self.insert_lookup(id);
                Judgement::answer(line)
            }
            _ => {
                if let Some(tools) = &mut self.tools {
                    tools.looking = None;
                }
                done
            }
        }
    }

    /// Learns a page, and says where the next one is.
    fn learn_page(&mut self, outcome: &Outcome<'_>) -> Option<String> {
        let tools = self.tools.as_mut()?;
        let Outcome::Result(result) = outcome else { return None };
        let members = result.known(super::parameters::RESULT_KEYS).ok()?;
        tools.learn(&members);
        let cursor = result.known(["nextCursor"]).ok()?.get("nextCursor");
        // "" is a cursor (MCP 2026-07-28).
        match cursor.filter(|cursor| cursor.text() != "null") {
            Some(cursor) => Some(cursor.as_str()?.into_owned()),
            None => {
                tools.is_complete = members.get("tools").and_then(Value::as_array).is_some();
                None
            }
        }
    }

    fn insert_lookup(&mut self, id: Id) {
        let pending = Pending {
            method: "tools/list".to_owned(),
            name: None,
            ask: Ask::Lookup,
            progress_token: None,
            since: std::time::Instant::now(),
            is_cancelled: false,
            place: None,
        };
        self.pending.insert(id, pending);
    }

    /// What a passing list or notification of the server says about its tools.
    pub(super) fn learn_tools(&mut self, ask: Ask, members: &Results<'_>) {
        if let (Some(tools), Ask::List(list)) = (&mut self.tools, ask)
            && list.member == TOOLS
        {
            tools.learn(members);
        }
    }
}

fn lookup_id(number: u64) -> Id {
    Id::Text(format!("vouchsafe:tools/{number}").into())
}

fn list_request(id: &Id, meta: &str, cursor: Option<&str>) -> Vec<u8> {
    let meta = (!meta.is_empty()).then(|| format!("\"_meta\":{{{meta}}}"));
    let cursor = cursor.map(|cursor| format!("\"cursor\":{}", serde_json::Value::from(cursor)));
    let params = meta.into_iter().chain(cursor).collect::<Vec<_>>().join(",");
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{{{params}}}}}"#).into()
}
