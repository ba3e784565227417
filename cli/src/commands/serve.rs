//! `vouchsafe serve`: an unmodified MCP server behind mutual TLS.

mod contents;
mod limits;
mod upstream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::UnixTime;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use vouchsafe_certs::{Permission, PermissionSet, Usage};
use vouchsafe_transport::{
    EventLog, Gateway, GatewayConfig, Identity, Limits, Output, Revocations, Rules,
};

use self::contents::ContentArgs;
use self::limits::PrincipalLimitArgs;
use crate::assemble::{self, IdentityDirectory};
use crate::confine::{ConfineArgs, Needs};
use crate::context::Context;
use crate::exit::Failure;
use crate::follow::{CaArgs, Source};
use crate::identity;
use crate::notice::{self, LogArgs, say, say_of_server};
use crate::output::relative;
use crate::passphrase::KeyPassphraseFile;
use crate::runtime;
use crate::watch::{Watch, WatchArgs};
use upstream::UpstreamArgs;

/// Put an MCP server behind mutual TLS
///
/// Every client that connects with a certificate of the CA gets a process of its own of COMMAND, or
/// connections of its own to a server that runs already (--upstream), and may do with it what its
/// certificate permits. Stop with Ctrl-C.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Identity directory of the gateway (made by `issue --server --out DIR`)
    #[arg(long, value_name = "DIR")]
    identity: PathBuf,
    #[command(flatten)]
    passphrase: KeyPassphraseFile,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: String,
    /// Revocation list, followed as it changes [default: crl.pem of the home, if there is one]
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    #[command(flatten)]
    ca: CaArgs,
    /// What becomes of sessions while the revocation list is stale
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnStale::Close)]
    on_stale: OnStale,
    /// A permission that goes on while the list is stale, for those who hold it; may be repeated
    #[arg(long, value_name = "PERMISSION", value_parser = Permission::parse)]
    stale_allow: Vec<Permission>,
    /// Append audit events to a file [default: standard error]
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Ask for another permission than tools:TOOL; may be repeated
    #[arg(long, value_name = "TOOL=PERMISSION")]
    require: Vec<String>,
    /// Tell clients which permission they lack, instead of answering as if the thing did not exist
    #[arg(long)]
    explain_denials: bool,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    principals: PrincipalLimitArgs,
    #[command(flatten)]
    contents: ContentArgs,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    confine: ConfineArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
}

/// What becomes of sessions while the revocation list is past its next update.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum OnStale {
    /// All are closed, and nobody gets in: a device revoked meanwhile may be among them
    Close,
    /// They go on for the permissions named with --stale-allow
    ReadOnly,
}

