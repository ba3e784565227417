//! What an audit says, counted.

use serde_json::Value;

/// How many events of a kind there are.
#[must_use]
pub fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["event"] == kind).count()
}

/// Refused connections: those told one by one, and those summed up.
#[must_use]
pub fn refused(events: &[Value]) -> usize {
    let refused = events.iter().filter(|event| event["event"] == "refused");
    let count = |event: &Value| {
        let reason = event["reason"].as_str().unwrap_or_default();
        let more = reason.strip_suffix(" further times within a second");
        more.map_or(1, |number| number.parse().unwrap())
    };
    refused.map(count).sum()
}
