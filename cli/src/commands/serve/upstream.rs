//! What stands behind the gateway: a command, or a server that runs already.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::DefaultTimeProvider;
use tokio::sync::mpsc;
use vouchsafe_transport::{
    ChildCommand, ChildError, Endpoint, HttpUpstream, Limits, SharedServer, SocketUpstream, Trust,
    Upstream,
};

use crate::exit::Failure;
use crate::notice::say;
use crate::web_roots;

/// The MCP server of every session.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Server")]
pub(super) struct UpstreamArgs {
    /// Serve a server that runs already, instead of COMMAND: tcp:HOST:PORT or unix:PATH (MCP in lines), http://HOST:PORT/PATH or https://… (Streamable HTTP)
    #[arg(long, value_name = "URL", conflicts_with = "command")]
    upstream: Option<String>,
    /// To what the certificate of an https:// server must lead, PEM [default: the roots of the system]; with the gateway's own roots.pem it must not be revoked either
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    upstream_roots: Option<PathBuf>,
    /// Seconds from a request to the answer of an http:// or https:// server, unless it gives a sign of life
    #[arg(long, value_name = "SECONDS", default_value_t = 60 * 60, conflicts_with = "command")]
    upstream_timeout: u64,
    /// Start COMMAND once, for all sessions, instead of once for each; it is not told who calls, and cannot ask its clients anything
    #[arg(long, conflicts_with = "upstream")]
    share: bool,
    /// Give the server an environment variable; NAME alone passes ours on; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]", conflicts_with = "upstream")]
    env: Vec<OsString>,
    /// The MCP server and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl UpstreamArgs {
    /// Said before anything is read: without a server there is nothing to serve.
    pub(super) fn must_name_a_server(&self) -> Result<(), Failure> {
        if self.upstream.is_some() || !self.command.is_empty() {
            return Ok(());
        }
        Err(Failure::usage("there is no server to serve: neither COMMAND nor --upstream is given").hint(
            "start one for each session with `-- COMMAND ARGS…`, or name one that runs already with `--upstream URL`",
        ))
    }

    /// Reads what was said; `notes` get what servers print, and what is wrong with them. A server that
    /// is shared is to be stopped when the gateway has. To one that speaks HTTP there are so many
    /// connections at most.
    pub(super) fn upstream(
        &self,
        notes: mpsc::Sender<(u64, String)>,
        limits: &Limits,
        trust: &Trust,
        connections: usize,
    ) -> Result<(Upstream, Option<SharedServer>), Failure> {
        if let Some(url) = &self.upstream {
            return Ok((self.elsewhere(url, notes, trust, connections)?, None));
        }
        let command = ChildCommand::new(self.command.clone(), environment(&self.env)?);
        let command = command.map_err(Failure::new)?.with_stderr(notes);
        if !self.share {
            return Ok((Upstream::Command(command), None));
        }
        let failed = |error: &ChildError| say(&format!("the server could not be started: {error}"));
        let shared = SharedServer::new(command, limits, failed);
        Ok((Upstream::Service(shared.service()), Some(shared)))
    }

    fn elsewhere(
        &self,
        url: &str,
        notes: mpsc::Sender<(u64, String)>,
        trust: &Trust,
        connections: usize,
    ) -> Result<Upstream, Failure> {
        let upstream = match url.split_once(':') {
            Some(("tcp", address)) => tcp(address)?,
            Some(("unix", path)) if !path.is_empty() => {
                Upstream::Socket(SocketUpstream::Unix(path.into()))
            }
            Some(("http" | "https", _)) => {
                let http = self.http(Endpoint::parse(url).map_err(Failure::usage)?, trust)?;
                let http = http.with_notes(notes).with_connections(connections);
                return Ok(Upstream::Http(Box::new(http)));
            }
            _ => {
                return Err(Failure::usage(format!("{url} is no URL of a server"))
                    .hint("write tcp:HOST:PORT, unix:PATH, http://HOST:PORT/PATH or https://…"));
            }
        };
        match &self.upstream_roots {
            None => Ok(upstream),
            Some(_) => Err(without_certificate()),
        }
    }

