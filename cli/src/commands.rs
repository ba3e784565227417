//! One verb, one file.

pub(crate) mod audit;
pub(crate) mod ca;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod crl;
pub(crate) mod demo;
pub(crate) mod enroll;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod invite;
pub(crate) mod issue;
pub(crate) mod limit;
pub(crate) mod list;
pub(crate) mod renew;
pub(crate) mod restore;
pub(crate) mod revoke;
pub(crate) mod rotate;
pub(crate) mod serve;
pub(crate) mod sessions;
pub(crate) mod tools;

use crate::args::{Args, Command};
use crate::context::Context;
use crate::exit::Failure;

/// Does what was typed.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let Args { global, command } = args;
    let context = |verb| Context::new(global, verb);
    match command {
        Command::Init(args) => init::run(args, &context("init")),
        Command::Issue(args) => issue::run(args, &context("issue")),
        Command::Invite(args) => invite::run(args, &context("invite")),
        Command::Limit(args) => limit::run(args, &context("limit")),
        Command::List(args) => list::run(args, &context("list")),
        Command::Inspect(args) => inspect::run(args, &context("inspect")),
        Command::Revoke(args) => revoke::run(args, &context("revoke")),
        Command::Rotate(args) => rotate::run(args, &context("rotate")),
        Command::Crl(args) => crl::run(args, &context("crl")),
        Command::Enroll(args) => enroll::run(&args, &context("enroll")),
        Command::Renew(args) => renew::run(&args, &context("renew")),
        Command::Audit(args) => audit::run(args, &context("audit")),
        Command::Restore(args) => restore::run(&args, &context("restore")),
        Command::Ca(args) => ca::run(*args, &context("ca")),
        Command::Serve(args) => serve::run(&args, &context("serve")),
        Command::Sessions(args) => sessions::run(&args, &context("sessions")),
        Command::Connect(args) => connect::run(&args, &context("connect")),
        Command::Call(args) => call::run(args, &context("call")),
        Command::Tools(args) => tools::run(&args, &context("tools")),
        Command::Demo(args) => demo::run(&args, &context("demo")),
        Command::DemoServer => crate::demo_server::run(),
        Command::Completions(args) => completions::run(args, &context("completions")),
    }
}
