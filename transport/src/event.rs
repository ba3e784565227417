//! Audit events: one JSON line for every decision, written before the decision is carried out.
//! What merely followed from a decision, an answer and how long it took or the end of a session, is
//! written along with the next one, or a moment later.
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
use rustls_pki_types::UnixTime;
use serde_json::value::{RawValue, to_raw_value};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// POSIX: so much can be written to a pipe that is ready without blocking, and in one piece.
const MAX_LINE: usize = 4096;

/// How often a pipe that is full is looked at again.
const RETRY: Duration = Duration::from_millis(5);

/// One line of the audit. Fields that do not apply are left out.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Event<'a> {
    /// `opened`, `refused`, `allowed`, `denied`, `limited`, `answered`, `redacted`, `cut`, `closed`.
    pub event: &'static str,
    /// Which session, counted from the start of the process.
    pub session: Option<u64>,
    /// Who, from the verified certificate.
    pub principal: Option<&'a RawValue>,
    /// The certificate's serial number, hexadecimal.
    pub serial: Option<&'a RawValue>,
    /// Where from. Never what an authorization rests on.
    pub address: Option<SocketAddr>,
    /// The JSON-RPC method.
    pub method: Option<&'a str>,
    /// The tool, prompt, resource or task.
    pub name: Option<&'a str>,
    /// Who sent the message that was judged: `client` or `server`.
    pub from: Option<&'static str>,
    /// Why it was refused, denied, cut or closed.
    pub reason: Option<&'a str>,
    /// The same as one word of a closed set ([`causes`](crate::causes)), for observers alone.
    pub cause: Option<&'static str>,
    /// From forwarding a request to its answer, microseconds.
    pub latency_us: Option<u64>,
    /// Whether the answer is a JSON-RPC error.
    pub error: Option<bool>,
    /// Requests allowed in the session.
    pub calls: Option<u64>,
    /// Lines of the server that were no messages and were dropped.
    pub junk: Option<u64>,
    /// Secrets that were taken out of what a server said.
    pub redacted: Option<u64>,
}

