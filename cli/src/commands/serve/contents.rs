//! `serve --validate --redact`: what calls and results hold.

use vouchsafe_transport::Rules;

use crate::exit::Failure;

/// What calls and results hold.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Contents")]
pub(super) struct ContentArgs {
    /// Check the arguments of calls against the schemas of their tools (inputSchema); what cannot be
    /// checked is refused
    #[arg(long)]
    validate: bool,
    /// Replace what looks like a key or a token in results by `[redacted]`
    #[arg(long)]
    redact: bool,
    /// Replace this as well, a regular expression (syntax of the Rust crate regex); may be repeated
    #[arg(long, value_name = "REGEX")]
    redact_pattern: Vec<String>,
}

impl ContentArgs {
    /// Puts it into the rules.
    pub(super) fn adjust(&self, rules: &mut Rules) -> Result<(), Failure> {
        if self.validate {
            rules.validate_arguments();
        }
        if self.redact {
            rules.redact().map_err(Failure::new)?;
        }
        for pattern in &self.redact_pattern {
            let added = rules.redact_pattern(pattern);
            added
                .map_err(|error| Failure::usage(format!("--redact-pattern {pattern}: {error}")))?;
        }
        Ok(())
    }
}
