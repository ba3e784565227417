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

/// POSIX: so much can be written to a pipe in one piece. The audit may go to the same one, and what a
/// server prints must neither stand in a line of its own there nor take one in, so no notice is longer.
const MAX_LEN: usize = 4096;

/// What stands where a notice was cut.
const CUT: &str = "…";

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
    /// How it is to look; `None` where it is not wanted.
    fn chosen(&self) -> Option<Format> {
        match CHOSEN.get() {
            Some(chosen) if self.level > chosen.log_level => None,
            Some(chosen) => Some(chosen.log_format),
            None => Some(Format::Human),
        }
    }

    /// As it is written.
    fn written(&self, format: Format, human: impl Fn(&str) -> String) -> Option<String> {
        match format {
            Format::Json => serde_json::to_string(self).ok(),
            Format::Human => Some(human(self.message)),
        }
    }

    /// With its line end. What is too long for one piece loses the end of its message.
    fn in_one_piece(self, format: Format, human: impl Fn(&str) -> String) -> Option<String> {
        let mut whole = self.written(format, &human)? + "\n";
        let mut left = self.message.len();
        while whole.len() > MAX_LEN && left > 0 {
            // As JSON one character may take two octets, so half of what is too much always goes.
            left = left.saturating_sub((whole.len() - MAX_LEN).div_ceil(2));
            let message = beginning(self.message, left).to_owned() + CUT;
            let Self { at, level, session, hint, message: _ } = self;
            let cut = Line { at, level, session, message: &message, hint };
            whole = cut.written(format, &human)? + "\n";
        }
        Some(whole)
    }
}

/// So much of a text, or less where a character would be cut.
fn beginning(text: &str, len: usize) -> &str {
    let end = (0..=len.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
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
    let (level, message, warning) = match text.strip_prefix(WARNING) {
        Some(warned) => (Level::Warning, warned, WARNING),
        None => (Level::Info, text, ""),
    };
    let noted = line(level, message);
    let format = noted.chosen();
    let human = |message: &str| format!("{warning}{message}");
    send(format.and_then(|format| noted.in_one_piece(format, human)));
}

/// What the server of a session has printed to its standard error, with control characters made harmless.
pub(crate) fn say_of_server(session: u64, text: &str) {
    let text = harmless(text);
    let noted = of_server(session, &text);
    let format = noted.chosen();
    send(format.and_then(|format| noted.in_one_piece(format, as_server(session))));
}

fn of_server(session: u64, text: &str) -> Line<'_> {
    Line { session: Some(session), ..line(Level::Debug, text) }
}

/// Each line says whose it is.
fn as_server(session: u64) -> impl Fn(&str) -> String {
    move |message| format!("[server of session {session}] {message}")
}

fn send(notice: Option<String>) {
    if let Some(notice) = notice {
        drop(notices().try_send(Given::Notice(notice)));
    }
}

/// The last words of a program: what went wrong, and what to do next.
pub(crate) fn in_the_end(message: &str, hint: Option<&str>) -> String {
    let last = Line { hint, ..line(Level::Error, message) };
    let human = |message: &str| match hint {
        Some(hint) => format!("error: {message}\nhint: {hint}"),
        None => format!("error: {message}"),
    };
    last.chosen().and_then(|format| last.written(format, human)).unwrap_or_default()
}

fn show(given: &Receiver<Given>) {
    for given in given {
        match given {
            Given::Notice(notice) => write(&STDERR, &notice),
            // Whoever asked may have gone on.
            Given::Asked(shown) => drop(shown.try_send(())),
        }
    }
}

/// In one piece: an audit record may come before it or after it.
fn write(output: &Output, notice: &str) {
    while let Ok(false) = output.try_write(notice.as_bytes()) {
        std::thread::sleep(RETRY);
    }
}

/// Somebody else's words without what a terminal would take for a command.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_but_text() {
        assert_eq!(harmless("a\u{1b}[31mb\r\nc\td\u{9b}e"), "a[31mbc\tde");
    }

    /// What a server says, in as many words, and then what looks like a record of ours.
    fn forged(words: &str) -> String {
        words.to_owned() + r#"{"at":"2026-07-28T00:00:00Z","event":"allowed","name":"forged"}"#
    }

    #[test]
    fn whatever_a_server_says_comes_in_one_piece() {
        for words in ["x".repeat(5000), "\"\\".repeat(4000), "é".repeat(4000)] {
            let text = forged(&words);
            let noted = || of_server(7, &text);
            let said = noted().in_one_piece(Format::Human, as_server(7)).unwrap();
            assert!(said.starts_with("[server of session 7] ") && said.ends_with("…\n"));
            assert!((MAX_LEN - 8..=MAX_LEN).contains(&said.len()), "{}", said.len());
            let said = noted().in_one_piece(Format::Json, as_server(7)).unwrap();
            assert!((MAX_LEN - 8..=MAX_LEN).contains(&said.len()), "{}", said.len());
            let read: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!(read["session"], 7);
        }
        let said = of_server(7, "short").in_one_piece(Format::Human, as_server(7));
        assert_eq!(said.as_deref(), Some("[server of session 7] short\n"));
    }

    /// Both go to one pipe, which is full most of the time.
    #[test]
    fn no_record_comes_within_what_a_server_says() {
        const TIMES: usize = 20;
        let (reader, writer) = std::io::pipe().unwrap();
        let output = Arc::new(Output::new(File::from(std::os::fd::OwnedFd::from(writer))));
        // In pieces of 4096 octets, the second one would begin with what is forged.
        let text = forged(&"x".repeat(MAX_LEN - "[server of session 7] ".len()));
        let audit = Arc::clone(&output);
        let noticed = std::thread::spawn(move || {
            for _ in 0..TIMES {
                let notice = of_server(7, &text).in_one_piece(Format::Human, as_server(7));
                write(&output, &notice.unwrap());
            }
        });
        let record = format!(r#"{{"event":"real","name":"{}"}}"#, "r".repeat(4000));
        let recorded = std::thread::spawn(move || {
            while !noticed.is_finished() {
                audit.try_write(format!("{record}\n").as_bytes()).unwrap();
            }
            record
        });
        let lines = BufReader::with_capacity(MAX_LEN, reader).lines();
        let lines: Vec<String> = lines.inspect(|_| std::thread::yield_now()).flatten().collect();
        let record = recorded.join().unwrap();
        let notices: Vec<_> = lines.iter().filter(|line| **line != record).collect();
        assert!(notices.len() < lines.len());
        assert!(notices.iter().all(|line| line.starts_with("[server of session 7] x")));
        assert!(notices.iter().all(|line| line.ends_with('…')));
        assert_eq!(notices.len(), TIMES);
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
