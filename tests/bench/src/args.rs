//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measure what a call, a handshake and a certificate cost, beside raw stdio, stunnel and step-ca
///
/// Build first: `cargo build --release`. The binary measured is the one beside this program, or $VOUCHSAFE.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value_t = What::All)]
    pub(crate) what: What,
    /// Seconds of each measurement; CPU time is counted in hundredths of a second, so more is more precise
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often everything is measured, in turns; medians are printed
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: u32,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Calls and handshakes
    All,
    /// One `tools/call` after the other on one session
    Calls,
    /// One full mutual handshake after the other, each with one answer
    Handshakes,
    /// Certificates that are durable before they are answered, by 1, 32 and 256 threads, without a network
    Issuing,
    /// Certificates over the network from `vouchsafe ca`, by 1, 32 and 256 clients, beside step-ca
    Issuance,
    /// Be the MCP server that everything is measured with
    Child,
}

impl Arguments {
    pub(crate) fn measures(&self, what: What) -> bool {
        self.what == What::All || self.what == what
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(1))
    }
}