/// Everything that an outsider could use up has a limit.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Octets of one message
    #[arg(long, value_name = "OCTETS", default_value_t = 16 * 1024 * 1024)]
    max_message: usize,
    /// Sessions at once
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_sessions: usize,
    /// Sessions at once of one principal
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_sessions_per_principal: usize,
    /// Requests in flight of one session, in each direction
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_in_flight: usize,
    /// TLS handshakes under way at once; the oldest gives way to the newest
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_handshakes: usize,
    /// Seconds for a TLS handshake
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    handshake_timeout: u64,
    /// Seconds from the handshake to the first message
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    first_message_timeout: u64,
    /// Seconds from the first octet of a message to its last
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    message_timeout: u64,
    /// Seconds without a message of the client
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60)]
    idle_timeout: u64,
    /// Seconds that a session over HTTP is kept without a request or an open stream
    #[arg(long, value_name = "SECONDS", default_value_t = 10 * 60)]
    http_idle_timeout: u64,
    /// Seconds for a peer to take a message
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    write_timeout: u64,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.line = self.max_message;
        limits.sessions = self.max_sessions;
        limits.sessions_per_principal = self.max_sessions_per_principal;
        limits.handshakes = self.max_handshakes;
        limits.handshake = Duration::from_secs(self.handshake_timeout);
        limits.first_message = Duration::from_secs(self.first_message_timeout);
        limits.message = Duration::from_secs(self.message_timeout);
        limits.idle = Duration::from_secs(self.idle_timeout);
        limits.http_idle = Duration::from_secs(self.http_idle_timeout);
        limits.write = Duration::from_secs(self.write_timeout);
        limits
    }
}

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    args.log.choose();
    args.upstream.must_name_a_server()?;
    let audit = notice::audit(args.audit.as_deref())?;
    let confined = args.confine.enforce(needs(args)?.as_ref())?;
    let directory = IdentityDirectory::open(&args.identity, &args.passphrase)?;
    let present = identity::follow(directory, say)?;
    let identity = present.now();
    if identity.certificate.usage != Usage::Server {
        let directory = args.identity.display();
        return Err(Failure::new(format!("{directory} holds an agent's certificate"))
            .hint("issue one for a gateway: vouchsafe issue NAME --server --dns HOST --out DIR"));
    }
    if context.now()? > identity.certificate.not_after {
        return Err(Failure::new(
            "the gateway's own certificate has expired; no client would accept it",
        )
        .hint("issue a new one: vouchsafe issue NAME --server --dns HOST --out DIR --force"));
    }
    let source = source(args, context)?;
    let source_name = source.to_string();
    let lists = source.follow(&present, say)?;
    let strict = assemble::trust_with_lists(&present, &lists);
    let trust = strict.clone();
    let trust = match when_stale(args)? {
        Some(permissions) => trust.with_stale_lists_for(permissions),
        None => trust,
    };
    let watch = args.watch.prepare(&present, &lists)?;
    let log = EventLog::new(Arc::clone(&audit), Arc::new(DefaultTimeProvider));
    let announcement = announcement(&identity, &lists.borrow(), &source_name, context.now()?);
    let announcement =
        format!("{announcement}{}\n  confined    {confined}", args.upstream.announcement());
    let (notes, lines) = mpsc::channel(256);
    let mut limits = args.limits.limits();
    limits.answer = args.upstream.answer();
    limits.principals = args.principals.follow(say)?;
    let connections = make_room(&args.limits, &args.upstream);
    let (upstream, shared) = args.upstream.upstream(notes, &limits, &strict, connections)?;
    let gateway = Gateway::new(GatewayConfig {
        identity: present.identity,
        trust,
        upstream,
        streamable_http: true,
        http: None,
        rules: rules(args)?,
        limits,
        log: watch.observing(log),
    })
    .map_err(Failure::new)?;
    let watch = (watch, audit);
    runtime::large()?.block_on(async {
        let served = serve(Arc::new(gateway), &args.listen, &announcement, lines, watch).await;
        if let Some(shared) = shared {
            shared.stop().await;
        }
        served
    })
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Descriptors of the process itself: its standard streams, listeners, lists, and what tokio needs.
const OWN_DESCRIPTORS: u64 = 64;

/// Raises the limit of open files as far as it goes, and says so where it is still too low. What is left
/// beside the sessions themselves is for their connections to a server that speaks HTTP.
fn make_room(limits: &LimitArgs, upstream: &UpstreamArgs) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Rlimit { current, .. } = getrlimit(Resource::Nofile);
    let sessions = u64::try_from(limits.max_sessions).unwrap_or(u64::MAX);
    let handshakes = u64::try_from(limits.max_handshakes).unwrap_or(u64::MAX);
    let others = handshakes.saturating_add(OWN_DESCRIPTORS);
    // Each has its client's connection.
    let own = sessions.saturating_mul(1 + upstream.spare_per_session());
    let behind = upstream.descriptors_per_session().saturating_mul(sessions);
    let needed = others.saturating_add(own).saturating_add(behind);
    if raised.is_err() || current.is_some_and(|current| current < needed) {
        let current = current.unwrap_or(u64::MAX);
        say(&format!(
            "WARNING: only {current} files may be open at once, but {sessions} sessions can need {needed}: raise it (ulimit -n) or lower --max-sessions"
        ));
    }
    let left = current.map(|current| current.saturating_sub(others.saturating_add(own)));
    let left = left.map_or(behind, |left| left.min(behind));
    usize::try_from(left).unwrap_or(usize::MAX)
}

