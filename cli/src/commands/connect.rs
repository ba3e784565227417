//! `vouchsafe connect`: a stdio MCP server for any client, with a gateway behind it.

use vouchsafe_transport::{Bridge, BridgeEnd, Connector, Limits};

use crate::client::broken;
use crate::exit::Failure;
use crate::notice::{harmless, say};
use crate::runtime;
use crate::session::{Failed, SessionArgs};

/// Bridge stdio to a gateway: what any MCP client starts as its server
///
/// Exit code: 0 after a session that ended well, 1 if it was refused or broke off, 2 for wrong usage,
/// 3 if the gateway cannot be reached.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    session: SessionArgs,
}

/// Bridges until either side ends.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let limits = Limits::default();
    let connector = args.session.connector(&limits)?;
    let runtime = runtime::small()?;
    let ended = runtime.block_on(bridge(&connector, &limits));
    // A thread may still wait for stdin; it has nothing more to say.
    runtime.shutdown_background();
    Ok(ended?)
}

async fn bridge(connector: &Connector, limits: &Limits) -> Result<(), Failed> {
    let session = connector.connect().await?;
    let notice = |method: &str, refusal: &vouchsafe_transport::Refusal| {
        let text = format!("the server's {method} was refused: {refusal}");
        say(&format!("vouchsafe: {}", harmless(&text)));
    };
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    match Bridge::run(session, input, output, limits, &notice).await {
        BridgeEnd::Done => Ok(()),
        BridgeEnd::Refused(refused) => Err(refused.into()),
        BridgeEnd::Denied(denial) => Err(vouchsafe_transport::ConnectError::Denied(denial).into()),
        BridgeEnd::Frame(error) => Err(Failed::Broken(error.to_string())),
        BridgeEnd::Closed(Some(reason)) => Err(Failed::Broken(reason)),
        BridgeEnd::Closed(None) => Err(broken(connector, "the gateway closed the session").await),
        BridgeEnd::Broken(error) => {
            Err(broken(connector, &format!("the session broke off: {error}")).await)
        }
        _ => Err(Failed::Broken("the session ended".into())),
    }
}
