//! An MCP client that speaks mutual TLS itself: it calls one tool, of any server behind a gateway.
//!
//! ```sh
//! vouchsafe issue alice --allow 'tools:*' --out alice
//! notes-client alice ~/.local/share/vouchsafe/crl.pem localhost:8443 whoami
//! ```

use std::io::{Write, stdout};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use tokio::sync::watch;
use vouchsafe_examples::{identity, trust};
use vouchsafe_transport::{Connector, Limits, ServerName};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, lists, address, tool, given) = match arguments.as_slice() {
        [directory, lists, address, tool] => (directory, lists, address, tool, "{}"),
        [directory, lists, address, tool, given] => (directory, lists, address, tool, &**given),
        _ => bail!("usage: notes-client IDENTITY-DIR REVOCATION-LISTS HOST:PORT TOOL [JSON]"),
    };
    let identity = identity(Path::new(directory))?;
    let (host, _) = address.rsplit_once(':').context("the address is HOST:PORT")?;
    let name = ServerName::try_from(host.to_owned())?;
    let trust = trust(&identity, lists.into())?;
    let connector =
        Connector::new(address, name, watch::channel(identity).1, trust, &Limits::default())?;
    let mut call = CallToolRequestParams::new(tool.clone());
    call.arguments = Some(serde_json::from_str(given).context("arguments are a JSON object")?);
    for text in texts(&ask(&connector, call).await?) {
        writeln!(stdout(), "{text}")?;
    }
    Ok(())
}

/// The stream is there inside of `run` alone: when trust in the server is lost, all of this is dropped.
async fn ask(connector: &Connector, call: CallToolRequestParams) -> Result<CallToolResult> {
    let session = connector.connect().await?;
    let answered = session.run(|stream| async {
        let client = ().serve(stream).await?;
        let answer = client.call_tool(call).await?;
        client.cancel().await?;
        anyhow::Ok(answer)
    });
    match answered.await? {
        Ok(answer) => Ok(answer),
        // A gateway that refuses just hangs up; the next handshake says why.
        Err(error) => match connector.explain().await {
            Some(reason) => Err(reason.into()),
            None => Err(error),
        },
    }
}

fn texts(result: &CallToolResult) -> impl Iterator<Item = &str> {
    result.content.iter().filter_map(|part| Some(part.as_text()?.text.as_str()))
}
