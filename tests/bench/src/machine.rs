//! On what, and when.

use std::fs;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::How;
use crate::peers::first_line;
use crate::server::installed;
use crate::world::program;

/// Under what conditions figures were measured.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory: String,
    pub(crate) system: String,
    pub(crate) openssl: String,
    pub(crate) vouchsafe: String,
    /// `3 rounds of 2 s`
    pub(crate) how: String,
}

/// The day, in UTC.
pub(crate) fn today() -> Result<String> {
    let now = OffsetDateTime::now_utc().format(&Rfc3339)?;
    Ok(now.split('T').next().unwrap_or_default().to_owned())
}

impl Machine {
    pub(crate) fn look(how: &How) -> Result<Self> {
        // This thread may have been put on one of them.
        let listed = fs::read_to_string("/proc/cpuinfo")?;
        let cores = listed.lines().filter(|line| line.starts_with("processor")).count();
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores,
            memory: field("/proc/meminfo", "MemTotal").unwrap_or_default(),
            system: system(),
            openssl: installed("openssl")
                .map(|path| first_line(path, "version"))
                .unwrap_or_default(),
            vouchsafe: first_line(program()?, "--version"),
            how: format!("{} rounds of {} s each, in turns", how.rounds(), how.seconds),
        })
    }
}

/// What stands behind a name and a colon.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn system() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!("{}, Linux {}", name.unwrap_or_default().trim_matches('"'), kernel.trim())
}