    /// What a session may have open behind it: connections to its server, or its child's three streams
    /// and handle. A server that is shared has those once.
    pub(super) fn descriptors_per_session(&self) -> u64 {
        let connections = match self.upstream.as_deref() {
            Some(_) if self.is_http() => HttpUpstream::CONNECTIONS_PER_SESSION,
            Some(_) => 1,
            None if self.share => 0,
            None => 4,
        };
        u64::try_from(connections).unwrap_or(u64::MAX)
    }

    /// What it may have open besides, whatever there is of the others.
    pub(super) fn spare_per_session(&self) -> u64 {
        let spare = if self.is_http() { HttpUpstream::SPARE_CONNECTIONS_PER_SESSION } else { 0 };
        u64::try_from(spare).unwrap_or(u64::MAX)
    }

    fn is_http(&self) -> bool {
        self.upstream.as_deref().is_some_and(|url| url.starts_with("http"))
    }

    /// Whether the server is reached over TCP; `None` if it is a program that is to be started.
    pub(super) fn needs_connections(&self) -> Option<bool> {
        self.upstream.as_deref().map(|url| !url.starts_with("unix:"))
    }

    /// How long an answer may take.
    pub(super) fn answer(&self) -> Duration {
        Duration::from_secs(self.upstream_timeout)
    }

    /// What is announced of it.
    pub(super) fn announcement(&self) -> String {
        match self.upstream.as_deref().map(|url| url.split('?').next().unwrap_or_default()) {
            Some(url) => format!("\n  upstream    {url}"),
            None => String::new(),
        }
    }

    fn http(&self, endpoint: Endpoint, trust: &Trust) -> Result<HttpUpstream, Failure> {
        if endpoint.is_https() {
            let roots = web_roots::read(self.upstream_roots.as_deref(), "--upstream-roots")?;
            let made = match roots.iter().filter(|root| trust.is_rooted_in(root)).count() {
                0 => HttpUpstream::over_tls(endpoint, roots, Arc::new(DefaultTimeProvider)),
                own if own == roots.len() => HttpUpstream::of_own_ca(endpoint, trust.clone()),
                _ => return Err(of_two_kinds()),
            };
            return made.map_err(Failure::new);
        }
        if self.upstream_roots.is_some() {
            return Err(without_certificate());
        }
        if !endpoint.is_loopback() {
            warn_of_plain_text(&endpoint);
        }
        Ok(HttpUpstream::plain(endpoint))
    }
}

/// What our CA has revoked is known here, and what others have is not: which of the two a server is must
/// not be up to the server.
fn of_two_kinds() -> Failure {
    Failure::usage("some of the roots for --upstream are those of this gateway's own CA, and some are not")
        .hint("name one kind alone with --upstream-roots FILE: roots.pem of the identity, or those of the others")
}

fn without_certificate() -> Failure {
    Failure::usage("--upstream-roots is for servers that show a certificate, at https:// URLs")
}

fn tcp(address: &str) -> Result<Upstream, Failure> {
    // It is where an HTTP server would be, so it is read as that is.
    let endpoint = Endpoint::parse(&format!("http://{address}")).ok();
    let endpoint = endpoint.filter(|endpoint| endpoint.address() == address).ok_or_else(|| {
        Failure::usage(format!("tcp:{address} is no address: write tcp:HOST:PORT"))
    })?;
    if !endpoint.is_loopback() {
        warn_of_plain_text(&format!("tcp:{address}"));
    }
    Ok(Upstream::Socket(SocketUpstream::Tcp(address.to_owned())))
}

fn warn_of_plain_text(server: &dyn std::fmt::Display) {
    say(&format!(
        "WARNING: {server} is another machine, and what is said to it is not encrypted: whoever is on the way reads it, changes it, and answers in its place"
    ));
}

fn environment(names: &[OsString]) -> Result<Vec<(OsString, OsString)>, Failure> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let pair = |given: &OsString| {
        let bytes = given.as_bytes();
        match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                let (name, value) = (bytes.get(..at)?, bytes.get(at + 1..)?);
                Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
            }
            None => Some((given.clone(), std::env::var_os(given)?)),
        }
    };
    names
        .iter()
        .map(|given| {
            let missing = || format!("--env {}: there is no such variable", given.display());
            pair(given).ok_or_else(|| Failure::usage(missing()))
        })
        .collect()
}
