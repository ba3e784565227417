//! `vouchsafe sessions`: who is connected to what serves on this machine.

use std::path::PathBuf;

use rustls_pki_types::UnixTime;

use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Table, octets, relative};
use crate::runtime;
use crate::watch::control::{Answer, Question, SessionView, ask, default_directory, sockets};

/// List the sessions of a gateway on this machine, or close one
///
/// It asks `vouchsafe serve` or `vouchsafe ca`, running as the same user. Whoever is closed may connect
/// again: to keep a device out, revoke it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The gateway's control socket, as it was given to `serve --control` [default: the one in XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    /// End the session of this number; its client is told
    #[arg(long, value_name = "N")]
    close: Option<u64>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let runtime = runtime::small()?;
    let socket = match &args.control {
        Some(socket) => socket.clone(),
        None => the_only(runtime.block_on(sockets()))?,
    };
    let question = args.close.map_or(Question::Sessions, Question::Close);
    match (runtime.block_on(ask(&socket, question))?, args.close) {
        (Answer::Sessions(sessions), None) => {
            context.show(&sessions, |sessions, now| in_words(sessions, now))
        }
        (Answer::Closed(true), Some(number)) => context
            .show(&serde_json::json!({ "closed": number }), |_, _| {
                format!("session {number} is closed\n")
            }),
        (Answer::Closed(false), Some(number)) => {
            Err(Failure::new(format!("there is no session {number}"))
                .hint("`vouchsafe sessions` lists those that there are"))
        }
        _ => {
            Err(Failure::new(format!("what serves at {} is of another version", socket.display())))
        }
    }
}

/// A guess which of several is meant would end somebody else's session.
fn the_only(sockets: Vec<PathBuf>) -> Result<PathBuf, Failure> {
    let names = sockets.iter().map(|socket| socket.display().to_string()).collect::<Vec<_>>();
    let name = "say which with --control PATH";
    match <[PathBuf; 1]>::try_from(sockets) {
        Ok([socket]) => Ok(socket),
        Err(_) if !names.is_empty() => Err(Failure::usage(format!(
            "{} gateways are running: {}",
            names.len(),
            names.join(", ")
        ))
        .hint(name)),
        Err(_) if default_directory().is_none() => {
            Err(Failure::usage("XDG_RUNTIME_DIR is not set, so no gateway can be found")
                .hint("start the gateway with --control PATH, and say the same here"))
        }
        Err(_) => Err(Failure::unreachable("no gateway of this user is running on this machine")
            .hint(format!("if one was started with --control, {name}"))),
    }
}

fn in_words(sessions: &[SessionView], now: UnixTime) -> String {
    if sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    let mut table = Table::default();
    table.row([
        "SESSION",
        "PRINCIPAL",
        "OPENED",
        "FROM",
        "SPEAKS",
        "CALLS",
        "IN",
        "OUT",
        "CERTIFICATE ENDS",
    ]);
    for session in sessions {
        table.row([
            &session.session.to_string(),
            session.principal.as_str(),
            &session.since.map_or_else(|| "-".to_owned(), |since| relative(since.0, now)),
            &session.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
            &session.speaks.to_string(),
            &session.calls.to_string(),
            &octets(session.received),
            &octets(session.sent),
            &relative(session.not_after.0, now),
        ]);
    }
    table.to_text()
}
