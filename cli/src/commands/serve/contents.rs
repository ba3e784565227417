//! `serve --validate`: what calls hold.

use vouchsafe_transport::Rules;

/// What calls hold.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Contents")]
pub(super) struct ContentArgs {
    /// Check the arguments of calls against the schemas of their tools (inputSchema); what cannot be
    /// checked is refused
    #[arg(long)]
    validate: bool,
}

impl ContentArgs {
    /// Puts it into the rules.
    pub(super) fn adjust(&self, rules: &mut Rules) {
        if self.validate {
            rules.validate_arguments();
        }
    }
}
