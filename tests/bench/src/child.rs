//! The MCP server that everything is measured with: it answers in a few microseconds and understands just enough.

use std::io::{BufRead, Write, stdin, stdout};

use anyhow::Result;

/// Answers every request until stdin ends.
pub(crate) fn run() -> Result<()> {
    let (mut input, mut output) = (stdin().lock(), stdout().lock());
    let mut line = String::new();
    let mut answer = String::new();
    while input.read_line(&mut line)? > 0 {
        if let Some(id) = after(&line, "\"id\":").and_then(|rest| rest.split([',', '}']).next()) {
            answer.clear();
            answer.push_str("{\"jsonrpc\":\"2.0\",\"id\":");
            answer.push_str(id);
            answer.push_str(result(&line));
            output.write_all(answer.as_bytes())?;
            output.flush()?;
        }
        line.clear();
    }
    Ok(())
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
        Some("tools/call") => {
            ",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"here is what the tool has to say\"}]}}\n"
        }
        _ => ",\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}\n",
    }
}
