//! Words for the operator on standard error, written by a thread of their own: whoever has something
//! to say, a judge of revocations above all, is never held up by a reader that has stalled.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use vouchsafe_transport::Output;

use crate::exit::Failure;

/// Notices that wait for a reader; further ones are lost.
const WAITING: usize = 256;

/// How often a pipe that is full is looked at again.
const RETRY: Duration = Duration::from_millis(20);

/// So much is written at once.
const PIECE: usize = 4096;

static STDERR: LazyLock<Arc<Output>> = LazyLock::new(|| Arc::new(Output::new(duplicate())));

static NOTICES: LazyLock<SyncSender<String>> = LazyLock::new(|| {
    let (sender, notices) = sync_channel(WAITING);
    std::thread::spawn(move || show(&notices));
    sender
});

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
    drop(NOTICES.try_send(format!("{text}\n")));
}

fn show(notices: &Receiver<String>) {
    for notice in notices {
        for piece in notice.as_bytes().chunks(PIECE) {
            while let Ok(false) = STDERR.try_write(piece) {
                std::thread::sleep(RETRY);
            }
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
}
