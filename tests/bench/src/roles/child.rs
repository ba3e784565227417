//! The MCP server on stdio.

use std::io::{BufRead, Write, stdin, stdout};

use anyhow::Result;

use crate::answer;

/// Answers every request until stdin ends.
pub(crate) fn run() -> Result<()> {
    let (mut input, mut output) = (stdin().lock(), stdout().lock());
    let (mut line, mut said) = (String::new(), String::new());
    while input.read_line(&mut line)? > 0 {
        answer::to(&line, &mut said);
        if !said.is_empty() {
            output.write_all(said.as_bytes())?;
            output.flush()?;
        }
        line.clear();
    }
    Ok(())
}
