//! The command line of Vouchsafe: one verb, one file.

mod administration;
mod args;
mod assemble;
mod client;
mod commands;
mod confine;
mod context;
mod demo_server;
mod est;
mod exit;
mod follow;
mod identity;
mod invitation;
mod json;
mod keyfile;
mod mistyped;
mod notice;
mod output;
mod passphrase;
mod root_key;
mod runtime;
mod service;
mod session;
mod systemd;
mod watch;
mod web_roots;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Some failures of the store are panics that are caught; what they say is a note, not a trace.
    std::panic::set_hook(Box::new(|panic| {
        output::say(format_args!("note: an internal check failed: {panic}\n"));
    }));
    let args = args::Args::try_parse().unwrap_or_else(|error| mistyped::tell(&error));
    let ended = commands::run(args);
    notice::finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
