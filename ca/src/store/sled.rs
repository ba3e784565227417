//! The embedded backend: sled 0.34.7, used so that it keeps what it promises.
//!
//! sled's own `flush` ends in `sync_file_range`, which is not durable: acknowledged writes were lost
//! in 72 of 100 simulated power losses. So every write here is batch → `flush` → `sync_data` on our
//! own handle of the same file, and only then an answer (0 of 420 lost). The other rules:
//!
//! - Any error or panic in between stops the store for good; it must be opened anew.
//! - Values that sled would move out of its log into `blobs/` are never synced by anybody. A node of
//!   the tree (up to 19 leaves or 256 separators) goes out of line beyond a quarter of a segment,
//!   128 KiB, so keys are short and longer values are cut into pieces.
//! - Never `flush_async` (it deadlocks under load), never `watch_prefix` (it blocks writers).
//! - sled may panic on a damaged file, so opening and reading are guarded. A store is never created
//!   where one should be, and one that was found damaged is not used any more.

mod opening;

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use self::opening::is_damage;
use super::damage::{self, does_not_open, guarded};
use super::{Change, Store, StoreError, refuse_beyond_limits};
use crate::file::{create_private_directory, sync_directory};

/// The longest value kept in one piece: 19 of them with their keys stay well under 128 KiB.
const PIECE_LEN: usize = 4 * 1024;

/// sled takes what it is given as a limit, not a reservation.
const CACHE_LEN: u64 = 128 * 1024 * 1024;

/// First octet of a sled key: the values themselves.
const VALUES: u8 = b'v';

/// First octet of a sled key: further pieces of long values.
const PIECES: u8 = b'p';

/// First octet of a stored value: all of it follows.
const WHOLE: u8 = 0;

/// First octet of a stored value: the number of its pieces follows, 32 bits, big-endian.
const IN_PIECES: u8 = 1;

/// A [`Store`] in one directory.
pub struct SledStore {
    /// None once it was dropped.
    db: Option<sled::Db>,
    /// Where it is, and our own handle of `db` there; none for a temporary store.
    place: Option<(PathBuf, File)>,
    /// One writer at a time; `true` once a write has failed.
    stopped: Mutex<bool>,
}

impl SledStore {
    /// In which nearly all of it is.
    pub(super) const FILE: &'static str = "db";

