//! Arguments that a server wants to see in headers too (`x-mcp-header`, MCP 2026-07-28).

use std::collections::HashMap;

use hyper::header::HeaderName;
use serde_json::json;

use crate::message::{Id, Object, Value};
use crate::streamable::{CAPABILITIES_IN_META, PARAM_PREFIX, STATELESS, VERSION_IN_META};

/// Pages of a list of tools that are asked for.
pub(crate) const PAGES: usize = 64;

const ANNOTATION: &str = "x-mcp-header";

/// Tools whose annotations are remembered; further ones are called without their headers.
const MAX_TOOLS: usize = 4096;

/// Annotations of one tool, and how deep they may stand.
const MAX_PER_TOOL: usize = 32;
const MAX_DEPTH: usize = 8;

/// A property on the way from the root of a schema.
type Path = Vec<String>;

/// What the lists of a session have said so far, by tool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Annotations(HashMap<String, Vec<(Path, HeaderName)>>);

impl Annotations {
    /// Takes note of a `tools/list` result. A later list replaces what an earlier one said of a tool.
    pub(crate) fn note(&mut self, result: Object<'_>) {
        if self.0.is_empty() && !result.text().contains(ANNOTATION) {
            return;
        }
        let tools = result.known(["tools"]).ok().and_then(|result| result.get("tools")?.as_array());
        for tool in tools.into_iter().flatten().filter_map(Value::as_object) {
            let Ok(tool) = tool.known(["name", "inputSchema"]) else { continue };
            let Some(name) = tool.get("name").and_then(Value::as_str) else { continue };
            let mut found = Vec::new();
            let schema = tool.get("inputSchema").and_then(Value::as_object);
            let is_sound = schema.is_none_or(|schema| collect(schema, &[], &mut found).is_some());
            self.0.remove(&*name);
            if is_sound && !found.is_empty() && self.0.len() < MAX_TOOLS {
                self.0.insert(name.into_owned(), found);
            }
        }
    }

    /// The headers of a call, and what they say: arguments that are missing or null have none.
    pub(crate) fn of(
        &self,
        tool: &str,
        arguments: Option<Object<'_>>,
    ) -> Vec<(HeaderName, String)> {
        let annotated = self.0.get(tool).into_iter().flatten();
        let pairs = annotated.filter_map(|(path, header)| {
            Some((header.clone(), in_words(value_at(arguments?, path)?)?))
        });
        pairs.collect()
    }
}

impl Annotations {
    /// A header that does not say what the arguments of a call say. `said` tells what a header says,
    /// and `None` of one that is missing.
    pub(crate) fn disagreeing(
        &self,
        tool: &str,
        arguments: Option<Object<'_>>,
        said: impl Fn(&HeaderName) -> Option<String>,
    ) -> Option<&HeaderName> {
        let mut annotated = self.0.get(tool).into_iter().flatten();
        let disagrees = |(path, header): &&(Path, HeaderName)| {
            let argument = arguments.and_then(|arguments| value_at(arguments, path));
            said(header) != argument.and_then(in_words)
        };
        annotated.find(disagrees).map(|(_, header)| header)
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

/// The annotations that stand on properties of properties. `None` if they contradict themselves: then
/// the tool has none, and its server says so.
fn collect(schema: Object<'_>, path: &[String], found: &mut Vec<(Path, HeaderName)>) -> Option<()> {
    let properties = schema.known(["properties"]).ok()?.get("properties");
    let Some(properties) = properties.and_then(Value::as_object) else { return Some(()) };
    for (name, property) in properties.members() {
        let Some(property) = property.as_object() else { continue };
        let path = [path, &[name.into_owned()]].concat();
        let members = property.known([ANNOTATION]).ok()?;
        if let Some(annotation) = members.get(ANNOTATION) {
            let header = format!("{PARAM_PREFIX}{}", annotation.as_str()?);
            let header = HeaderName::from_bytes(header.as_bytes()).ok()?;
            let is_new = found.iter().all(|(_, other)| *other != header);
            if !is_new || header.as_str() == PARAM_PREFIX || found.len() >= MAX_PER_TOOL {
                return None;
            }
            found.push((path.clone(), header));
        }
        if path.len() < MAX_DEPTH {
            collect(property, &path, found)?;
        }
    }
    Some(())
}

fn value_at<'a>(arguments: Object<'a>, path: &[String]) -> Option<Value<'a>> {
    let (last, way) = path.split_last()?;
    // The reader has seen to it that no key is there twice.
    let member = |object: Object<'a>, key: &str| {
        object.members().find(|(own, _)| own == key).map(|(_, value)| value)
    };
    let holder = way.iter().try_fold(arguments, |object, key| member(object, key)?.as_object())?;
    member(holder, last)
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
