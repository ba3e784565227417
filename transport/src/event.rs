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

/// Where events go.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// To a file, appended.
    File(File),
    /// To standard error.
    Stderr,
}

/// An event could not be written.
#[derive(Debug, Error)]
#[error("the audit record could not be written: {0}")]
pub struct NoRecord(#[from] io::Error);

/// The audit of one gateway.
pub struct EventLog {
    output: Mutex<Writer>,
    /// A regular file takes what it is given; a pipe or a terminal may be full.
    may_block: bool,
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
    pub fn new(output: Output, clock: Arc<dyn TimeProvider>) -> Self {
        let may_block = match &output {
            Output::File(file) => !file.metadata().is_ok_and(|metadata| metadata.is_file()),
            Output::Stderr => true,
        };
        let writer = Writer { output, noted: Vec::new() };
        Self { output: Mutex::new(writer), may_block, clock }
    }

    /// Takes note of an event that decides nothing; it reaches the system with the next one that
    /// does, or at the next [`EventLog::flush`].
    ///
    /// # Errors
    /// [`NoRecord`] as for [`EventLog::record`], if the notes have to be written first.
    pub async fn note(&self, event: Event<'_>) -> Result<(), NoRecord> {
        let line = self.line(event)?;
        if self.lock().has_room_for(&line) {
            self.lock().noted.extend_from_slice(&line);
            return Ok(());
        }
        self.put(&line).await
    }

    /// Writes what has been noted.
    ///
    /// # Errors
    /// [`NoRecord`] as for [`EventLog::record`].
    pub async fn flush(&self) -> Result<(), NoRecord> {
        if self.lock().noted.is_empty() {
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

    fn now(&self) -> String {
        let seconds = self.clock.current_time().and_then(|now| i64::try_from(now.as_secs()).ok());
        let at = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the notes and the line could be written without waiting.
    fn write(&self, line: &[u8]) -> io::Result<bool> {
        let mut writer = self.lock();
        if !writer.has_room_for(line) {
            let notes = std::mem::take(&mut writer.noted);
            if !writer.output.write(&notes, self.may_block)? {
                writer.noted = notes;
                return Ok(false);
            }
        }
        let noted = writer.noted.len();
        writer.noted.extend_from_slice(line);
        let Writer { output, noted: lines } = &mut *writer;
        let written = output.write(lines, self.may_block)?;
        // What was not written now is noted still, but the line is its sender's to try again.
        lines.truncate(if written { 0 } else { noted });
        Ok(written)
    }
}

/// Where lines go, and those that wait to go along with the next.
#[derive(Debug)]
struct Writer {
    output: Output,
    noted: Vec<u8>,
}

impl Writer {
    /// What is written at once must fit into a pipe that is ready.
    fn has_room_for(&self, line: &[u8]) -> bool {
        self.noted.len() + line.len() <= MAX_LINE
    }
}

impl Output {
    /// Whether the lines could be written without waiting.
    fn write(&mut self, lines: &[u8], may_block: bool) -> io::Result<bool> {
        match self {
            Self::File(file) if !may_block => file.write_all(lines).map(|()| true),
            Self::File(file) => write_if_ready(file, lines),
            Self::Stderr => write_if_ready(&mut io::stderr(), lines),
        }
    }
}

/// Writes only what a pipe or a terminal takes at once.
fn write_if_ready(output: &mut (impl Write + AsFd), line: &[u8]) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(&*output, PollFlags::OUT)];
    let ready = match poll(&mut fds, Some(&at_once)) {
        Ok(ready) => ready > 0,
        Err(rustix::io::Errno::INTR) => false,
        Err(error) => return Err(error.into()),
    };
    if ready {
        output.write_all(line)?;
    }
    Ok(ready)
}
