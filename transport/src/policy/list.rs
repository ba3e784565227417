//! Lists, reduced to what their reader may use.

use super::parameters::Results;
use super::rules::{List, Shows, literal_prefix};
use super::{ClientPolicy, Refusal};
use crate::message::{Edit, Object, Value};

/// Items of one page of a list. Each is held against every permission: without a limit one page could
/// hold everybody up for seconds.
pub(super) const MAX_ITEMS: usize = 16 * 1024;

/// Lists and read results depend on who asks (MCP 2026-07-28, caching).
const PRIVATE: &str = "\"private\"";

impl ClientPolicy {
    /// What reduces the list in `result` to the items that could be used, and marks it private.
    pub(super) fn filter(
        &self,
        line: &str,
        result: Object<'_>,
        members: &Results<'_>,
        list: List,
    ) -> Result<Vec<Edit>, Refusal> {
        let items = members.get(list.member).ok_or(Refusal::ResultShape)?;
        let mut shown = Vec::new();
        for (nth, item) in items.as_array().ok_or(Refusal::ResultShape)?.enumerate() {
            if nth >= MAX_ITEMS {
                return Err(Refusal::ResultShape);
            }
            let object = item.as_object().ok_or(Refusal::ResultShape)?;
            let identity =
                object.known([list.identity])?.get(list.identity).and_then(Value::as_str);
            if self.shows(list.shows, &identity.ok_or(Refusal::ResultShape)?) {
                shown.push(item.text());
            }
        }
        let shown = format!("[{}]", shown.join(","));
        Ok(vec![(items.span_in(line), shown), make_private(line, result, members)])
    }

    fn shows(&self, shows: Shows, identity: &str) -> bool {
        match shows {
            Shows::Permitted(kind) => self.allows(kind, identity),
            Shows::SomePermitted(kind) => {
                self.held.now().allows_some(kind, literal_prefix(identity))
            }
            Shows::OwnTasks => self.owns_task(identity),
        }
    }
}

/// What marks a public result private; `None` if nothing needs to be changed.
pub(super) fn privately(line: &str, result: Object<'_>, members: &Results<'_>) -> Option<Edit> {
    let scope = members.get("cacheScope")?;
    (scope.text() != PRIVATE).then(|| make_private(line, result, members))
}

fn make_private(line: &str, result: Object<'_>, members: &Results<'_>) -> Edit {
    match members.get("cacheScope") {
        Some(scope) => (scope.span_in(line), PRIVATE.to_owned()),
        None => {
            let start = result.text().as_ptr().addr() - line.as_ptr().addr() + 1;
            let comma = if result.members().next().is_some() { "," } else { "" };
            (start..start, format!("\"cacheScope\":{PRIVATE}{comma}"))
        }
    }
}
