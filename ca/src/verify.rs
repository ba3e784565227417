//! Is the history whole? Reads everything, changes nothing.
//!
//! Three things are compared: each line of the journal with its hash and with the line before, the
//! journal with the store's copy of it, and the store's records with what follows from the journal:
//! they are derived once more, from the first event on, in a store of their own.

use std::ops::ControlFlow;
use std::path::Path;

use thiserror::Error;

use crate::audit::{AUDIT, BATCH, HEAD, Head, Record, audit_key, stored_head, stored_line};
use crate::batch::MAX_BATCH;
use crate::consequences::{self, Occurrence, RecordError, consequences};
use crate::file::FileError;
use crate::journal::{JournalError, Line, Lines};
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
    /// The file ends with something that is no record, and that no crash can have left.
    #[error("line {line} of the journal has no end, and no interruption explains it")]
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
        "the store ends at record {store}, the journal goes on to record {journal}: the store has lost acknowledged records, which opening the home puts back"
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
    /// The latest write was interrupted after one of the two had it; the next command that opens the
    /// home brings journal and store level.
    pub interrupted: bool,
}

/// Reads the whole history.
///
/// # Errors
/// If a file or the store cannot be read. What is found is no error but the inner result.
pub fn verify(journal: &Path, store: &dyn Store) -> Result<Result<Whole, Finding>, JournalError> {
    let stored = stored_head(store)?.unwrap_or_else(Head::beginning);
    let replica = SledStore::temporary()?;
    let head = Head::beginning();
    let mut check = Check { store, stored, replica, head, interrupted: false };
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
    /// The store's latest record.
    stored: Head,
    /// What follows from the lines read so far.
    replica: SledStore,
    /// The last line read.
    head: Head,
    /// Whether one of the two lacks the latest write.
    interrupted: bool,
}

impl Check<'_> {
    fn run(&mut self, journal: &Path) -> Result<(), Stop> {
        let mut lines = Lines::from(journal, 0)?;
        while let Some(line) = lines.next()? {
            // The journal ends here, in the middle of its latest write.
            if line.is_remains_after(self.head.sequence) {
                self.interrupted = true;
                break;
            }
            self.line(&line)?;
        }
        self.complete()?;
        self.compare_heads()
    }

    /// Of the latest write, the journal may lack what the store has.
    fn complete(&mut self) -> Result<(), Stop> {
        let (journal, store) = (self.head.sequence, self.stored.sequence);
        if journal >= store {
            return Ok(());
        }
        // Only what was written at the same time as the latest record can be missing.
        let first: Option<u64> = consequences::read(self.store, BATCH)?;
        if first.is_none_or(|first| journal + 1 < first) {
            return Err(Finding::JournalBehind { journal, store }.into());
        }
        self.interrupted = true;
        for sequence in journal + 1..=store {
            let copy = stored_line(self.store, sequence)?;
            let copy = copy.ok_or(Finding::StoreDiffers { sequence })?;
            self.record(&copy)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) -> Result<(), Stop> {
        let number = self.head.sequence + 1;
        if !line.is_finished() {
            return Err(Finding::Unfinished { line: number }.into());
        }
        self.record(&line.text())
    }

    fn record(&mut self, text: &str) -> Result<(), Stop> {
        let line = self.head.sequence + 1;
        let (record, hash) = Record::from_line(text).ok_or(Finding::Altered { line })?;
        if record.sequence != line {
            return Err(Finding::OutOfOrder { line, found: record.sequence }.into());
        }
        if !self.head.is_followed_by(&record) {
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
        if self.head.sequence == self.stored.sequence {
            self.compare_records()?;
        }
        Ok(())
    }

    fn compare_heads(&mut self) -> Result<(), Stop> {
        let (journal, store) = (self.head.sequence, self.stored.sequence);
        // A CA begins with a batch of one, so a store without a head is none that was interrupted.
        let lost = store == 0 && journal > 0;
        if lost || journal.saturating_sub(store) > count(MAX_BATCH) {
            return Err(Finding::StoreBehind { journal, store }.into());
        }
        self.interrupted |= journal > store;
        Ok(())
    }

    /// The store's records at its latest event, with those that follow from the journal up to there.
    fn compare_records(&self) -> Result<(), Stop> {
        let Head { sequence, hash } = &self.stored;
        if self.head.hash != *hash {
            return Err(Finding::HeadDiffers { sequence: *sequence }.into());
        }
        // Those that are there are the journal's; now also: none is missing, none too many.
        let copies = keys(self.store, |key| key.starts_with(AUDIT))?;
        let expected = (1..=*sequence).map(audit_key);
        let differs = copies.iter().cloned().zip(expected).position(|(copy, key)| copy != key);
        if differs.is_some() || count(copies.len()) != *sequence {
            let at = differs.map_or_else(|| count(copies.len()).min(*sequence), count);
            return Err(Finding::StoreDiffers { sequence: at.saturating_add(1) }.into());
        }
        let first: Option<u64> = consequences::read(self.store, BATCH)?;
        if first.is_none_or(|first| first > *sequence) {
            return Err(Finding::NotDerived { key: BATCH.to_owned() }.into());
        }
        self.compare_derived()
    }

    fn compare_derived(&self) -> Result<(), Stop> {
        let derived = |key: &str| key != HEAD && key != BATCH && !key.starts_with(AUDIT);
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

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
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
