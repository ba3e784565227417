//! The MCP server on TCP, in lines: what stands behind whatever ends TLS and forwards.

use anyhow::Result;

use super::{answer_lines, listener, runtime};

/// Serves until it is ended.
pub(crate) fn run() -> Result<()> {
    runtime()?.block_on(async {
        let listener = listener().await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(answer_lines(stream));
        }
    })
}
