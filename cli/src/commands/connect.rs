//! `vouchsafe connect`: a stdio MCP server for any client, with a gateway behind it.

mod front;

use vouchsafe_transport::{Bridge, BridgeEnd, BridgeNews, Connector, Limits};

use front::FrontArgs;

use crate::client::broken;
use crate::context::Context;
use crate::exit::Failure;
use crate::notice::{harmless, say};
use crate::runtime;
use crate::session::{Failed, SessionArgs};

/// Bridge stdio to a gateway: what any MCP client starts as its server
///
/// A session that is lost is followed by another one, and a renewed certificate is used as soon as
/// it is there. What was in flight is answered with an error that says to try again.
///
/// SIGTERM and SIGINT end it as the end of stdin does: over HTTP the gateway is told that the session is over.
///
/// Exit code: 0 after a session that ended well, 1 if it was refused or broke off, 2 for wrong usage,
/// 3 if the gateway cannot be reached.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    front: FrontArgs,
}

/// Bridges until either side ends.
pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let limits = Limits::default();
    let connector = args.session.connector(&limits)?;
    let runtime = runtime::small()?;
    if let Some(address) = args.front.http {
        return runtime.block_on(front::serve(&args.front, address, connector, limits, context));
    }
    let ended = runtime.block_on(bridge(&connector, &limits));
    // A thread may still wait for stdin; it has nothing more to say.
    runtime.shutdown_background();
    Ok(ended?)
}

async fn bridge(connector: &Connector, limits: &Limits) -> Result<(), Failed> {
    let news = |news: &BridgeNews<'_>| say(&format!("vouchsafe: {}", harmless(&news.to_string())));
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let stop = runtime::told_to_stop().map_err(|error| Failed::Broken(error.to_string()))?;
    let end = tokio::select! {
        end = Bridge::run(connector, input, output, limits, &news) => end,
        () = stop => BridgeEnd::Done,
    };
    connector.close().await;
    match end {
        BridgeEnd::Done => Ok(()),
        BridgeEnd::Refused(refused) => Err(refused.into()),
        BridgeEnd::Denied(denial) => Err(vouchsafe_transport::ConnectError::Denied(denial).into()),
        BridgeEnd::Closed(Some(reason)) => Err(Failed::Broken(reason)),
        BridgeEnd::Closed(None) => Err(broken(connector, "the gateway closed the session").await),
        end @ BridgeEnd::Broken(_) => Err(broken(connector, &end.to_string()).await),
        end => Err(Failed::Broken(end.to_string())),
    }
}
