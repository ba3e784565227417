//! Audit events: one JSON line for every decision, written before the decision is carried out.
//! What merely followed from a decision, an answer and how long it took, is written along with the
//! next one, or a moment later.
//!
//! The line is written by the thread that decides, so that no queue stands between a call and its
//! record. A reader of the log that stalls holds up the calls, but never the judge: where a pipe is
//! full, the writer waits outside of the system call, and the session can still be cut.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::time_provider::TimeProvider;
use serde::Serialize;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// POSIX: so much can be written to a pipe that is ready without blocking, and in one piece.
const MAX_LINE: usize = 4096;

/// Most lines are shorter.
const USUAL_LINE: usize = 384;

/// How often a pipe that is full is looked at again.
const RETRY: Duration = Duration::from_millis(5);

/// One line of the audit. Fields that do not apply are left out.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Event<'a> {
    /// When, RFC 3339 in UTC; set by the log.
    pub at: &'a str,
    /// `opened`, `refused`, `allowed`, `denied`, `answered`, `cut`, `closed`.
    pub event: &'static str,
    /// Which session, counted from the start of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Who, from the verified certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<&'a str>,
    /// The certificate's serial number, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<&'a str>,
    /// Where from. Never what an authorization rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The JSON-RPC method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// The tool, prompt, resource or task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Who sent the message that was judged: `client` or `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'static str>,
    /// Why it was refused, denied, cut or closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// From forwarding a request to its answer, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Whether the answer is a JSON-RPC error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<bool>,
    /// Requests allowed in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Lines of the server that were no messages and were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub junk: Option<u64>,
}

/// A file, pipe or terminal that several write to, none of which may be held up by its reader.
#[derive(Debug)]
pub struct Output {
    file: Mutex<File>,
    /// A regular file takes what it is given; a pipe or a terminal may be full.
    may_block: bool,
}

impl Output {
    /// To a file, a pipe or a terminal.
    #[must_use]
    pub fn new(file: File) -> Self {
        let may_block = !file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { file: Mutex::new(file), may_block }
    }

    /// Whether the lines could be written without waiting. At most 4096 octets can.
    ///
    /// # Errors
    /// Those of writing.
    pub fn try_write(&self, lines: &[u8]) -> io::Result<bool> {
        // Looking and writing are one act, so that nobody fills the pipe in between.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.may_block && !is_ready(&*file)? {
            return Ok(false);
        }
        file.write_all(lines)?;
        Ok(true)
    }
}

/// Whether a pipe or a terminal takes something at once.
fn is_ready(output: impl AsFd) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&output, PollFlags::OUT)], Some(&at_once)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// An event could not be written.
#[derive(Debug, Error)]
#[error("the audit record could not be written: {0}")]
pub struct NoRecord(#[from] io::Error);

/// The audit of one gateway.
pub struct EventLog {
    output: Arc<Output>,
    /// What goes along with the next line.
    noted: Mutex<Vec<u8>>,
    /// The text of the present second, which many events share.
    present: Mutex<(u64, String)>,
    clock: Arc<dyn TimeProvider>,
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventLog")
    }
}

impl EventLog {
    /// Writes to `output`, with the times of `clock`.
    #[must_use]
    pub fn new(output: Arc<Output>, clock: Arc<dyn TimeProvider>) -> Self {
        Self { output, noted: Mutex::default(), present: Mutex::default(), clock }
    }

    /// Takes note of an event that decides nothing; it reaches the system with the next one that
    /// does, or at the next [`EventLog::flush`].
    ///
    /// # Errors
    /// [`NoRecord`] as for [`EventLog::record`], if the notes have to be written first.
    pub async fn note(&self, event: Event<'_>) -> Result<(), NoRecord> {
        let line = self.line(event)?;
        {
            let mut noted = self.noted();
            if has_room_for(&noted, &line) {
                noted.extend_from_slice(&line);
                return Ok(());
            }
        }
        self.put(&line).await
    }

    /// Writes what has been noted.
    ///
    /// # Errors
    /// [`NoRecord`] as for [`EventLog::record`].
    pub async fn flush(&self) -> Result<(), NoRecord> {
        if self.noted().is_empty() {
            return Ok(());
        }
        self.put(&[]).await
    }

    /// Writes one event. When this returns, the operating system has it.
    ///
    /// # Errors
    /// [`NoRecord`] if it has not; whatever was to be recorded must then not happen.
    pub async fn record(&self, event: Event<'_>) -> Result<(), NoRecord> {
        let line = self.line(event)?;
        self.put(&line).await
    }

    async fn put(&self, line: &[u8]) -> Result<(), NoRecord> {
        while !self.write(line)? {
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    fn line(&self, event: Event<'_>) -> io::Result<Vec<u8>> {
        let at = self.now();
        let event = Event { at: &at, ..event };
        let mut line = Vec::with_capacity(USUAL_LINE);
        serde_json::to_writer(&mut line, &event)?;
        if line.len() >= MAX_LINE {
            // What the peer chose gives way; who, when and what was decided does not.
            line = serde_json::to_vec(&Event { method: None, name: None, ..event })?;
        }
        line.push(b'\n');
        Ok(line)
    }

    /// The time of the clock, RFC 3339 in UTC.
    fn now(&self) -> String {
        let seconds = self.clock.current_time().map_or(0, |now| now.as_secs());
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.0 != seconds {
            *present = (seconds, in_words(seconds));
        }
        present.1.clone()
    }

    fn noted(&self) -> MutexGuard<'_, Vec<u8>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the notes and the line could be written without waiting.
    fn write(&self, line: &[u8]) -> io::Result<bool> {
        let mut noted = self.noted();
        if !has_room_for(&noted, line) {
            if !self.output.try_write(&noted)? {
                return Ok(false);
            }
            noted.clear();
        }
        let before = noted.len();
        noted.extend_from_slice(line);
        let written = self.output.try_write(&noted)?;
        // What was not written now is noted still, but the line is its sender's to try again.
        noted.truncate(if written { 0 } else { before });
        Ok(written)
    }
}

/// What is written at once must fit into a pipe that is ready.
fn has_room_for(noted: &[u8], line: &[u8]) -> bool {
    noted.len() + line.len() <= MAX_LINE
}

fn in_words(seconds: u64) -> String {
    let at =
        i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