impl Event<'_> {
    /// Adds the event to `line` as JSON, with the time at which it is written. There are two of them
    /// to a call, so the keys are written as they are; serde would look for escapes in each of them.
    fn write(&self, at: Option<&RawValue>, line: &mut Vec<u8>) -> io::Result<()> {
        line.extend_from_slice(br#"{"at":"#);
        line.extend_from_slice(at.map_or(b"null", |at| at.get().as_bytes()));
        line.extend_from_slice(br#","event":""#);
        line.extend_from_slice(self.event.as_bytes());
        line.push(b'"');
        number(line, r#","session":"#, self.session)?;
        raw(line, r#","principal":"#, self.principal);
        raw(line, r#","serial":"#, self.serial);
        text(line, r#","address":"#, self.address.map(|address| address.to_string()).as_deref())?;
        text(line, r#","method":"#, self.method)?;
        text(line, r#","name":"#, self.name)?;
        text(line, r#","from":"#, self.from)?;
        text(line, r#","reason":"#, self.reason)?;
        number(line, r#","latency_us":"#, self.latency_us)?;
        if let Some(error) = self.error {
            line.extend_from_slice(if error { br#","error":true"# } else { br#","error":false"# });
        }
        number(line, r#","calls":"#, self.calls)?;
        number(line, r#","junk":"#, self.junk)?;
        number(line, r#","redacted":"#, self.redacted)?;
        line.push(b'}');
        Ok(())
    }
}

fn raw(line: &mut Vec<u8>, key: &str, value: Option<&RawValue>) {
    if let Some(value) = value {
        line.extend_from_slice(key.as_bytes());
        line.extend_from_slice(value.get().as_bytes());
    }
}

fn text(line: &mut Vec<u8>, key: &str, value: Option<&str>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    line.extend_from_slice(key.as_bytes());
    // Names are chosen by peers.
    Ok(serde_json::to_writer(line, value)?)
}

fn number(line: &mut Vec<u8>, key: &str, value: Option<u64>) -> io::Result<()> {
    let Some(value) = value else { return Ok(()) };
    line.extend_from_slice(key.as_bytes());
    Ok(serde_json::to_writer(line, &value)?)
}

/// A file, pipe or terminal that several write to, none of which may be held up by its reader.
#[derive(Debug)]
pub struct Output {
    file: Mutex<Whole<File>>,
    /// A regular file takes what it is given; a pipe or a terminal may be full.
    may_block: bool,
}

impl Output {
    /// To a file, a pipe or a terminal.
    #[must_use]
    pub fn new(file: File) -> Self {
        let may_block = !file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { file: Mutex::new(Whole { to: file, is_torn: false }), may_block }
    }

    /// Whether the lines could be written without waiting. At most 4096 octets can.
    ///
    /// # Errors
    /// Those of writing.
    pub fn try_write(&self, lines: &[u8]) -> io::Result<bool> {
        // Looking and writing are one act, so that nobody fills the pipe in between.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.may_block && !is_ready(&file.to)? {
            return Ok(false);
        }
        file.write(lines)?;
        Ok(true)
    }
}

/// Where lines are written, none of which may run into another.
#[derive(Debug)]
struct Whole<W> {
    to: W,
    /// The last of them is not whole: a disk was full, for instance.
    is_torn: bool,
}

impl<W: Write> Whole<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.to.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            let written = match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                written => written?,
            };
            let (done, left) = rest.split_at_checked(written).unwrap_or((rest, &[]));
            self.is_torn = !done.ends_with(b"\n");
            rest = left;
        }
        Ok(())
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

/// Hears of every event, where it happens: so it must neither wait nor take long. Of what is allowed or
/// denied it hears once that is on record.
pub type Observer = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// The audit of one gateway.
pub struct EventLog {
    output: Arc<Output>,
    pages: Mutex<Pages>,
    clock: Arc<dyn TimeProvider>,
    observers: Vec<Observer>,
}

/// What is on its way to the output.
#[derive(Default)]
struct Pages {
    /// What goes along with the next line.
    noted: Vec<u8>,
    /// The present second and its JSON text, which many events share.
    second: u64,
    at: Option<Box<RawValue>>,
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
        Self { output, pages: Mutex::default(), clock, observers: Vec::new() }
    }

    /// Tells somebody else as well.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observers.push(observer);
        self
    }

    /// The present time, if the clock can be read.
    pub(crate) fn now(&self) -> Option<UnixTime> {
        self.clock.current_time()
    }

    /// Takes note of an event that decides nothing; it reaches the system with the next one that
    /// does, or at the next [`EventLog::flush`].
    ///
    /// # Errors
    /// [`NoRecord`] as for [`EventLog::record`], if the notes have to be written first.
    pub async fn note(&self, event: &Event<'_>) -> Result<(), NoRecord> {
        self.until(|| self.try_note(event)).await?;
        self.observe(event);
        Ok(())
    }

    /// Writes what has been noted.
    ///
    /// # Errors
    /// [`NoRecord`] as for [`EventLog::record`].
    pub async fn flush(&self) -> Result<(), NoRecord> {
        self.until(|| self.pages().write_out(&self.output)).await
    }

    /// Writes one event. When this returns, the operating system has it.
    ///
    /// # Errors
    /// [`NoRecord`] if it has not; whatever was to be recorded must then not happen.
    pub async fn record(&self, event: &Event<'_>) -> Result<(), NoRecord> {
        self.until(|| self.try_record(event)).await?;
        self.observe(event);
        Ok(())
    }

    /// Writes what has happened already, and would not be undone for want of a record.
    pub(crate) async fn conclude(&self, event: &Event<'_>) {
        drop(self.until(|| self.try_record(event)).await);
        self.observe(event);
    }

    /// Tells the observers of an event that is written elsewhere, or counted.
    pub(crate) fn observe(&self, event: &Event<'_>) {
        for observer in &self.observers {
            observer(event);
        }
    }

    async fn until(&self, mut done: impl FnMut() -> io::Result<bool>) -> Result<(), NoRecord> {
        while !done()? {
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    /// Whether the event could be noted without waiting.
    fn try_note(&self, event: &Event<'_>) -> io::Result<bool> {
        Ok(self.pages().enter(event, &*self.clock, &self.output)?.is_some())
    }

    /// Whether the event, and what was noted before it, could be written without waiting.
    fn try_record(&self, event: &Event<'_>) -> io::Result<bool> {
        let mut pages = self.pages();
        let Some(start) = pages.enter(event, &*self.clock, &self.output)? else {
            return Ok(false);
        };
        let written = pages.write_out(&self.output);
        if !matches!(written, Ok(true)) {
            // What was noted before stays noted; the line is its sender's to try again.
            pages.noted.truncate(start);
        }
        written
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Adds an event's line to the notes, and says where it starts; `None` if the notes have to be
    /// written first, and cannot be without waiting.
    fn enter(
        &mut self,
        event: &Event<'_>,
        clock: &dyn TimeProvider,
        output: &Output,
    ) -> io::Result<Option<usize>> {
        let start = self.noted.len();
        self.look_at(clock);
        if let Err(error) = self.add_line(event) {
            self.noted.truncate(start);
            return Err(error);
        }
        if self.noted.len() <= MAX_LINE {
            return Ok(Some(start));
        }
        let line = self.noted.split_off(start);
        if !self.write_out(output)? {
            return Ok(None);
        }
        self.noted = line;
        Ok(Some(0))
    }

    fn add_line(&mut self, event: &Event<'_>) -> io::Result<()> {
        let start = self.noted.len();
        let at = self.at.as_deref();
        event.write(at, &mut self.noted)?;
        if self.noted.len() - start >= MAX_LINE {
            // What the peer chose gives way; who, when and what was decided does not.
            self.noted.truncate(start);
            let event = Event { method: None, name: None, ..event.clone() };
            event.write(at, &mut self.noted)?;
        }
        self.noted.push(b'\n');
        Ok(())
    }

    /// Whether all that was noted could be written without waiting.
    fn write_out(&mut self, output: &Output) -> io::Result<bool> {
        let written = self.noted.is_empty() || output.try_write(&self.noted)?;
        if written {
            self.noted.clear();
        }
        Ok(written)
    }

    /// Takes the time of the clock, RFC 3339 in UTC.
    fn look_at(&mut self, clock: &dyn TimeProvider) {
        let second = clock.current_time().map_or(0, |now| now.as_secs());
        if self.second != second || self.at.is_none() {
            self.second = second;
            self.at = Some(as_json(&in_words(second)));
        }
    }
}

/// A text as JSON, written once for the many events that name it.
pub(crate) fn as_json(text: &str) -> Box<RawValue> {
    to_raw_value(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn in_words(seconds: u64) -> String {
    let at =
        i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_line_holds_what_applies_and_nothing_else() {
        let (at, principal, serial) = (as_json("now"), as_json("spiffe://a/b"), as_json("0a"));
        let mut line = Vec::new();
        Event { event: "opened", ..Event::default() }.write(Some(&at), &mut line).unwrap();
        assert_eq!(line, br#"{"at":"now","event":"opened"}"#);
        let event = Event {
            event: "closed",
            session: Some(7),
            principal: Some(&principal),
            serial: Some(&serial),
            address: Some(([127, 0, 0, 1], 8443).into()),
            method: Some("tools/call"),
            name: Some("echo"),
            from: Some("client"),
            reason: Some("why"),
            cause: Some("a_word"),
            latency_us: Some(12),
            error: Some(false),
            calls: Some(3),
            junk: Some(1),
            redacted: Some(2),
        };
        let mut line = Vec::new();
        event.write(Some(&at), &mut line).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&line).unwrap(),
            json!({
                "at": "now", "event": "closed", "session": 7, "principal": "spiffe://a/b", "serial": "0a",
                "address": "127.0.0.1:8443", "method": "tools/call", "name": "echo", "from": "client",
                "reason": "why", "latency_us": 12, "error": false, "calls": 3, "junk": 1, "redacted": 2,
            })
        );
    }

    /// A disk that is full from time to time, and room on it again after each failure.
    struct Disk {
        octets: Vec<u8>,
        left: usize,
    }

    impl Write for Disk {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if self.left == 0 {
                self.left = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = octets.len().min(self.left);
            self.octets.extend_from_slice(&octets[..taken]);
            self.left -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_tears_does_not_swallow_the_next_line() {
        for (left, read) in [
            (2, "first\nse\nthird\n"),
            // What is whole needs nothing, nor does what never began.
            (7, "first\nsecond\nthird\n"),
            (0, "first\nthird\n"),
        ] {
            let to = Disk { octets: Vec::new(), left: usize::MAX };
            let mut output = Whole { to, is_torn: false };
            output.write(b"first\n").unwrap();
            output.to.left = left;
            assert_eq!(output.write(b"second\n").is_ok(), left == 7);
            output.to.left = usize::MAX;
            output.write(b"third\n").unwrap();
            assert_eq!(String::from_utf8(output.to.octets).unwrap(), read);
        }
    }

    proptest! {
        /// Whatever a peer calls its methods and tools, it is one line, and the same to whoever reads it.
        #[test]
        fn names_are_escaped(method in any::<String>(), name in any::<String>()) {
            let event = Event { method: Some(&method), name: Some(&name), ..Event::default() };
            let mut line = Vec::new();
            event.write(None, &mut line).unwrap();
            let read: Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!((&read["method"], &read["name"]), (&method.into(), &name.into()));
            prop_assert!(!line.contains(&b'\n'));
        }
    }
}
