//! Events that become one write, each judged by what is on disk and by those before it.

use rustls_pki_types::UnixTime;
use serde::Serialize;

use crate::audit::{BATCH, HEAD, Head, Record, audit_key};
use crate::consequences::{Occurrence, RecordError, caller, consequences};
use crate::record::{Actor, Event};
use crate::store::{Change, Overlay, Store, StoreError};

/// How many events share one write at most.
pub(crate) const MAX_BATCH: usize = 256;

/// Events that become one write.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    overlay: Overlay<'a>,
    /// The latest record on disk.
    before: &'a Head,
    /// The latest record of the batch.
    head: Head,
    /// One for each record.
    lines: String,
}

/// A batch as the store and the journal take it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) changes: Vec<Change>,
    pub(crate) lines: String,
    pub(crate) head: Head,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(store: &'a dyn Store, before: &'a Head) -> Self {
        Self { overlay: Overlay::new(store), before, head: before.clone(), lines: String::new() }
    }

    /// Adds what happened, if it may happen; the batch is otherwise as it was before.
    ///
    /// Whoever did it had a say when they asked. A revocation may have been recorded since, or stand before
    /// this in the batch. That is asked of what happens now alone: journals hold what nobody was asked about.
    pub(crate) fn add(&mut self, by: Actor, event: Event, at: UnixTime) -> Result<(), RecordError> {
        if let Actor::Holder(_, shown) = &by {
            caller(&self.overlay, shown)?;
        }
        let (sequence, previous) = (self.head.sequence + 1, self.head.hash.clone());
        let record = Record { sequence, at, previous, by, event };
        let (line, hash) = record.to_line()?;
        self.append(&record, &line, hash)
    }

    /// Adds a record that follows on the one before it.
    pub(crate) fn append(
        &mut self,
        record: &Record,
        line: &str,
        hash: String,
    ) -> Result<(), RecordError> {
        let Record { sequence, at, event, .. } = record;
        let occurrence = Occurrence { event, at: *at, sequence: *sequence };
        let mut changes = consequences(occurrence, &self.overlay)?;
        let (key, copy) = (audit_key(*sequence), line.as_bytes().to_vec());
        changes.push(Change { key, expected: None, new: Some(copy) });
        self.overlay.apply(changes)?;
        self.lines.push_str(line);
        self.lines.push('\n');
        self.head = Head { sequence: *sequence, hash };
        Ok(())
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.head.sequence - self.before.sequence).unwrap_or(usize::MAX)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The latest record, on disk or not.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Moves the head, and notes where the batch began. Every write moves the head, to where it never
    /// was before; so where the head is still what it was, so is everything that was read.
    pub(crate) fn finish(self) -> Result<Prepared, StoreError> {
        let expected = if self.before.sequence == 0 { None } else { Some(encode(self.before)?) };
        let head = Change { key: HEAD.to_owned(), expected, new: Some(encode(&self.head)?) };
        let first = encode(&(self.before.sequence + 1))?;
        let expected = self.overlay.get(BATCH)?;
        let batch = Change { key: BATCH.to_owned(), expected, new: Some(first) };
        self.overlay.apply(vec![head, batch])?;
        Ok(Prepared { changes: self.overlay.into_changes()?, lines: self.lines, head: self.head })
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Failed(error.into()))
}
