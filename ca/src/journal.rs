//! The journal: one file, a record a line, synced before anybody gets an answer.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use thiserror::Error;

use crate::audit::{Head, Record, audit_key, stored_line};
use crate::batch::{Batch, MAX_BATCH};
use crate::consequences::RecordError;
use crate::file::{FileError, parent, sync_directory};
use crate::store::{Store, StoreError};

/// How much of the journal's end is searched, one after the other, for a record that the store has
/// too. Nearly always it is the last.
const SEARCHED: [u64; 3] = [64 * 1024, 16 * 1024 * 1024, u64::MAX];

/// What a file beside the journal ends in that keeps what was cut off it.
const CUT: &str = "cut";

/// What is wrong with the journal.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("{0}")]
    File(#[from] FileError),
    /// The store cannot be read or written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A line is not a record, and no crash explains it.
    #[error("{} has a line after record {after} that is not a record of this CA", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The last record before that line.
        after: u64,
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
            Self::Damaged { .. } | Self::Disagrees { .. } => Some(
                "vouchsafe audit --verify names the first bad line; from a copy of the journal that is whole: vouchsafe restore --journal FILE --replace",
            ),
        }
    }
}

/// What was mended when the ledger was opened. Nothing of it was ever acknowledged wrongly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Mended {
    /// Octets of unfinished lines that were cut off the journal, and are in `journal.cut` now.
    pub cut: u64,
    /// Records that were in the store and not yet in the journal.
    pub appended: u64,
    /// Records that were in the journal and not yet in the store, or no longer.
    pub restored: u64,
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
    /// Opens the file, and makes it if need be.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
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
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes lines and waits until they are on disk.
    pub(crate) fn append(&mut self, lines: &str) -> Result<(), JournalError> {
        let file = &mut self.file;
        let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
        Ok(written.map_err(FileError::writing(&self.path))?)
    }

    /// Brings journal and store level: each gets what only the other has. A crash leaves one of them
    /// behind, for both are written at the same time; a store put back from a backup is behind as well.
    pub(crate) fn draw_level(
        &mut self,
        store: &dyn Store,
        stored: &Head,
    ) -> Result<(Head, Mended), JournalError> {
        let common = self.common(store, stored)?;
        let next = common.head.sequence + 1;
        if next <= stored.sequence && stored_line(store, next)?.is_none() {
            return Err(StoreError::Damaged { key: audit_key(next) }.into());
        }
        let (head, end) = self.restore(store, &common, stored)?;
        let cut = self.cut(store, end, head.sequence)?;
        let appended = self.append_stored(store, &common.head, stored)?;
        let restored = head.sequence.saturating_sub(stored.sequence);
        Ok((head, Mended { cut, appended, restored }))
    }

    /// The last record that both have.
    fn common(&self, store: &dyn Store, stored: &Head) -> Result<Place, JournalError> {
        for searched in SEARCHED {
            let mut lines = Lines::of_tail(&self.path, searched)?;
            let mut found = None;
            while let Some(line) = lines.next()? {
                let Some((record, hash)) = line.record() else { continue };
                let sequence = record.sequence;
                if sequence <= stored.sequence && line.is(stored_line(store, sequence)?) {
                    found = Some(Place { head: Head { sequence, hash }, end: lines.position });
                }
            }
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Ok(Place { head: Head::beginning(), end: 0 })
    }

    /// Puts into the store what only the journal has. Says which record is the latest now, and where
    /// the journal goes on with something that is no record.
    fn restore(
        &self,
        store: &dyn Store,
        common: &Place,
        stored: &Head,
    ) -> Result<(Head, u64), JournalError> {
        let mut lines = Lines::from(&self.path, common.end)?;
        let (mut head, mut end) = (stored.clone(), common.end);
        loop {
            let mut batch = Batch::new(store, &head);
            let is_full = self.fill(&mut batch, &mut lines, &mut end)?;
            if batch.is_empty() {
                return Ok((head, end));
            }
            let prepared = batch.finish()?;
            store.replace(&prepared.changes)?;
            head = prepared.head;
            if !is_full {
                return Ok((head, end));
            }
        }
    }

    /// Says whether there may be more.
    fn fill(
        &self,
        batch: &mut Batch<'_>,
        lines: &mut Lines,
        end: &mut u64,
    ) -> Result<bool, JournalError> {
        while batch.len() < MAX_BATCH {
            let Some(line) = lines.next()? else { return Ok(false) };
            let Some((record, hash)) = line.record() else { return Ok(false) };
            let disagrees =
                JournalError::Disagrees { path: self.path.clone(), sequence: record.sequence };
            if !batch.head().is_followed_by(&record) {
                return Err(disagrees);
            }
            match batch.append(&record, &line.text(), hash) {
                Ok(()) => *end = lines.position,
                Err(RecordError::Refused(_)) => return Err(disagrees),
                Err(RecordError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Takes off what a crash has left behind the last record, and keeps it in a file of its own.
    fn cut(&mut self, store: &dyn Store, end: u64, after: u64) -> Result<u64, JournalError> {
        let mut lines = Lines::from(&self.path, end)?;
        while let Some(line) = lines.next()? {
            // Pages of one write may reach the disk in any order. But a whole record that the store has not
            // may be one that somebody was told of, and what lies before it a damage of another kind.
            let is_stored = match line.record() {
                Some((record, _)) => line.is(stored_line(store, record.sequence)?),
                None => false,
            };
            if !is_stored && !line.is_remains() {
                return Err(JournalError::Damaged { path: self.path.clone(), after });
            }
        }
        let length = lines.length - end;
        if length > 0 {
            self.set_aside(end)?;
            let cut = self.file.set_len(end).and_then(|()| self.file.sync_data());
            cut.map_err(FileError::writing(&self.path))?;
        }
        Ok(length)
    }

    /// Nothing of a journal is ever deleted.
    fn set_aside(&mut self, from: u64) -> Result<(), JournalError> {
        self.file.seek(SeekFrom::Start(from)).map_err(FileError::reading(&self.path))?;
        let Self { path, mut file } = Self::open(&self.path.with_extension(CUT))?;
        let kept = io::copy(&mut self.file, &mut file).and_then(|_| file.sync_data());
        Ok(kept.map_err(FileError::writing(&path))?)
    }

    /// Adds what only the store has.
    fn append_stored(
        &mut self,
        store: &dyn Store,
        common: &Head,
        stored: &Head,
    ) -> Result<u64, JournalError> {
        let path = self.path.clone();
        let disagrees = |sequence| JournalError::Disagrees { path: path.clone(), sequence };
        let mut last = common.clone();
        while last.sequence < stored.sequence {
            let sequence = last.sequence + 1;
            let line = stored_line(store, sequence)?.ok_or_else(|| disagrees(sequence))?;
            let (record, hash) = Record::from_line(&line).ok_or_else(|| disagrees(sequence))?;
            if !last.is_followed_by(&record) {
                return Err(disagrees(sequence));
            }
            self.file
                .write_all(format!("{line}\n").as_bytes())
                .map_err(FileError::writing(&self.path))?;
            last = Head { sequence, hash };
        }
        if last != *common {
            self.file.sync_data().map_err(FileError::writing(&self.path))?;
        }
        Ok(last.sequence - common.sequence)
    }
}

/// A record, and where its line ends.
struct Place {
    head: Head,
    end: u64,
}

/// The lines of a journal from some place on, read one after the other.
pub(crate) struct Lines {
    path: PathBuf,
    reader: io::Take<BufReader<File>>,
    /// Where the next line begins.
    pub(crate) position: u64,
    /// How long the file was when it was opened.
    length: u64,
}

/// One line, without its line break.
pub(crate) struct Line {
    octets: Vec<u8>,
    /// Whether it has a line break.
    is_finished: bool,
}

impl Lines {
    /// From the beginning of a line on.
    pub(crate) fn from(path: &Path, position: u64) -> Result<Self, FileError> {
        let open = || {
            let mut file = File::open(path)?;
            let length = file.seek(SeekFrom::End(0))?;
            file.seek(SeekFrom::Start(position))?;
            let reader = BufReader::new(file).take(length.saturating_sub(position));
            Ok(Self { path: path.to_owned(), reader, position, length })
        };
        open().map_err(FileError::reading(path))
    }

    /// From the first line on that begins within the last so many octets.
    fn of_tail(path: &Path, length: u64) -> Result<Self, FileError> {
        let start = Self::from(path, 0)?.length.saturating_sub(length);
        let mut lines = Self::from(path, start.saturating_sub(1))?;
        if start > 0 {
            // The rest of the line before it, of which the line break may be all.
            lines.next()?;
        }
        Ok(lines)
    }

    pub(crate) fn next(&mut self) -> Result<Option<Line>, FileError> {
        let mut octets = Vec::new();
        let read = self.reader.read_until(b'\n', &mut octets);
        let read = read.map_err(FileError::reading(&self.path))?;
        self.position = self.position.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        let is_finished = octets.pop_if(|last| *last == b'\n').is_some();
        Ok((read > 0).then_some(Line { octets, is_finished }))
    }
}

impl Line {
    /// The record and its hash, if it is one.
    pub(crate) fn record(&self) -> Option<(Record, String)> {
        if !self.is_finished {
            return None;
        }
        Record::from_line(std::str::from_utf8(&self.octets).ok()?)
    }

    /// What it says; what is not UTF-8 is no record.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.octets)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    fn has_zeros(&self) -> bool {
        self.octets.contains(&0)
    }

    /// Whether it is what a crash leaves of the record after that one.
    pub(crate) fn is_remains_after(&self, sequence: u64) -> bool {
        self.is_remains() && (self.has_zeros() || self.begins_like_the_one_after(sequence))
    }

    /// Whether it is the record after that one, cut off somewhere, and nothing else: no octet of it was
    /// altered, as a line break would be that is none any more, and what it once ended would be in here.
    pub(crate) fn is_beginning_after(&self, sequence: u64) -> bool {
        let is_cut_off = || match serde_json::from_slice::<IgnoredAny>(&self.octets) {
            Ok(_) => self.octets.ends_with(b"}"),
            Err(error) => error.is_eof(),
        };
        !self.is_finished && self.begins_like_the_one_after(sequence) && is_cut_off()
    }

    fn begins_like_the_one_after(&self, sequence: u64) -> bool {
        let next = format!("{{\"sequence\":{},\"at\":\"", sequence.saturating_add(1));
        self.text().starts_with(&next) || next.starts_with(&*self.text())
    }

    pub(crate) fn is(&self, stored: Option<String>) -> bool {
        stored.is_some_and(|stored| stored.as_bytes() == self.octets)
    }

    /// Whether a crash can have left it: the write was cut off, or pages of it never reached the disk
    /// and read as zeros, which JSON does not hold.
    fn is_remains(&self) -> bool {
        !self.is_finished || self.has_zeros()
    }
}
