//! Is the history whole? Reads everything, changes nothing.
//!
//! Three things are compared: each line of the journal with its hash and with the line before, the
//! journal with the store's copy of it, and the store's records with what follows from the journal:
//! they are derived once more, from the first event on, in a store of their own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

use thiserror::Error;

use crate::audit::{AUDIT, HEAD, Head, JournalError, Record, stored_head, stored_line};
use crate::consequences::{Occurrence, RecordError, consequences};
use crate::file::FileError;
use crate::refusal::Refusal;
use crate::store::{SledStore, Store, StoreError};

/// The first thing found wrong. Lines count from 1 and are what the sequence numbers should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Finding {
    /// Altered, or never a record.
    #[error("line {line} of the journal has been altered: its hash is not that of its text")]
    Altered {
        /// Which line.
        line: u64,
    },
    /// A line is missing, repeated or out of order.
    #[error(
        "line {line} of the journal is record {found}: records are missing, repeated or out of order"
    )]
    OutOfOrder {
        /// Which line.
        line: u64,
        /// Which record stands there.
        found: u64,
    },
    /// The chain is broken.
    #[error("line {line} of the journal does not continue the line before it")]
    Broken {
        /// Which line.
        line: u64,
    },
    /// The file ends within a line that is not the beginning of the store's latest record.
    #[error("line {line} of the journal has no end, and no interrupted command explains it")]
    Unfinished {
        /// Which line.
        line: u64,
    },
    /// What it says cannot have happened then.
    #[error("line {line} of the journal says what cannot have happened: {why}")]
    Impossible {
        /// Which line.
        line: u64,
        /// Why not.
        why: Refusal,
    },
    /// The journal is shorter than the store.
    #[error("the journal ends at record {journal}, the store goes on to record {store}")]
    JournalBehind {
        /// The journal's last record.
        journal: u64,
        /// The store's last record.
        store: u64,
    },
    /// The store is shorter than the journal.
    #[error(
        "the store ends at record {store}, the journal goes on to record {journal}: the store has lost acknowledged records"
    )]
    StoreBehind {
        /// The journal's last record.
        journal: u64,
        /// The store's last record.
        store: u64,
    },
    /// The store has another record.
    #[error(
        "record {sequence} reads otherwise in the store than in the journal, or is missing there"
    )]
    StoreDiffers {
        /// Which record.
        sequence: u64,
    },
    /// The store's head is not the journal's.
    #[error("the store's head is not the hash of record {sequence}")]
    HeadDiffers {
        /// Which record.
        sequence: u64,
    },
    /// Something in the store does not follow from the journal.
    #[error("the store's record {key} is not what follows from the journal")]
    NotDerived {
        /// Which key.
        key: String,
    },
}

/// A history in which nothing is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Whole {
    /// The latest record.
    pub head: Head,
    /// The latest command was interrupted after the store and before the journal had its record; the
    /// next command that opens the home completes the journal.
    pub interrupted: bool,
}

/// Reads the whole history.
///
/// # Errors
/// If a file or the store cannot be read. What is found is no error but the inner result.
pub fn verify(journal: &Path, store: &dyn Store) -> Result<Result<Whole, Finding>, JournalError> {
    let replica = SledStore::temporary()?;
    let mut check = Check { store, replica, head: Head::beginning(), interrupted: false };
    match check.run(journal) {
        Ok(()) => Ok(Ok(Whole { head: check.head, interrupted: check.interrupted })),
        Err(Stop::Finding(finding)) => Ok(Err(finding)),
        Err(Stop::Error(error)) => Err(error),
    }
}

enum Stop {
    Finding(Finding),
    Error(JournalError),
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Finding(finding)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Error(error.into())
    }
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::Error(error.into())
    }
}

struct Check<'a> {
    store: &'a dyn Store,
    /// What follows from the lines read so far.
    replica: SledStore,
    /// The last line read.
    head: Head,
    /// Whether the last line came from the store.
    interrupted: bool,
}

