//! The journal: every event as one line of JSON, each line bound to the one before it.
//!
//! A line is a [`Record`] with one member more, `hash`: SHA-256 of the line without that member. The
//! next record repeats it as `previous`. So nothing can be changed, removed or put in between without
//! breaking the chain, except by somebody who writes everything after it anew; comparing the head
//! (sequence number and hash) with a copy kept elsewhere finds that too.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::consequences;
use crate::file::{FileError, parent, sync_directory};
use crate::record::{Actor, Event};
use crate::store::{Store, StoreError};
use crate::text;

/// What `previous` says in the first record.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// `,"hash":"`, 64 digits, `"}`.
const HASH_MEMBER_LEN: usize = 9 + 64 + 2;

/// How much of the journal's end is read first when it is opened.
const TAIL_LEN: u64 = 64 * 1024;

pub(crate) const HEAD: &str = "head";
pub(crate) const AUDIT: &str = "audit/";

/// The store's key of a record; the digits keep the order.
pub(crate) fn audit_key(sequence: u64) -> String {
    format!("{AUDIT}{sequence:020}")
}

/// One line of the journal, without its hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// 1, 2, 3 …
    pub sequence: u64,
    /// When it happened.
    #[serde(with = "text::instant")]
    pub at: UnixTime,
    /// The hash of the record before.
    pub previous: String,
    /// Who did it.
    #[serde(with = "text::as_text")]
    pub by: Actor,
    /// What happened.
    pub event: Event,
}

/// The latest record: where the chain goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Head {
    /// How many records there are.
    pub sequence: u64,
    /// The hash of the latest.
    pub hash: String,
}

impl Head {
    /// After a record with this number and hash.
    #[must_use]
    pub fn new(sequence: u64, hash: String) -> Self {
        Self { sequence, hash }
    }

    /// Of a journal without records.
    #[must_use]
    pub fn beginning() -> Self {
        Self { sequence: 0, hash: BEGINNING.to_owned() }
    }
}

impl Record {
    /// The line without its line break, and its hash.
    pub(crate) fn to_line(&self) -> Result<(String, String), StoreError> {
        let mut line =
            serde_json::to_string(self).map_err(|error| StoreError::Failed(error.into()))?;
        let hash = text::sha256(line.as_bytes());
        // In place of the closing brace: the hash as the last member.
        line.pop();
        line.push_str(&format!(",\"hash\":\"{hash}\"}}"));
        Ok((line, hash))
    }

    /// Reads a line and checks its hash; `None` if it was not written so.
    #[must_use]
    pub fn from_line(line: &str) -> Option<(Self, String)> {
        let (body, tail) = line.split_at_checked(line.len().checked_sub(HASH_MEMBER_LEN)?)?;
        let hash = tail.strip_prefix(",\"hash\":\"")?.strip_suffix("\"}")?;
        if text::sha256(format!("{body}}}").as_bytes()) != hash {
            return None;
        }
        Some((serde_json::from_str(line).ok()?, hash.to_owned()))
    }
}

/// What is wrong with the journal.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("{0}")]
    File(#[from] FileError),
    /// The store cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The last line is not a record.
    #[error("the last line of {} is not a record of this CA", .0.display())]
    Damaged(PathBuf),
    /// The journal holds acknowledged records that the store does not hold.
    #[error(
        "the journal {} ends at record {journal}, the store already at {store}: the store has lost acknowledged records", path.display()
    )]
    Ahead {
        /// Which file.
        path: PathBuf,
        /// The journal's last record.
        journal: u64,
        /// The store's last record.
        store: u64,
    },
    /// The journal and the store tell different stories.
    #[error("the journal {} and the store disagree about record {sequence}", path.display())]
    Disagrees {
        /// Which file.
        path: PathBuf,
        /// Which record.
        sequence: u64,
    },
}

impl JournalError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(_) => None,
            Self::Store(error) => error.hint(),
            Self::Damaged(_) | Self::Disagrees { .. } => Some(
                "vouchsafe audit --verify names the first bad line; put the home back from a backup",
            ),
            Self::Ahead { .. } => Some(
                "put the store back from a backup that is as new as the journal; going on would forget what was acknowledged, revocations among it",
            ),
        }
    }
}

/// What was mended when the journal was opened. Nothing of it was ever acknowledged wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Mended {
    /// Octets of an unfinished last line that were cut off.
    pub cut: u64,
    /// Records that were in the store and not yet in the journal.
    pub appended: u64,
}

impl Mended {
    /// Whether everything was in order.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal and brings it level with the store.
    pub(crate) fn open(
        path: &Path,
        store: &dyn Store,
        head: &Head,
    ) -> Result<(Self, Mended), JournalError> {
        let existed = path.exists();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(FileError::writing(path))?;
        if !existed {
            sync_directory(parent(path))?;
        }
        let mut journal = Self { path: path.to_owned(), file };
        let mended = journal.draw_level(store, head)?;
        Ok((journal, mended))
    }

    fn draw_level(&mut self, store: &dyn Store, head: &Head) -> Result<Mended, JournalError> {
        let tail = read_tail(&mut self.file).map_err(FileError::reading(&self.path))?;
        if tail.torn > 0 {
            self.file.set_len(tail.complete).map_err(FileError::writing(&self.path))?;
        }
        let last = match tail.last_line {
            None => Head::beginning(),
            Some(line) => self.last_record(&line, store, head)?,
        };
        let path = self.path.clone();
        let disagrees = |sequence| JournalError::Disagrees { path: path.clone(), sequence };
        let mut previous = last.hash;
        for sequence in last.sequence + 1..=head.sequence {
            let line = stored_line(store, sequence)?.ok_or_else(|| disagrees(sequence))?;
            let (record, hash) = Record::from_line(&line).ok_or_else(|| disagrees(sequence))?;
            if record.previous != previous || record.sequence != sequence {
                return Err(disagrees(sequence));
            }
            self.write(&line).map_err(FileError::writing(&self.path))?;
            previous = hash;
        }
        let mended = Mended { cut: tail.torn, appended: head.sequence - last.sequence };
        if !mended.is_nothing() {
            self.file.sync_data().map_err(FileError::writing(&self.path))?;
        }
        Ok(mended)
    }

