//! Words for the operator on standard error, written by a thread of their own: whoever has something
//! to say, a judge of revocations above all, is never held up by a reader that has stalled.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use serde::Serialize;
use vouchsafe_transport::Output;

use crate::exit::Failure;
use crate::json::Moment;

/// Notices that wait for a reader; further ones are lost.
const WAITING: usize = 256;

/// How often a pipe that is full is looked at again.
const RETRY: Duration = Duration::from_millis(20);

/// So much is written at once.
const PIECE: usize = 4096;

static STDERR: LazyLock<Arc<Output>> = LazyLock::new(|| Arc::new(Output::new(duplicate())));

/// How long the end of the program waits for a reader of what was said.
const LAST: Duration = Duration::from_millis(500);

/// What the thread that shows notices is given.
enum Given {
    Notice(String),
    /// Somebody wants to hear when everything before this is shown.
    Asked(SyncSender<()>),
}

static NOTICES: OnceLock<SyncSender<Given>> = OnceLock::new();

fn notices() -> &'static SyncSender<Given> {
    NOTICES.get_or_init(|| {
        let (sender, given) = sync_channel(WAITING);
        std::thread::spawn(move || show(&given));
        sender
    })
}

/// Lets what was said be shown before the program ends, unless nobody reads it.
pub(crate) fn finish() {
    let Some(notices) = NOTICES.get() else { return };
    let (shown, is_shown) = sync_channel(1);
    if notices.try_send(Given::Asked(shown)).is_ok() {
        // Whether or not it came.
        let _ = is_shown.recv_timeout(LAST);
    }
}

/// What begins a notice that somebody should act on.
const WARNING: &str = "WARNING: ";

/// How notices look, and which there are. The audit is no log: it is written whole, whatever is chosen here.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Watching")]
pub(crate) struct LogArgs {
    /// How notices on standard error look: for people, or as JSON, one object a line, like audit events
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Human)]
    log_format: Format,

    /// Which notices there are; whatever is chosen, audit events are written
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Level::Debug)]
    log_level: Level,
}

/// How notices look.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// Sentences
    Human,
    /// {"at": …, "level": …, "message": …}
    Json,
}

/// How much a notice matters.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// The program ends
    #[value(skip)]
    Error,
    /// What somebody should act on
    Warning,
    /// And what happens
    Info,
    /// And what servers print to their standard error
    Debug,
}

static CHOSEN: OnceLock<LogArgs> = OnceLock::new();

impl LogArgs {
    /// From now on, notices look like that.
    pub(crate) fn choose(self) {
        // It is chosen once, by the one command that runs.
        let _ = CHOSEN.set(self);
    }
}

/// A notice, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    at: Option<Moment>,
    level: Level,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Line<'_> {
    /// As it is written; `None` where that is not wanted.
    fn chosen(&self, human: impl FnOnce() -> String) -> Option<String> {
        let chosen = CHOSEN.get();
        if chosen.is_some_and(|chosen| self.level > chosen.log_level) {
            return None;
        }
        match chosen.map(|chosen| chosen.log_format) {
            Some(Format::Json) => serde_json::to_string(self).ok(),
            Some(Format::Human) | None => Some(human()),
        }
    }
}

fn line(level: Level, message: &str) -> Line<'_> {
    Line {
        at: DefaultTimeProvider.current_time().map(Moment),
        level,
        session: None,
        message,
        hint: None,
    }
}

/// Standard error, for everybody who writes to it while others do.
pub(crate) fn stderr() -> Arc<Output> {
    Arc::clone(&STDERR)
}

/// Where audit events go: appended to a file that only its owner reads, or to standard error.
pub(crate) fn audit(file: Option<&Path>) -> Result<Arc<Output>, Failure> {
    let Some(path) = file else { return Ok(stderr()) };
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened
        .map(|file| Arc::new(Output::new(file)))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// A descriptor of our own: the standard library's has a lock that a full pipe would hold.
fn duplicate() -> File {
    match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => File::from(descriptor),
        // Without a descriptor left nothing can be said, and nothing must wait for that.
        Err(_) => tempfile::tempfile().unwrap_or_else(|_| std::process::abort()),
    }
}

/// A line for the operator. It is lost if nobody reads and too many wait already.
pub(crate) fn say(text: &str) {
    let noted = match text.strip_prefix(WARNING) {
        Some(warned) => line(Level::Warning, warned),
        None => line(Level::Info, text),
    };
    send(noted.chosen(|| text.to_owned()));
}

/// What the server of a session has printed to its standard error, with control characters made harmless.
pub(crate) fn say_of_server(session: u64, text: &str) {
    let text = harmless(text);
    let noted = Line { session: Some(session), ..line(Level::Debug, &text) };
    send(noted.chosen(|| format!("[server of session {session}] {text}")));
}

fn send(notice: Option<String>) {
    if let Some(notice) = notice {
        drop(notices().try_send(Given::Notice(notice + "\n")));
    }
}

/// The last words of a program: what went wrong, and what to do next.
pub(crate) fn in_the_end(message: &str, hint: Option<&str>) -> String {
    let last = Line { hint, ..line(Level::Error, message) };
    let human = || match hint {
        Some(hint) => format!("error: {message}\nhint: {hint}"),
        None => format!("error: {message}"),
    };
    last.chosen(human).unwrap_or_default()
}

fn show(given: &Receiver<Given>) {
    for given in given {
        match given {
            Given::Notice(notice) => write(&notice),
            // Whoever asked may have gone on.
            Given::Asked(shown) => drop(shown.try_send(())),
        }
    }
}

fn write(notice: &str) {
    for piece in notice.as_bytes().chunks(PIECE) {
        while let Ok(false) = STDERR.try_write(piece) {
            std::thread::sleep(RETRY);
        }
    }
}

/// Somebody else's words without what a terminal would take for a command.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_but_text() {
        assert_eq!(harmless("a\u{1b}[31mb\r\nc\td\u{9b}e"), "a[31mbc\tde");
    }

    #[test]
    fn what_somebody_else_says_is_no_warning_of_ours() {
        let words = "WARNING: \"quoted\"\nby a server";
        let noted = Line { at: None, session: Some(7), ..line(Level::Debug, words) };
        let json = serde_json::to_string(&noted).unwrap();
        let expected = r#"{"at":null,"level":"debug","session":7,"message":"WARNING: \"quoted\"\nby a server"}"#;
        assert_eq!(json, expected);
    }
}
