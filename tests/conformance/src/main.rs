//! A server with everything that the scenarios of the official conformance suite ask a server for,
//! in both eras of MCP: the fixture that proves that our port changes nothing.
//!
//! `fixture stdio` is what `vouchsafe serve` puts behind mutual TLS; `fixture http 127.0.0.1:PORT`
//! is the same server over Streamable HTTP, to be measured directly or to be an HTTP upstream.

#![expect(deprecated, reason = "the suite asks for what 2026-07-28 has taken out, too")]

mod answers;
mod changes;
mod fixture;
mod prompts;
mod questions;
mod resources;
mod rounds;
mod streams;
mod tasks;
mod tools;

use std::io::{Write, stdout};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rmcp::ServiceExt;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;

use fixture::Fixture;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let fixture = Fixture::new()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["stdio"] => over_stdio(fixture).await,
        ["http", address] => over_http(fixture, address).await,
        _ => bail!("usage: fixture stdio | fixture http 127.0.0.1:PORT"),
    }
}

async fn over_stdio(fixture: Fixture) -> Result<()> {
    let running = fixture.serve((tokio::io::stdin(), tokio::io::stdout())).await?;
    running.waiting().await?;
    Ok(())
}

/// Serves until the process is ended. Its first line is its URL, for port 0.
async fn over_http(fixture: Fixture, address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| address.to_owned())?;
    writeln!(stdout(), "http://{}/mcp", listener.local_addr()?)?;
    let service =
        StreamableHttpService::new(
            move || Ok(fixture.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default().enforce_origin_validation().with_allowed_origins(
                ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"],
            ),
        );
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        // A client that hangs up concerns nobody but itself.
        tokio::spawn(async move { drop(connection.await) });
    }
}
