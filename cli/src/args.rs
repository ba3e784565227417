//! What was typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    audit, ca, call, completions, connect, crl, demo, enroll, init, inspect, invite, issue, limit,
    list, renew, restore, revoke, rotate, serve, sessions, tools,
};

/// Machine agents reach MCP servers with nothing but a certificate.
#[derive(Parser, Debug)]
#[command(name = "vouchsafe", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Global {
    /// Where the CA lives [default: vouchsafe in the XDG data directory]
    #[arg(long, global = true, value_name = "DIR", env = "VOUCHSAFE_HOME", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// One verb, one file.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Init(init::Args),
    Issue(issue::Args),
    Invite(invite::Args),
    Limit(limit::Args),
    List(list::Args),
    Inspect(inspect::Args),
    Revoke(revoke::Args),
    Rotate(rotate::Args),
    Crl(crl::Args),
    Ca(Box<ca::Args>),
    Serve(Box<serve::Args>),
    Sessions(sessions::Args),
    Connect(connect::Args),
    Call(call::Args),
    Tools(tools::Args),
    Enroll(enroll::Args),
    Renew(renew::Args),
    Audit(audit::Args),
    Restore(restore::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    /// The MCP server of the demo, on stdio
    #[command(hide = true)]
    DemoServer,
}
