//! The MCP server that everything is measured with: it answers in a few microseconds and understands just enough.

use std::sync::LazyLock;

/// Octets of what the tool `report` has to say.
pub(crate) const REPORT_LEN: usize = 1024 * 1024;

/// What every answer of the tool `echo` says.
pub(crate) const ECHOED: &[u8] = b"here is what the tool has to say";

static REPORT: LazyLock<String> = LazyLock::new(|| {
    let text = "All is well in the north, and the south has sent nothing. ";
    let text: String = text.chars().cycle().take(REPORT_LEN).collect();
    format!(",\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}}}}\n")
});

/// Puts the answer to a line in the place of what is in `answer`: a line, or nothing to what is no request.
pub(crate) fn to(line: &str, answer: &mut String) {
    answer.clear();
    if let Some(id) = after(line, "\"id\":").and_then(|rest| rest.split([',', '}']).next()) {
        answer.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
        answer.push_str(id);
        answer.push_str(result(line));
    }
}

fn after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_once(key).map(|(_, rest)| rest)
}

fn result(line: &str) -> &'static str {
    match after(line, "\"method\":\"").and_then(|rest| rest.split('"').next()) {
        Some("initialize") => concat!(
            ",\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{}},",
            "\"serverInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}\n"
        ),
        Some("tools/list") => concat!(
            ",\"result\":{\"tools\":[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}},",
            "{\"name\":\"report\",\"inputSchema\":{\"type\":\"object\"}}]}}\n"
        ),
        Some("tools/call") if line.contains("\"name\":\"report\"") => &REPORT,
        Some("tools/call") => {
            ",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"here is what the tool has to say\"}]}}\n"
        }
        _ => ",\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_and_notifications_are_not() {
        let mut answer = String::new();
        to(
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\"}}\n",
            &mut answer,
        );
        assert!(answer.starts_with("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":"));
        assert!(answer.as_bytes().windows(ECHOED.len()).any(|part| part == ECHOED));
        to("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n", &mut answer);
        assert_eq!(answer, "");
    }

    #[test]
    fn a_report_is_as_long_as_it_says_and_one_line() {
        let mut answer = String::new();
        to(
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"report\"}}\n",
            &mut answer,
        );
        assert!(answer.len() > REPORT_LEN);
        assert_eq!(answer.matches('\n').count(), 1);
    }
}