async fn serve(
    gateway: Arc<Gateway>,
    listen: &str,
    announcement: &str,
    lines: mpsc::Receiver<(u64, String)>,
    (watch, audit): (Watch, Arc<Output>),
) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot listen on {listen}: {error}"));
    let told_to_stop = runtime::told_to_stop().map_err(failed)?;
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    // The library's queue of 128 makes honest clients wait behind a flood (listen(2) may be repeated).
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    watch.start(gateway.live(), &audit).await?;
    say(&format!("listening on {}{announcement}", listener.local_addr().map_err(failed)?));
    tokio::spawn(show_stderr(lines));
    let shutdown = async move {
        told_to_stop.await;
        say("stopping: every session is closed");
    };
    gateway.serve(listener, shutdown).await;
    Ok(())
}

/// What it needs where it starts no programs; `None` where it does.
fn needs(args: &Args) -> Result<Option<Needs>, Failure> {
    let Some(connects) = args.upstream.needs_connections() else { return Ok(None) };
    let needs = Needs::default().connections(connects);
    args.watch.add_to(args.ca.add_to(&args.identity, needs)?).map(Some)
}

/// Without a list a revoked device would be let in, so there is no way to serve without one.
fn source(args: &Args, context: &Context) -> Result<Source, Failure> {
    let own = context.home().ok().map(|home| home.join("crl.pem")).filter(|own| own.exists());
    match (&args.crl, args.ca.source(&args.identity)?, own) {
        (Some(file), ..) => Ok(Source::File(file.clone())),
        (None, Some(ca), _) => Ok(ca),
        (None, None, Some(own)) => Ok(Source::File(own)),
        (None, None, None) => Err(Failure::usage("there is no revocation list to follow").hint(
            "follow the CA with --ca ADDR, or a file with --crl FILE; on the CA's machine `vouchsafe crl --out FILE` writes it",
        )),
    }
}

/// What goes on while the list is stale; `None` for nothing at all.
fn when_stale(args: &Args) -> Result<Option<PermissionSet>, Failure> {
    match (args.on_stale, args.stale_allow.is_empty()) {
        (OnStale::Close, true) => Ok(None),
        (OnStale::ReadOnly, false) => Ok(Some(args.stale_allow.iter().cloned().collect())),
        (OnStale::Close, false) => {
            Err(Failure::usage("--stale-allow says nothing without --on-stale read-only"))
        }
        (OnStale::ReadOnly, true) => {
            Err(Failure::usage("nothing would go on while the list is stale")
                .hint("name what does: --on-stale read-only --stale-allow tools:search"))
        }
    }
}

fn announcement(
    identity: &Identity,
    revocations: &Revocations,
    source: &str,
    now: UnixTime,
) -> String {
    let certificate = &identity.certificate;
    let revoked: usize = revocations.lists().map(|list| list.serials().len()).sum();
    format!(
        "\n  as          {}, ends {}\n  permissions {}\n  revocation  {source} ({revoked} revoked), followed",
        certificate.principal,
        relative(certificate.not_after, now),
        if certificate.permissions.is_empty() {
            "none: asks nothing of clients".to_owned()
        } else {
            certificate.permissions.to_string()
        },
    )
}

fn rules(args: &Args) -> Result<Rules, Failure> {
    let mut rules = Rules::default();
    rules.explain_denials = args.explain_denials;
    rules.max_in_flight = args.limits.max_in_flight;
    args.contents.adjust(&mut rules)?;
    for required in &args.require {
        let (tool, permission) = required.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--require {required}: write TOOL=PERMISSION"))
        })?;
        rules
            .require(tool, permission)
            .map_err(|error| Failure::usage(format!("--require {required}: {error}")))?;
    }
    Ok(rules)
}

/// What servers print to their stderr.
async fn show_stderr(mut lines: mpsc::Receiver<(u64, String)>) {
    while let Some((session, line)) = lines.recv().await {
        say_of_server(session, &line);
    }
}