    /// The journal's last record, which the store must hold as well.
    fn last_record(
        &self,
        line: &str,
        store: &dyn Store,
        head: &Head,
    ) -> Result<Head, JournalError> {
        let path = self.path.clone();
        let Some((record, hash)) = Record::from_line(line) else {
            return Err(JournalError::Damaged(path));
        };
        let sequence = record.sequence;
        if sequence > head.sequence {
            return Err(JournalError::Ahead { path, journal: sequence, store: head.sequence });
        }
        if stored_line(store, sequence)?.as_deref() != Some(line) {
            return Err(JournalError::Disagrees { path, sequence });
        }
        Ok(Head { sequence, hash })
    }

    /// Writes a line and waits until it is on disk.
    pub(crate) fn append(&mut self, line: &str) -> Result<(), JournalError> {
        self.write(line)
            .and_then(|()| self.file.sync_data())
            .map_err(FileError::writing(&self.path))?;
        Ok(())
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        // One write, so that a reader sees whole lines.
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

/// A record as the store holds it.
pub(crate) fn stored_line(store: &dyn Store, sequence: u64) -> Result<Option<String>, StoreError> {
    let key = audit_key(sequence);
    let value = store.get(&key)?;
    value.map(|value| String::from_utf8(value).map_err(|_| StoreError::Damaged { key })).transpose()
}

/// The store's head.
pub(crate) fn stored_head(store: &dyn Store) -> Result<Option<Head>, StoreError> {
    consequences::read(store, HEAD)
}

struct Tail {
    /// How long the file is up to its last line break.
    complete: u64,
    /// How much follows it.
    torn: u64,
    last_line: Option<String>,
}

/// Finds the last whole line without reading everything before it.
fn read_tail(file: &mut File) -> io::Result<Tail> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut window = TAIL_LEN;
    loop {
        let start = length.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut octets = Vec::new();
        file.take(length - start).read_to_end(&mut octets)?;
        let is_break = |octet: &u8| *octet == b'\n';
        let end = octets.iter().rposition(is_break);
        let line = octets.get(..end.unwrap_or_default()).unwrap_or_default();
        let begin = line.iter().rposition(is_break).map(|at| at + 1);
        if start > 0 && (end.is_none() || begin.is_none()) {
            window = window.saturating_mul(4);
            continue;
        }
        let Some(end) = end else { return Ok(Tail { complete: 0, torn: length, last_line: None }) };
        let complete = start + u64::try_from(end + 1).unwrap_or(u64::MAX);
        let line = line.get(begin.unwrap_or_default()..).unwrap_or_default();
        // Octets that are not UTF-8 are no record; saying so is the reader's part.
        let last_line = Some(String::from_utf8_lossy(line).into_owned());
        return Ok(Tail { complete, torn: length - complete, last_line });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vouchsafe_certs::Principal;

    use super::*;

    fn record() -> Record {
        Record {
            sequence: 7,
            at: UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)),
            previous: BEGINNING.to_owned(),
            by: Actor::Home,
            event: Event::Reinstated {
                principal: Principal::parse("spiffe://acme.example/a").unwrap(),
            },
        }
    }

    #[test]
    fn a_line_is_the_record_and_its_hash() {
        let (line, hash) = record().to_line().unwrap();
        let body = format!(
            r#"{{"sequence":7,"at":"2027-01-15T08:00:00Z","previous":"{BEGINNING}","by":"home","event":{{"type":"reinstated","principal":"spiffe://acme.example/a"}}"#
        );
        // What anybody can compute with jq and sha256sum.
        assert_eq!(line, format!("{body},\"hash\":\"{hash}\"}}"));
        assert_eq!(hash, text::sha256(format!("{body}}}").as_bytes()));
        assert_eq!(Record::from_line(&line), Some((record(), hash)));
    }

    #[test]
    fn a_line_with_another_octet_is_none() {
        let (line, _) = record().to_line().unwrap();
        for at in 0..line.len() {
            let mut octets = line.clone().into_bytes();
            octets[at] ^= 1;
            let changed = String::from_utf8(octets).unwrap();
            assert_eq!(Record::from_line(&changed), None, "{changed}");
        }
        assert_eq!(Record::from_line(""), None);
        assert_eq!(Record::from_line(&line[1..]), None);
        assert_eq!(Record::from_line(&format!("{line} ")), None);
    }

    #[test]
    fn the_last_line_is_found_however_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let long = "x".repeat(300_000);
        for (text, last, torn) in [
            ("", None, 0),
            ("torn", None, 4),
            ("one\n", Some("one"), 0),
            ("one\ntwo\nto", Some("two"), 2),
            (&format!("one\n{long}\n"), Some(long.as_str()), 0),
            (&format!("one\n{long}\n{long}"), Some(long.as_str()), 300_000),
            (&format!("{long}\none\n{long}"), Some("one"), 300_000),
        ] {
            crate::file::replace(&path, text.as_bytes(), crate::file::Access::Private).unwrap();
            let tail = read_tail(&mut File::open(&path).unwrap()).unwrap();
            assert_eq!((tail.last_line.as_deref(), tail.torn), (last, torn));
            assert_eq!(tail.complete + tail.torn, u64::try_from(text.len()).unwrap());
        }
    }
}
