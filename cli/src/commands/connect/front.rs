//! `vouchsafe connect --http`: for clients that speak HTTP alone and cannot show a certificate.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_transport::{Bridge, BridgeEnd, BridgeNews, Connector, Front, FrontSecret, Limits};

use crate::context::Context;
use crate::exit::Failure;
use crate::notice::{harmless, say};
use crate::runtime;
use crate::watch::ip_and_port;

/// Where the front listens, and what it is called.
#[derive(clap::Args, Debug)]
pub(super) struct FrontArgs {
    /// Serve Streamable HTTP on this loopback address instead of stdio, and print its URL; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", value_parser = ip_and_port)]
    pub(super) http: Option<SocketAddr>,
    /// Keep the secret part of the URL in this file, so that the URL stays the same; made if it is not there
    #[arg(long, value_name = "FILE", requires = "http")]
    secret_file: Option<PathBuf>,
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn serve(
    args: &FrontArgs,
    address: SocketAddr,
    connector: Connector,
    limits: Limits,
    context: &Context,
) -> Result<(), Failure> {
    let connector = Arc::new(connector);
    let (bridged, own) = (Arc::clone(&connector), limits.clone());
    let front = Front::new(secret(args.secret_file.as_deref())?, &limits, move |stream| {
        bridge(Arc::clone(&bridged), own.clone(), stream)
    });
    // Asked before anybody is listened to: a front that others can reach must not be there for a moment.
    front.url(address).map_err(Failure::usage)?;
    let failed = |error| Failure::new(format!("cannot listen on {address}: {error}"));
    let shutdown = runtime::told_to_stop().map_err(failed)?;
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let url = front.url(listener.local_addr().map_err(failed)?).map_err(Failure::new)?;
    // Alone, on standard output: whoever starts this reads it from there.
    context.print(&format!("{url}\n"))?;
    say("vouchsafe: whoever has this URL, and is on this machine, acts in this identity's name");
    Arc::new(front).serve(listener, shutdown).await;
    // The sessions are over here, and soon for the gateway as well.
    connector.close().await;
    Ok(())
}

/// One session of the front's, carried to the gateway.
async fn bridge(
    connector: Arc<Connector>,
    limits: Limits,
    stream: DuplexStream,
) -> (DuplexStream, Option<String>) {
    let news = |news: &BridgeNews<'_>| say(&format!("vouchsafe: {}", harmless(&news.to_string())));
    let (mut input, mut output) = tokio::io::split(stream);
    let reason = match Bridge::run(&connector, &mut input, &mut output, &limits, &news).await {
        BridgeEnd::Done => None,
        BridgeEnd::Closed(Some(reason)) => Some(reason),
        BridgeEnd::Refused(refused) => Some(refused.to_string()),
        end => match connector.explain().await {
            Some(refused) => Some(refused.to_string()),
            None => Some(end.to_string()),
        },
    };
    if let Some(reason) = &reason {
        say(&format!("vouchsafe: {}", harmless(reason)));
    }
    (input.unsplit(output), reason)
}

/// The secret that is kept, or a new one.
fn secret(path: Option<&Path>) -> Result<FrontSecret, Failure> {
    let Some(path) = path else { return FrontSecret::random().map_err(Failure::new) };
    if path.is_file()
        && let Some(mode) = file::exposed(path)?
    {
        let shown = path.display();
        return Err(Failure::new(format!("{shown} has mode {mode:o}: others can read the secret"))
            .hint(format!("chmod 600 {shown}")));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => FrontSecret::parse(text.trim()).map_err(|error| {
            Failure::new(format!("{}: {error}", path.display()))
                .hint("remove the file, and another secret is made")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = FrontSecret::random().map_err(Failure::new)?;
            file::create(path, format!("{}\n", secret.expose()).as_bytes(), Access::Private)?;
            Ok(secret)
        }
        Err(error) => Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
    }
}
