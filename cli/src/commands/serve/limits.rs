//! `serve --max-requests-per-second … --limits FILE`: what each principal may use up.
//!
//! The file is followed. Whoever edits it may be half way through, or wrong: a file that cannot be
//! taken leaves the limits in force as they are, and that is said.

mod numbers;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use notify::RecommendedWatcher;
use serde::Deserialize;
use tokio::sync::watch;
use vouchsafe_transport::{LimitError, LimitTable, PrincipalLimits, Rate};

use crate::exit::Failure;
use crate::follow::Watched;

/// How often the file is looked at where the file system says nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Some ten thousand names.
const MAX_LEN: u64 = 1024 * 1024;

/// What each principal may use up, over all of its sessions.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Limits of each principal, over all of its sessions")]
pub(super) struct PrincipalLimitArgs {
    /// Requests a second in the long run, such as 20 or 0.5 [default: no limit]
    #[arg(long, value_name = "N")]
    max_requests_per_second: Option<f64>,
    /// Requests that may come at once [default: those of a second, and one at least]
    #[arg(long, value_name = "N", requires = "max_requests_per_second")]
    burst: Option<NonZeroU32>,
    /// Requests in flight [default: no limit but that of each session]
    #[arg(long, value_name = "N")]
    max_in_flight_per_principal: Option<NonZeroUsize>,
    /// Octets of messages a second, both directions together; beyond that less is read, and nothing refused [default: no limit]
    #[arg(long, value_name = "OCTETS")]
    max_octets_per_second: Option<NonZeroU64>,
    /// Other limits for some principals, by the name or its beginning (TOML); followed as it changes
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
}

/// The limits of every principal, as they change.
type Table = watch::Receiver<Arc<LimitTable>>;

impl PrincipalLimitArgs {
    /// Reads the limits for the first time, and follows their file from a thread of its own. `notice`
    /// hears, in a sentence, of every file that is taken or not. `None` where there are no limits.
    pub(super) fn follow(
        &self,
        notice: impl Fn(&str) + Send + 'static,
    ) -> Result<Option<Table>, Failure> {
        let requests = self.max_requests_per_second;
        let requests = requests.map(|rate| Rate::new(rate, self.burst.map(NonZeroU32::get)));
        let requests = requests
            .transpose()
            .map_err(|error| Failure::usage(format!("--max-requests-per-second: {error}")))?;
        let mut everybody = PrincipalLimits::default();
        everybody.requests = requests;
        everybody.in_flight = self.max_in_flight_per_principal.map(NonZeroUsize::get);
        everybody.octets_per_second = self.max_octets_per_second.map(NonZeroU64::get);
        let Some(path) = &self.limits else {
            let is_limited = everybody != PrincipalLimits::default();
            return Ok(is_limited.then(|| watch::channel(Arc::new(LimitTable::new(everybody))).1));
        };
        let mut source = Source { file: Watched::new(path), everybody };
        // Watched before it is read, so that no change falls between.
        let watched = source.file.watch();
        let (watcher, changes) = watched.map_err(|error| source.failure(&error))?;
        let (text, table) = source.read()?;
        let (sender, receiver) = watch::channel(Arc::new(table));
        let follower = Follower { source, in_force: text, sender, complaint: None, notice };
        std::thread::spawn(move || follower.run(&changes, watcher));
        Ok(Some(receiver))
    }
}

/// What the file says. That it says something must be there: a file that is being written may be empty.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitFile {
    principals: BTreeMap<String, Entry>,
}

/// What the file says of some principals.
#[derive(Deserialize)]
#[serde(
    rename_all = "kebab-case",
    deny_unknown_fields,
    expecting = "a table of limits, such as [principals.\"team-a/*\"] with requests-per-second = 20 below it"
)]
struct Entry {
    #[serde(default, deserialize_with = "numbers::rate")]
    requests_per_second: Option<f64>,
    #[serde(default, deserialize_with = "numbers::count")]
    burst: Option<NonZeroU32>,
    #[serde(default, deserialize_with = "numbers::count")]
    in_flight: Option<NonZeroUsize>,
    #[serde(default, deserialize_with = "numbers::count")]
    octets_per_second: Option<NonZeroU64>,
    #[serde(default, deserialize_with = "numbers::count")]
    sessions: Option<NonZeroUsize>,
}

impl Entry {
    fn limits(&self) -> Result<PrincipalLimits, String> {
        let rate = |per_second| Rate::new(per_second, self.burst.map(NonZeroU32::get));
        let requests = self.requests_per_second.map(rate).transpose();
        let mut limits = PrincipalLimits::default();
        limits.requests = requests.map_err(|error| error.to_string())?;
        if limits.requests.is_none() && self.burst.is_some() {
            return Err("burst says nothing without requests-per-second".to_owned());
        }
        limits.in_flight = self.in_flight.map(NonZeroUsize::get);
        limits.octets_per_second = self.octets_per_second.map(NonZeroU64::get);
        limits.sessions = self.sessions.map(NonZeroUsize::get);
        Ok(limits)
    }
}

