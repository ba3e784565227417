//! `vouchsafe ca`: the CA as a service.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::confine::{ConfineArgs, Needs};
use crate::context::Context;
use crate::exit::Failure;
use crate::notice::{self, LogArgs};
use crate::passphrase::PassphraseFile;
use crate::runtime;
use crate::service::{self, Settings};
use crate::watch::WatchArgs;

/// Serve the CA to a fleet
///
/// Operators with a certificate work with it over mutual TLS: the commands of this program with --ca
/// and --identity, and any MCP client, for administration is an MCP server. Everybody else finds the
/// CA's certificates and lists, enrolment (EST) and OCSP at --public. The home is in use for as long as
/// this runs. Stop with Ctrl-C.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Address for operators and agents with a certificate; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8444")]
    listen: String,

    /// Address for everybody: certificates, revocation lists, enrolment and OCSP; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8445")]
    public: String,

    /// A DNS name under which the CA is known, beside localhost; may be repeated
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,

    /// An IP address under which the CA is known, beside the loopback ones; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,

    /// Append audit events of the listeners to a file [default: standard error]
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,

    #[command(flatten)]
    watch: WatchArgs,

    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    confine: ConfineArgs,

    #[command(flatten)]
    passphrase: PassphraseFile,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    args.log.choose();
    let audit = notice::audit(args.audit.as_deref())?;
    let needs = args.watch.add_to(Needs::default().directory(context.home()?))?;
    let confined = args.confine.enforce(Some(&needs))?;
    let authority = context.open_authority(&args.passphrase)?;
    let settings = Settings {
        listen: args.listen,
        public: args.public,
        dns: args.dns,
        ip: args.ip,
        audit,
        confined,
        watch: args.watch,
    };
    runtime::large()?.block_on(service::serve(authority, settings))
}