    /// Creates a store in a directory that does not exist yet.
    ///
    /// # Errors
    /// [`StoreError::DoesNotOpen`].
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        if directory.exists() {
            let taken = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(does_not_open(directory)(taken.into()));
        }
        create_private_directory(directory)
            .map_err(|error| does_not_open(directory)(error.into()))?;
        let store = Self::open_in(directory)?;
        // sled syncs neither its configuration nor its directories.
        let sync = || {
            for name in ["conf", Self::FILE] {
                File::open(directory.join(name))?.sync_all()?;
            }
            Ok(())
        };
        sync().map_err(|error: io::Error| does_not_open(directory)(error.into()))?;
        for directory in [directory.join("blobs").as_path(), directory] {
            sync_directory(directory).map_err(|error| does_not_open(directory)(error.into()))?;
        }
        Ok(store)
    }

    /// Opens the store in a directory, which must be there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none, [`StoreError::Corrupt`] if it is damaged, and
    /// [`StoreError::DoesNotOpen`] if it is in use, or there is no permission or no room.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        damage::refuse_unusable(directory, Self::FILE)?;
        Self::open_in(directory)
    }

    fn open_in(directory: &Path) -> Result<Self, StoreError> {
        // Without sled's own flusher: every write here is synced already, and twice a second a third sync
        // would come between, for which everybody who waits for theirs waits as well.
        let config =
            sled::Config::new().path(directory).cache_capacity(CACHE_LEN).flush_every_ms(None);
        let db = opening::open(directory, &config)?;
        let file = File::open(directory.join(Self::FILE))
            .map_err(|error| does_not_open(directory)(error.into()))?;
        Ok(Self {
            db: Some(db),
            place: Some((directory.to_owned(), file)),
            stopped: Mutex::new(false),
        })
    }

    /// A store that goes when it is dropped: for tests and for comparisons.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if there is no room for temporary files.
    pub fn temporary() -> Result<Self, StoreError> {
        let config = sled::Config::new().temporary(true).flush_every_ms(None);
        let db =
            opening::open_guarded(&config).map_err(|error| StoreError::Failed(error.into()))?;
        Ok(Self { db: Some(db), place: None, stopped: Mutex::new(false) })
    }

    fn db(&self) -> sled::Result<&sled::Db> {
        let dropped = || io::Error::from(io::ErrorKind::NotConnected).into();
        self.db.as_ref().ok_or_else(dropped)
    }

    /// Reads from sled.
    fn read<T>(&self, read: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        guarded(|| read(self.db()?)).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: sled::Error) -> StoreError {
        if !is_damage(&error) {
            return StoreError::Failed(error.into());
        }
        if let Some((directory, _)) = &self.place {
            damage::note(directory, &error.to_string());
        }
        StoreError::Corrupt { reason: error.into() }
    }

    /// Puts a value together again.
    fn assemble(&self, key: &str, stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Damaged { key: key.to_owned() };
        match stored.split_first().ok_or_else(damaged)? {
            (&WHOLE, value) => Ok(value.to_vec()),
            (&IN_PIECES, count) => {
                let count: [u8; 4] = count.try_into().map_err(|_| damaged())?;
                let mut value = Vec::new();
                for nth in 0..u32::from_be_bytes(count) {
                    let piece = self.read(|db| db.get(piece_key(key, nth)))?;
                    value.extend_from_slice(&piece.ok_or_else(damaged)?);
                }
                Ok(value)
            }
            _ => Err(damaged()),
        }
    }

    /// What must be written so that `change` happens; `None` if its condition does not hold.
    fn prepare(&self, change: &Change, batch: &mut sled::Batch) -> Result<bool, StoreError> {
        let stored = self.read(|db| db.get(value_key(&change.key)))?;
        let current =
            stored.as_ref().map(|stored| self.assemble(&change.key, stored)).transpose()?;
        if current != change.expected {
            return Ok(false);
        }
        if change.new == change.expected {
            return Ok(true);
        }
        for nth in 0..stored.as_deref().map_or(0, piece_count) {
            batch.remove(piece_key(&change.key, nth));
        }
        match &change.new {
            None => batch.remove(value_key(&change.key)),
            Some(value) if value.len() < PIECE_LEN => {
                batch.insert(value_key(&change.key), [&[WHOLE], value.as_slice()].concat());
            }
            Some(value) => {
                let mut count = 0_u32;
                for piece in value.chunks(PIECE_LEN) {
                    batch.insert(piece_key(&change.key, count), piece);
                    count += 1;
                }
                let head = [&[IN_PIECES], count.to_be_bytes().as_slice()].concat();
                batch.insert(value_key(&change.key), head);
            }
        }
        Ok(true)
    }

    fn commit(&self, batch: sled::Batch) -> Result<(), StoreError> {
        // A panic here is no damage: it ends the thread, and nothing more is written.
        let db = self.db().map_err(|error| self.failed(error))?;
        db.apply_batch(batch).map_err(|error| self.failed(error))?;
        if let Some((_, file)) = &self.place {
            db.flush().map_err(|error| self.failed(error))?;
            file.sync_data().map_err(|error| StoreError::Failed(error.into()))?;
        }
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self.read(|db| db.get(value_key(key)))?;
        stored.map(|stored| self.assemble(key, &stored)).transpose()
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let prefixed = value_key(prefix);
        // A key that is the prefix itself comes after nothing but the empty text.
        let start = match after {
            "" => Bound::Included(prefixed.clone()),
            after => Bound::Excluded(value_key(after)),
        };
        let mut entries = self.read(|db| Ok(db.range((start, Bound::Unbounded))))?;
        while let Some((key, stored)) = self.read(|_| entries.next().transpose())? {
            if !key.starts_with(&prefixed) {
                break;
            }
            let key = key.get(1..).and_then(|key| std::str::from_utf8(key).ok());
            let key = key.ok_or_else(|| StoreError::Damaged { key: prefix.to_owned() })?;
            if visit(key, &self.assemble(key, &stored)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn replace(&self, changes: &[Change]) -> Result<(), StoreError> {
        // A poisoned mutex is a write that panicked.
        let mut stopped = self.stopped.lock().map_err(|_| StoreError::Stopped)?;
        if *stopped {
            return Err(StoreError::Stopped);
        }
        refuse_beyond_limits(changes)?;
        let mut batch = sled::Batch::default();
        for change in changes {
            if !self.prepare(change, &mut batch)? {
                return Err(StoreError::Conflict { key: change.key.clone() });
            }
        }
        *stopped = true;
        self.commit(batch)?;
        *stopped = false;
        Ok(())
    }
}

impl Drop for SledStore {
    /// sled syncs once more when it is dropped, and panics if that fails. What was acknowledged is on disk.
    fn drop(&mut self) {
        let db = self.db.take();
        let _ = guarded(|| {
            drop(db);
            sled::Result::Ok(())
        });
    }
}

/// sled would show everything it holds.
impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.place.is_some() { "durable" } else { "temporary" };
        write!(f, "SledStore({kind})")
    }
}