fn table(text: &str, everybody: PrincipalLimits) -> Result<LimitTable, String> {
    let file: LimitFile = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        // What TOML calls a key is a field in the words of the library that reads it.
        let said = error.message().replace("unknown field", "unknown key");
        format!("line {line}: {}", said.replace("missing field", "missing key"))
    })?;
    let mut table = LimitTable::new(everybody);
    for (pattern, entry) in &file.principals {
        let limits = entry.limits().map_err(|error| format!("\"{pattern}\": {error}"))?;
        table.insert(pattern, limits).map_err(|error: LimitError| error.to_string())?;
    }
    Ok(table)
}

struct Source {
    file: Watched,
    everybody: PrincipalLimits,
}

impl Source {
    fn read(&mut self) -> Result<(String, LimitTable), Failure> {
        let octets = self.file.read(MAX_LEN).map_err(|error| self.failure(&error))?;
        let text = String::from_utf8(octets).map_err(|_| self.failure(&"it is not UTF-8"))?;
        let table = table(&text, self.everybody).map_err(|error| self.failure(&error))?;
        Ok((text, table))
    }

    fn failure(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::new(format!("the limits in {} are not taken: {why}", self.file.path().display()))
    }
}

struct Follower<N> {
    source: Source,
    /// The file's text that is in force.
    in_force: String,
    sender: watch::Sender<Arc<LimitTable>>,
    /// What was said last of a file that is not taken.
    complaint: Option<String>,
    notice: N,
}

impl<N: Fn(&str)> Follower<N> {
    fn run(mut self, changes: &Receiver<()>, _watcher: RecommendedWatcher) {
        while !self.sender.is_closed() {
            match changes.recv_timeout(LOOK) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) if self.source.file.has_changed() => {}
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Renaming makes several events; one reading answers them all.
            while changes.try_recv().is_ok() {}
            match self.source.read() {
                Ok((text, table)) => self.take(text, table),
                Err(failure) => self.complain(&failure.to_string()),
            }
        }
    }

    fn take(&mut self, text: String, table: LimitTable) {
        self.complaint = None;
        if text != self.in_force {
            self.sender.send_replace(Arc::new(table));
            self.in_force = text;
            (self.notice)(&format!("limits in {} in force", self.source.file.path().display()));
        }
    }

    fn complain(&mut self, why: &str) {
        if self.complaint.as_deref() != Some(why) {
            (self.notice)(&format!("WARNING: {why}; those in force stay"));
            self.complaint = Some(why.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_certs::Principal;

    use super::*;

    #[test]
    fn a_file_names_limits_by_name_and_by_beginning() {
        let text = r#"
            [principals."team-a/*"]
            requests-per-second = 20
            burst = 40
            octets-per-second = 1_000_000

            [principals."team-a/build-7"]
            requests-per-second = 0.5
            in-flight = 8
            sessions = 4
        "#;
        let mut everybody = PrincipalLimits::default();
        everybody.in_flight = Some(9);
        let table = table(text, everybody).unwrap();
        let of = |name: &str| {
            let limits = table.of(&Principal::parse(&format!("spiffe://x/{name}")).unwrap());
            let PrincipalLimits { requests, in_flight, octets_per_second, sessions, .. } = limits;
            (requests, in_flight, octets_per_second, sessions)
        };
        let rate = |per_second, burst| Some(Rate::new(per_second, burst).unwrap());
        assert_eq!(of("team-b/x"), (None, Some(9), None, None));
        assert_eq!(of("team-a/x"), (rate(20.0, Some(40)), Some(9), Some(1_000_000), None));
        assert_eq!(of("team-a/build-7"), (rate(0.5, None), Some(8), Some(1_000_000), Some(4)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, expected) in [
            ("", "line 1: missing key `principals`"),
            (
                "[principals.a]\nper-second = 1",
                "line 2: unknown key `per-second`, expected one of `requests-per-second`, `burst`, `in-flight`, `octets-per-second`, `sessions`",
            ),
            ("[principal.a]", "line 1: unknown key `principal`, expected `principals`"),
            (
                "[principals.a]\nin-flight = 0",
                "line 2: invalid value: integer `0`, expected a whole number, 1 or more",
            ),
            (
                "[principals.a]\nburst = 5000000000",
                "line 2: invalid value: integer `5000000000`, expected a whole number, 1 or more",
            ),
            (
                "[principals.a]\nsessions = 'many'",
                "line 2: invalid type: string \"many\", expected a whole number, 1 or more",
            ),
            (
                "[principals.a]\nrequests-per-second = '5'",
                "line 2: invalid type: string \"5\", expected a number such as 20 or 0.5",
            ),
            (
                "[principals]\na = 5",
                "line 2: invalid type: integer `5`, expected a table of limits, such as [principals.\"team-a/*\"]",
            ),
            ("[principals.a]\nrequests-per-second = 0", "\"a\": requests per second are a number"),
            ("[principals.a]\nburst = 1", "\"a\": burst says nothing without requests-per-second"),
            ("[principals.\"*a\"]", "\"*a\" names no principal"),
            ("[principals.a]\n[principals.a]", "line 2: duplicate key"),
        ] {
            let error = table(text, PrincipalLimits::default()).unwrap_err();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
