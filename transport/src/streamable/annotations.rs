//! Arguments that a server wants to see in headers too (`x-mcp-header`, MCP 2026-07-28).
//!
//! Lists are the server's, so it is limited what is read of one and what is kept of all. A tool beyond a
//! limit has no annotations here: as a client we call it without their headers, and its server refuses
//! that; as a server we let its calls pass without comparing them, for the body alone is judged, and
//! whoever stands behind gets its headers from the body again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem::size_of;

use hyper::header::HeaderName;
use serde_json::json;

use crate::message::{Id, Object, Value};
use crate::streamable::{CAPABILITIES_IN_META, PARAM_PREFIX, STATELESS, VERSION_IN_META};

/// Pages of a list of tools that are asked for.
pub(crate) const PAGES: usize = 64;

const ANNOTATION: &str = "x-mcp-header";

/// Octets that one session keeps of all its tools.
const MAX_KEPT: usize = 1024 * 1024;

/// Octets of a tool's name, of the way to an annotated property, and of a header's name.
const MAX_NAME_LEN: usize = 1024;
const MAX_PATH_LEN: usize = 1024;
const MAX_HEADER_LEN: usize = 256;

/// Annotations of one tool, and how deep they may stand.
const MAX_PER_TOOL: usize = 32;
const MAX_DEPTH: usize = 8;

/// What looking through the schemas of one list may come to: octets, each as often as it is passed over,
/// and for each property so many more.
const MAX_EFFORT: usize = 16 * 1024 * 1024;
const PER_PROPERTY: usize = 64;

/// A property on the way from the root of a schema.
type Path = Vec<String>;

/// What the lists of a session have said so far, by tool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Annotations {
    tools: HashMap<String, Vec<(Path, HeaderName)>>,
    /// Octets that they take.
    kept: usize,
}

impl Annotations {
    /// Takes note of a `tools/list` result. A later list replaces what an earlier one said of a tool.
    pub(crate) fn note(&mut self, result: Object<'_>) {
        if self.tools.is_empty() && !result.text().contains(ANNOTATION) {
            return;
        }
        let tools = result.known(["tools"]).ok().and_then(|result| result.get("tools")?.as_array());
        let mut effort = MAX_EFFORT;
        for tool in tools.into_iter().flatten().filter_map(Value::as_object) {
            let Ok(tool) = tool.known(["name", "inputSchema"]) else { continue };
            let Some(name) = tool.get("name").and_then(Value::as_str) else { continue };
            self.forget(&name);
            let schema = tool.get("inputSchema").and_then(Value::as_object);
            let found = schema.and_then(|schema| Search::through(schema, &mut effort));
            self.keep(&name, found.unwrap_or_default());
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(annotations) = self.tools.remove(name) {
            self.kept -= weight(name, &annotations);
        }
    }

    fn keep(&mut self, name: &str, annotations: Vec<(Path, HeaderName)>) {
        let kept = self.kept + weight(name, &annotations);
        if !annotations.is_empty() && name.len() <= MAX_NAME_LEN && kept <= MAX_KEPT {
            self.tools.insert(name.to_owned(), annotations);
            self.kept = kept;
        }
    }
}

/// Octets that a tool's annotations take.
fn weight(name: &str, annotations: &[(Path, HeaderName)]) -> usize {
    let of_path = |path: &Path| path.iter().map(|step| size_of::<String>() + step.len()).sum();
    let of_one = |(path, header): &(Path, HeaderName)| {
        let path: usize = of_path(path);
        size_of::<(Path, HeaderName)>() + path + header.as_str().len()
    };
    name.len() + annotations.iter().map(of_one).sum::<usize>()
}

impl Annotations {
    /// The headers of a call, and what they say: arguments that are missing or null have none.
    pub(crate) fn of(
        &self,
        tool: &str,
        arguments: Option<Object<'_>>,
    ) -> Vec<(HeaderName, String)> {
        let in_headers = |(header, value): (&HeaderName, Option<Value<'_>>)| {
            Some((header.clone(), in_words(value?)?))
        };
        self.annotated(tool, arguments).filter_map(in_headers).collect()
    }

