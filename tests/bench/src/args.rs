//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measure what Vouchsafe costs, beside bare rustls and beside its peers, in one run
///
/// Build first: `cargo build --profile dist -p vouchsafe -p vouchsafe-bench`. The binary measured is the one beside this
/// program, or $VOUCHSAFE. Peers are taken from $PATH, or from a variable of their name such as $NGINX or
/// $MCP_PROXY; those that are not there are left out, and that is said.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// What to measure
    #[command(subcommand)]
    pub(crate) work: Option<Work>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Seconds of each measurement; CPU time is counted in hundredths of a second, so more is more precise
    #[arg(long, global = true, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// How often everything is measured, in turns; medians are printed
    #[arg(long, global = true, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// Sessions that `idle` holds besides 5,000, as far as the machine allows
    #[arg(long, global = true, default_value_t = 50_000)]
    pub(crate) idle_sessions: usize,
    /// Sessions that `cuts` cuts
    #[arg(long, global = true, default_value_t = 10_000)]
    pub(crate) cut_sessions: usize,
    /// Certificates on the list that `lists` loads, and on the longest of `handshakes`
    #[arg(long, global = true, default_value_t = 1_000_000)]
    pub(crate) revoked: u32,
    /// Certificates that `store` has on record
    #[arg(long, global = true, default_value_t = 1_000_000)]
    pub(crate) stored: u32,
    /// Write the figures of each work into this directory, for `report`
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Work {
    /// Everything, one after the other
    All,
    /// One `tools/call` after the other over HTTP, beside supergateway and mcp-proxy
    Http,
    /// One full mutual handshake after the other, each with one answer
    Handshakes,
    /// One `tools/call` of 200 octets after the other, on 1 and on 64 sessions
    Calls,
    /// The same to a server on stdio, beside raw stdio and `stunnel` with `exec`
    Stdio,
    /// Results of one mebioctet
    Bulk,
    /// What a session that does nothing takes of memory
    Idle,
    /// How long a revocation takes to reach the last of many live sessions
    Cuts,
    /// Loading a long revocation list
    Lists,
    /// A CA with very many certificates on record
    Store,
    /// Size of the binary, and how long `vouchsafe inspect` takes
    Cold,
    /// Certificates that are durable before they are answered, by 1, 32 and 256 threads, without a network
    Issuing,
    /// Certificates over the network from `vouchsafe ca`, by 1, 32 and 256 clients, beside step-ca
    Issuance,
    /// Make RESULTS.md and its plots of the figures in a directory
    Report {
        /// Where `--out` has put them
        figures: PathBuf,
        /// Where RESULTS.md and `plots/` go [default: the same]
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Be a server: the MCP server on stdio
    #[command(hide = true)]
    Child,
    /// Be a server: the MCP server on TCP
    #[command(hide = true)]
    Backend,
    /// Be a server: bare rustls
    #[command(hide = true)]
    Floor { identity: PathBuf },
    /// Be a server: a gateway with the MCP server in its process
    #[command(hide = true)]
    Inside { identity: PathBuf, list: PathBuf, audit: PathBuf, sessions: usize },
}

impl Work {
    /// Its name on the command line, which clap makes of the same word.
    pub(crate) fn name(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl How {
    pub(crate) fn window(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(1))
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::works::ALL;

    #[test]
    fn figures_are_kept_under_the_name_that_was_typed() {
        for (work, _) in ALL {
            let name = work.name();
            let typed = Arguments::try_parse_from(["vouchsafe-bench", &name]).unwrap();
            assert_eq!(typed.work.unwrap().name(), name);
        }
    }
}