impl Check<'_> {
    fn run(&mut self, journal: &Path) -> Result<(), Stop> {
        let file = File::open(journal).map_err(FileError::reading(journal))?;
        let mut reader = BufReader::new(file);
        let mut octets = Vec::new();
        loop {
            octets.clear();
            reader.read_until(b'\n', &mut octets).map_err(FileError::reading(journal))?;
            match octets.strip_suffix(b"\n") {
                Some(line) => self.line(line)?,
                None => break,
            }
        }
        self.finish(&octets)?;
        self.compare_heads()?;
        self.compare_records()
    }

    /// After a crash between the store and the journal, the journal lacks one record, or a part of it.
    fn finish(&mut self, torn: &[u8]) -> Result<(), Stop> {
        let line = self.head.sequence + 1;
        let latest = stored_head(self.store)?.is_some_and(|head| head.sequence == line);
        let stored = if latest { stored_line(self.store, line)? } else { None };
        match stored {
            Some(stored) if stored.as_bytes().starts_with(torn) => {
                self.interrupted = true;
                self.line(stored.as_bytes())
            }
            _ if torn.is_empty() => Ok(()),
            _ => Err(Finding::Unfinished { line }.into()),
        }
    }

    fn line(&mut self, octets: &[u8]) -> Result<(), Stop> {
        let line = self.head.sequence + 1;
        let text =
            std::str::from_utf8(octets).map_err(|_| Stop::from(Finding::Altered { line }))?;
        let (record, hash) = Record::from_line(text).ok_or(Finding::Altered { line })?;
        if record.sequence != line {
            return Err(Finding::OutOfOrder { line, found: record.sequence }.into());
        }
        if record.previous != self.head.hash {
            return Err(Finding::Broken { line }.into());
        }
        let stored = stored_line(self.store, line)?;
        if stored.as_deref().is_some_and(|stored| stored != text) {
            return Err(Finding::StoreDiffers { sequence: line }.into());
        }
        let occurrence = Occurrence { event: &record.event, at: record.at, sequence: line };
        match consequences(occurrence, &self.replica) {
            Ok(changes) => self.replica.replace(&changes)?,
            Err(RecordError::Refused(why)) => return Err(Finding::Impossible { line, why }.into()),
            Err(RecordError::Store(error)) => return Err(error.into()),
        }
        self.head = Head { sequence: line, hash };
        Ok(())
    }

    fn compare_heads(&self) -> Result<(), Stop> {
        let stored = stored_head(self.store)?.unwrap_or_else(Head::beginning);
        let (journal, store) = (self.head.sequence, stored.sequence);
        if journal < store {
            return Err(Finding::JournalBehind { journal, store }.into());
        }
        if journal > store {
            return Err(Finding::StoreBehind { journal, store }.into());
        }
        if stored.hash != self.head.hash {
            return Err(Finding::HeadDiffers { sequence: store }.into());
        }
        // Those that are there are the journal's; now also: none is missing, none too many.
        let copies = keys(self.store, |key| key.starts_with(AUDIT))?;
        let expected = (1..=journal).map(crate::audit::audit_key);
        match copies.iter().cloned().zip(expected).position(|(copy, key)| copy != key) {
            None if copies.len().try_into().is_ok_and(|count: u64| count == journal) => Ok(()),
            at => {
                let at = at.unwrap_or_else(|| copies.len().min(count_from(journal)));
                let sequence = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
                Err(Finding::StoreDiffers { sequence }.into())
            }
        }
    }

    fn compare_records(&self) -> Result<(), Stop> {
        let derived = |key: &str| key != HEAD && !key.starts_with(AUDIT);
        let mut keys_of_both = keys(self.store, derived)?;
        keys_of_both.extend(keys(&self.replica, derived)?);
        for key in keys_of_both {
            if self.store.get(&key)? != self.replica.get(&key)? {
                return Err(Finding::NotDerived { key }.into());
            }
        }
        Ok(())
    }
}

fn count_from(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn keys(store: &dyn Store, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, StoreError> {
    let mut keys = Vec::new();
    store.scan("", &mut |key, _| {
        if wanted(key) {
            keys.push(key.to_owned());
        }
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}