    /// A header that does not say what the arguments of a call say. `said` tells what a header says,
    /// and `None` of one that is missing.
    pub(crate) fn disagreeing(
        &self,
        tool: &str,
        arguments: Option<Object<'_>>,
        said: impl Fn(&HeaderName) -> Option<String>,
    ) -> Option<&HeaderName> {
        let disagrees = |(header, value): &(&HeaderName, Option<Value<'_>>)| {
            said(header) != value.and_then(in_words)
        };
        self.annotated(tool, arguments).find(disagrees).map(|(header, _)| header)
    }

    /// The headers that a tool wants, each with its argument.
    fn annotated<'s, 'a>(
        &'s self,
        tool: &str,
        arguments: Option<Object<'a>>,
    ) -> impl Iterator<Item = (&'s HeaderName, Option<Value<'a>>)> + use<'s, 'a> {
        let annotated = self.tools.get(tool).map(Vec::as_slice).unwrap_or_default();
        let headers = annotated.iter().map(|(_, header)| header);
        headers.zip(values_of(annotated, arguments))
    }
}

/// Asks for a page of the list, where nobody else has.
pub(crate) fn list_tools(id: &Id, cursor: Option<&str>) -> Vec<u8> {
    let meta = json!({VERSION_IN_META: STATELESS, CAPABILITIES_IN_META: {}});
    let mut params = json!({"_meta": meta});
    if let (Some(cursor), Some(params)) = (cursor, params.as_object_mut()) {
        params.insert("cursor".to_owned(), cursor.into());
    }
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list","params":{params}}}"#).into_bytes()
}

/// Where the next page begins, if there is one.
pub(crate) fn next_cursor(result: Object<'_>) -> Option<String> {
    Some(result.known(["nextCursor"]).ok()?.get("nextCursor")?.as_str()?.into_owned())
}

/// The annotations of one schema, which stand on properties of properties.
struct Search<'s, 'e> {
    /// Where we are.
    path: Vec<Cow<'s, str>>,
    found: Vec<(Path, HeaderName)>,
    /// What may still be looked at.
    effort: &'e mut usize,
}

impl<'s, 'e> Search<'s, 'e> {
    /// `None` if they contradict themselves or are beyond a limit: then the tool has none.
    fn through(schema: Object<'s>, effort: &'e mut usize) -> Option<Vec<(Path, HeaderName)>> {
        if !schema.text().contains(ANNOTATION) {
            return None;
        }
        let mut search = Search { path: Vec::new(), found: Vec::new(), effort };
        search.spend(schema)?;
        let members = schema.known(["properties"]).ok()?;
        search.properties(members.get("properties")?.as_object()?)?;
        Some(search.found)
    }

    fn spend(&mut self, on: Object<'_>) -> Option<()> {
        *self.effort = self.effort.checked_sub(on.text().len() + PER_PROPERTY)?;
        Some(())
    }

    fn properties(&mut self, properties: Object<'s>) -> Option<()> {
        for (name, property) in properties.members() {
            let Some(property) = property.as_object() else { continue };
            self.spend(property)?;
            self.path.push(name);
            self.property(property)?;
            self.path.pop();
        }
        Some(())
    }

    fn property(&mut self, property: Object<'s>) -> Option<()> {
        let members = property.known([ANNOTATION, "properties"]).ok()?;
        if let Some(annotation) = members.get(ANNOTATION) {
            self.take(&annotation.as_str()?)?;
        }
        match members.get("properties").and_then(Value::as_object) {
            Some(inner) if self.path.len() < MAX_DEPTH => self.properties(inner),
            _ => Some(()),
        }
    }

    /// The property that we are at wants this header.
    fn take(&mut self, annotation: &str) -> Option<()> {
        let path_len: usize = self.path.iter().map(|step| step.len()).sum();
        if annotation.len() > MAX_HEADER_LEN || path_len > MAX_PATH_LEN {
            return None;
        }
        let header =
            HeaderName::from_bytes(format!("{PARAM_PREFIX}{annotation}").as_bytes()).ok()?;
        let is_new = self.found.iter().all(|(_, other)| *other != header);
        if !is_new || header.as_str() == PARAM_PREFIX || self.found.len() >= MAX_PER_TOOL {
            return None;
        }
        self.found.push((self.path.iter().map(|step| step.to_string()).collect(), header));
        Some(())
    }
}

/// The arguments that are wanted in headers, in one pass: they may be as long as a message.
fn values_of<'a>(
    annotated: &[(Path, HeaderName)],
    arguments: Option<Object<'a>>,
) -> Vec<Option<Value<'a>>> {
    let mut values = vec![None; annotated.len()];
    let wanted: Vec<Wanted<'_>> =
        annotated.iter().map(|(path, _)| path.as_slice()).enumerate().collect();
    if let Some(arguments) = arguments {
        gather(arguments, &wanted, &mut values);
    }
    values
}