fn value_key(key: &str) -> Vec<u8> {
    [&[VALUES], key.as_bytes()].concat()
}

/// The key's length comes first, so that no key's pieces begin like another's.
fn piece_key(key: &str, nth: u32) -> Vec<u8> {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    [&[PIECES], length.to_be_bytes().as_slice(), key.as_bytes(), &nth.to_be_bytes()].concat()
}

fn piece_count(stored: &[u8]) -> u32 {
    match stored.split_first() {
        Some((&IN_PIECES, count)) => count.try_into().map_or(0, u32::from_be_bytes),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::file::{self, Access};
    use crate::store::MAX_KEY_LEN;
    use crate::store::contract::{keys, put};

    #[test]
    fn a_snapshot_that_nobody_lived_to_finish_is_no_damage() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("store");
        let store = SledStore::create(&directory).unwrap();
        store.replace(&[put("a", None, Some(b"1"))]).unwrap();
        drop(store);
        drop(SledStore::open(&directory).unwrap());
        let snapshots = || {
            let names = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
            names.retain(|name| name.starts_with("snap."));
            names
        };
        let [latest] = &snapshots()[..] else { panic!("{:?}", snapshots()) };
        let whole = fs::read(directory.join(latest)).unwrap();
        for written in [0, 7, whole.len() / 2, whole.len() - 1] {
            for unfinished in [format!("{latest}.generating"), "snap.F.generating".to_owned()] {
                let unfinished = directory.join(unfinished);
                file::replace(&unfinished, &whole[..written], Access::Private).unwrap();
                assert_eq!(SledStore::open(&directory).unwrap().get("a").unwrap().unwrap(), b"1");
                assert_eq!(snapshots().len(), 1);
            }
        }
    }

    #[test]
    fn what_was_found_damaged_once_is_not_used_again() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("store");
        let store = SledStore::create(&directory).unwrap();
        let damage = sled::Error::ReportableBug("a page is not a page".into());
        assert!(matches!(store.failed(damage), StoreError::Corrupt { .. }));
        drop(store);
        let error = SledStore::open(&directory).unwrap_err();
        assert!(error.to_string().contains("a page is not a page"), "{error}");
    }

    #[test]
    fn a_failed_write_stops_the_store() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("store");
        let mut store = SledStore::create(&directory).unwrap();
        // A pipe cannot be synced: the write reaches sled, but not the disk.
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        store.place = Some((directory, pipe));
        let lost = store.replace(&[put("a", None, Some(b"1"))]);
        assert!(matches!(lost, Err(StoreError::Failed(_))));
        let refused = store.replace(&[put("b", None, Some(b"1"))]);
        assert!(matches!(refused, Err(StoreError::Stopped)));
        store.get("a").unwrap();
    }

    #[test]
    fn nothing_ever_becomes_a_blob() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("store");
        let store = SledStore::create(&directory).unwrap();
        // The longest keys and pieces, written and rewritten, many to a node.
        for round in 0..3_u8 {
            for nth in 0..120 {
                let key = format!("{nth:0>MAX_KEY_LEN$}");
                let before = store.get(&key).unwrap();
                let value = vec![round; (PIECE_LEN - 1) * (1 + nth % 7)];
                let change = Change { key, expected: before, new: Some(value) };
                store.replace(&[change]).unwrap();
            }
        }
        drop(store);
        assert_eq!(fs::read_dir(directory.join("blobs")).unwrap().count(), 0);
        let store = SledStore::open(&directory).unwrap();
        assert_eq!(keys(&store, "").len(), 120);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn values_of_every_length_survive(lengths in prop::collection::vec(0..5 * PIECE_LEN, 1..4)) {
            let store = SledStore::temporary().unwrap();
            let mut before = None;
            for (nth, length) in lengths.into_iter().enumerate() {
                let value = vec![u8::try_from(nth).unwrap(); length];
                let change = Change { key: "k".into(), expected: before.clone(), new: Some(value.clone()) };
                store.replace(&[change]).unwrap();
                before = store.get("k").unwrap();
                prop_assert_eq!(before.as_ref(), Some(&value));
            }
            store.replace(&[Change { key: "k".into(), expected: before, new: None }]).unwrap();
            prop_assert_eq!(store.db.as_ref().unwrap().len(), 0);
        }
    }
}
