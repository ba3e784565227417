//! Audit events: one JSON line for every decision, written before the decision is carried out.
//!
//! The line is written by the thread that decides, so that no queue stands between a call and its
//! record. A reader of the log that stalls holds up the calls, but never the judge: where a pipe is
//! full, the writer waits outside of the system call, and the session can still be cut.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::time_provider::TimeProvider;
use serde::Serialize;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// POSIX: so much can be written to a pipe that is ready without blocking, and in one piece.
const MAX_LINE: usize = 4096;

/// How often a pipe that is full is looked at again.
const RETRY: Duration = Duration::from_millis(5);

/// One line of the audit. Fields that do not apply are left out.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Event<'a> {
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

#[derive(Serialize)]
struct Line<'a> {
    at: &'a str,
    #[serde(flatten)]
    event: &'a Event<'a>,
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
    output: Mutex<Output>,
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
        Self { output: Mutex::new(output), clock }
    }

    /// Writes one event. When this returns, the operating system has it.
    ///
    /// # Errors
    /// [`NoRecord`] if it has not; whatever was to be recorded must then not happen.
    pub async fn record(&self, event: Event<'_>) -> Result<(), NoRecord> {
        let line = self.line(event)?;
        while !self.write(&line)? {
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    fn line(&self, event: Event<'_>) -> io::Result<Vec<u8>> {
        let at = self.now();
        let mut line = serde_json::to_vec(&Line { at: &at, event: &event })?;
        if line.len() >= MAX_LINE {
            // What the peer chose gives way; who, when and what was decided does not.
            let event = Event { method: None, name: None, ..event };
            line = serde_json::to_vec(&Line { at: &at, event: &event })?;
        }
        line.push(b'\n');
        Ok(line)
    }

    fn now(&self) -> String {
        let seconds = self.clock.current_time().and_then(|now| i64::try_from(now.as_secs()).ok());
        let at = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
    }

    /// Whether the line could be written without waiting.
    fn write(&self, line: &[u8]) -> io::Result<bool> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *output {
            Output::File(file) => write_if_ready(file, line),
            Output::Stderr => write_if_ready(&mut io::stderr(), line),
        }
    }
}

/// A regular file is always ready; a pipe or a terminal may be full.
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
