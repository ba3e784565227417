//! `vouchsafe completions`: what shells offer when Tab is pressed.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::context::Context;
use crate::exit::Failure;

/// Print the completion script of a shell
///
/// For bash: vouchsafe completions bash > ~/.local/share/bash-completion/completions/vouchsafe
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = crate::args::Args::command();
    clap_complete::generate(args.shell, &mut command, "vouchsafe", &mut script);
    context.print(&String::from_utf8_lossy(&script))
}