/// Which value is wanted, and the rest of the way to it.
type Wanted<'p> = (usize, &'p [String]);

fn gather<'a>(object: Object<'a>, wanted: &[Wanted<'_>], values: &mut [Option<Value<'a>>]) {
    // The reader has seen to it that no key is there twice.
    for (key, value) in object.members() {
        let beyond = wanted.iter().filter_map(|(nth, path)| {
            let (step, rest) = path.split_first()?;
            (*step == key).then_some((*nth, rest))
        });
        let beyond: Vec<Wanted<'_>> = beyond.collect();
        let here = beyond.iter().filter(|(_, rest)| rest.is_empty());
        for (nth, _) in here {
            if let Some(found) = values.get_mut(*nth) {
                *found = Some(value);
            }
        }
        if let (false, Some(inner)) = (beyond.is_empty(), value.as_object()) {
            gather(inner, &beyond, values);
        }
    }
}

/// Texts, numbers and truth values; there is no header for anything else.
fn in_words(value: Value<'_>) -> Option<String> {
    match value.as_str() {
        Some(text) => Some(text.into_owned()),
        None if value.text().starts_with(['{', '[', 'n']) => None,
        None => Some(value.text().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::message::{Message, Outcome};

    fn noted(annotations: &mut Annotations, tools: &str) {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#);
        let message = Message::read(line.as_bytes()).unwrap();
        let Message::Response { outcome: Outcome::Result(result), .. } = message else {
            panic!("{line} is no result");
        };
        annotations.note(result);
    }

    fn of(annotations: &Annotations, tool: &str, arguments: &str) -> Vec<(String, String)> {
        let line = format!(r#"{{"jsonrpc":"2.0","method":"x","params":{arguments}}}"#);
        let Message::Notification { params, .. } = Message::read(line.as_bytes()).unwrap() else {
            panic!("{line} is no notification");
        };
        let headers = annotations.of(tool, params);
        headers.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn annotated_arguments_are_repeated_in_headers() {
        let mut annotations = Annotations::default();
        let schema = r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "query":{"type":"string"},
            "options":{"type":"object","properties":{"limit":{"type":"integer","x-mcp-header":"Limit"}}}}}"#;
        let schema = schema.replace('\n', " ");
        noted(&mut annotations, &format!(r#"{{"name":"sql","inputSchema":{schema}}}"#));
        let arguments = r#"{"query":"SELECT 1","region":"west","options":{"limit":5}}"#;
        let expected = [pair("mcp-param-region", "west"), pair("mcp-param-limit", "5")];
        assert_eq!(of(&annotations, "sql", arguments), expected);
        assert_eq!(of(&annotations, "sql", r#"{"region":null,"options":[]}"#), []);
        assert_eq!(of(&annotations, "other", arguments), []);
        noted(&mut annotations, r#"{"name":"sql","inputSchema":{"type":"object"}}"#);
        assert_eq!(of(&annotations, "sql", arguments), []);
    }

    /// What a list makes of a tool with this schema, which wants `x` in a header somewhere.
    fn listed(schema: &str) -> Annotations {
        let mut annotations = Annotations::default();
        noted(&mut annotations, &format!(r#"{{"name":"t","inputSchema":{schema}}}"#));
        annotations
    }

    #[test]
    fn arguments_within_others_are_found_each_at_its_place() {
        let limit = r#""limit":{"x-mcp-header":"Limit"},"rest":{"x-mcp-header":"Rest"}"#;
        let annotations = listed(&format!(
            r#"{{"properties":{{"limit":{{"x-mcp-header":"Outer"}},"o":{{"properties":{{{limit}}}}}}}}}"#
        ));
        let arguments = r#"{"rest":0,"o":{"o":{"limit":1},"limit":2,"rest":3},"limit":4}"#;
        let expected = [("outer", "4"), ("limit", "2"), ("rest", "3")];
        let expected = expected.map(|(name, value)| pair(&format!("mcp-param-{name}"), value));
        assert_eq!(of(&annotations, "t", arguments), expected);
    }

    #[test]
    fn a_long_name_costs_no_more_for_all_that_is_within_it() {
        let inner: Vec<String> = (0..100_000).map(|nth| format!(r#""{nth}":{{}}"#)).collect();
        let (outer, inner) = ("n".repeat(4 * 1024 * 1024), inner.join(","));
        let annotated = r#""x":{"x-mcp-header":"X"}"#;
        let begun = Instant::now();
        let annotations = listed(&format!(
            r#"{{"properties":{{{annotated},"{outer}":{{"properties":{{{inner}}}}}}}}}"#
        ));
        // Were the name copied for each property within it, that would be 400 GB.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(of(&annotations, "t", r#"{"x":1}"#), [pair("mcp-param-x", "1")]);
    }

    #[test]
    fn of_a_list_no_more_is_looked_at_than_there_is_patience_for() {
        let annotated = r#""x":{"x-mcp-header":"X"}"#;
        let tool = |name: &str, padding: usize| {
            let inner: Vec<String> = (0..padding).map(|nth| format!(r#""{nth}":{{}}"#)).collect();
            let inner = inner.join(",");
            let inner = format!(r#""y":{{"properties":{{{inner}}}}}"#);
            format!(r#"{{"name":"{name}","inputSchema":{{"properties":{{{annotated},{inner}}}}}}}"#)
        };
        let mut annotations = Annotations::default();
        let many = MAX_EFFORT / PER_PROPERTY;
        noted(&mut annotations, &[tool("a", 10), tool("b", many), tool("c", 10)].join(","));
        assert_eq!(of(&annotations, "a", r#"{"x":1}"#), [pair("mcp-param-x", "1")]);
        assert_eq!(of(&annotations, "b", r#"{"x":1}"#), []);
        // A list of its own is looked at again.
        noted(&mut annotations, &tool("c", 10));
        assert_eq!(of(&annotations, "c", r#"{"x":1}"#), [pair("mcp-param-x", "1")]);
    }

    #[test]
    fn what_is_kept_of_all_tools_is_limited_in_octets() {
        let nested =
            |name: &str| format!(r#"{{"properties":{{"{name}":{{"x-mcp-header":"X"}}}}}}"#);
        let is_kept = |name_len: usize| {
            let name = "n".repeat(name_len);
            !of(&listed(&nested(&name)), "t", &format!(r#"{{"{name}":1}}"#)).is_empty()
        };
        assert!(is_kept(MAX_PATH_LEN));
        assert!(!is_kept(MAX_PATH_LEN + 1));

        let mut annotations = Annotations::default();
        let name = "n".repeat(MAX_PATH_LEN);
        let all = || 0..2 * MAX_KEPT / MAX_PATH_LEN;
        let list = |schema: &str| {
            let tools: Vec<String> =
                all().map(|nth| format!(r#"{{"name":"{nth}","inputSchema":{schema}}}"#)).collect();
            tools.join(",")
        };
        for _ in 0..3 {
            noted(&mut annotations, &list(&nested(&name)));
            assert!((MAX_KEPT / 2..=MAX_KEPT).contains(&annotations.kept));
        }
        noted(&mut annotations, &list("{}"));
        assert_eq!((annotations.kept, annotations.tools.len()), (0, 0));
    }

    #[test]
    fn annotations_that_make_no_header_make_none_at_all() {
        for property in [
            r#""b":{"x-mcp-header":""}"#,
            r#""b":{"x-mcp-header":5}"#,
            r#""b":{"x-mcp-header":"with space"}"#,
            r#""b":{"x-mcp-header":"a\r\nVouchsafe-Principal: x"}"#,
            r#""b":{"x-mcp-header":"REGION"}"#,
        ] {
            let mut annotations = Annotations::default();
            let first = r#""a":{"x-mcp-header":"Region"}"#;
            let schema = format!(r#"{{"properties":{{{first},{property}}}}}"#);
            noted(&mut annotations, &format!(r#"{{"name":"t","inputSchema":{schema}}}"#));
            assert_eq!(of(&annotations, "t", r#"{"a":"x","b":"y"}"#), [], "{property}");
        }
    }
}
