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
//! - Opening may panic on a damaged file, so it is caught. A store is never created where one should be.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use super::{Change, Store, StoreError, refuse_beyond_limits};
use crate::file::{create_private_directory, sync_directory};

/// The longest value kept in one piece: 19 of them with their keys stay well under 128 KiB.
const PIECE_LEN: usize = 4 * 1024;

/// sled takes what it is given as a limit, not a reservation.
const CACHE_LEN: u64 = 128 * 1024 * 1024;

/// How long a store that does not open is tried again, and how often.
const OPENING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

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
    db: sled::Db,
    /// Our own handle of `<directory>/db`; none for a temporary store.
    file: Option<File>,
    /// One writer at a time; `true` once a write has failed.
    stopped: Mutex<bool>,
}

impl SledStore {
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
            for name in ["conf", "db"] {
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
    /// [`StoreError::Missing`] if there is none, [`StoreError::DoesNotOpen`] if it is damaged or in use.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        // An empty file would be taken for a new store.
        match fs::metadata(directory.join("db")) {
            Ok(file) if file.len() > 0 => Self::open_in(directory),
            Ok(_) => Err(StoreError::Missing(directory.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Missing(directory.to_owned()))
            }
            Err(error) => Err(does_not_open(directory)(error.into())),
        }
    }

    fn open_in(directory: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(directory).cache_capacity(CACHE_LEN);
        let db = open_guarded(&config).map_err(does_not_open(directory))?;
        let file = File::open(directory.join("db"))
            .map_err(|error| does_not_open(directory)(error.into()))?;
        Ok(Self { db, file: Some(file), stopped: Mutex::new(false) })
    }

    /// A store that goes when it is dropped: for tests and for comparisons.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if there is no room for temporary files.
    pub fn temporary() -> Result<Self, StoreError> {
        let config = sled::Config::new().temporary(true).flush_every_ms(None);
        let db = open_guarded(&config).map_err(StoreError::Failed)?;
        Ok(Self { db, file: None, stopped: Mutex::new(false) })
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
                    let piece = self.db.get(piece_key(key, nth)).map_err(failed)?;
                    value.extend_from_slice(&piece.ok_or_else(damaged)?);
                }
                Ok(value)
            }
            _ => Err(damaged()),
        }
    }

    /// What must be written so that `change` happens; `None` if its condition does not hold.
    fn prepare(&self, change: &Change, batch: &mut sled::Batch) -> Result<bool, StoreError> {
        let stored = self.db.get(value_key(&change.key)).map_err(failed)?;
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
        self.db.apply_batch(batch).map_err(failed)?;
        if let Some(file) = &self.file {
            self.db.flush().map_err(failed)?;
            file.sync_data().map_err(|error| StoreError::Failed(error.into()))?;
        }
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self.db.get(value_key(key)).map_err(failed)?;
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
        for entry in self.db.range((start, Bound::Unbounded)) {
            let (key, stored) = entry.map_err(failed)?;
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

/// sled would show everything it holds.
impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.file.is_some() { "durable" } else { "temporary" };
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

fn failed(error: sled::Error) -> StoreError {
    StoreError::Failed(error.into())
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn does_not_open(directory: &Path) -> impl Fn(Cause) -> StoreError {
    move |reason| StoreError::DoesNotOpen { path: directory.to_owned(), reason }
}

/// sled panics on some damaged files, and lets go of its own lock a moment after it was dropped.
fn open_guarded(config: &sled::Config) -> Result<sled::Db, Cause> {
    let mut patience = OPENING;
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Err(_panic) => return Err(io::Error::from(io::ErrorKind::InvalidData).into()),
            Ok(Err(sled::Error::Io(_))) if !patience.is_zero() => {
                sleep(PAUSE);
                patience = patience.saturating_sub(PAUSE);
            }
            Ok(opened) => return opened.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::MAX_KEY_LEN;

    fn put(key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Change {
        let own = |value: &[u8]| value.to_vec();
        Change { key: key.into(), expected: expected.map(own), new: new.map(own) }
    }

    fn keys(store: &SledStore, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut visit = |key: &str, _: &[u8]| {
            keys.push(key.to_owned());
            ControlFlow::Continue(())
        };
        store.scan(prefix, &mut visit).unwrap();
        keys
    }

    #[test]
    fn all_changes_happen_or_none() {
        let store = SledStore::temporary().unwrap();
        store.replace(&[put("a", None, Some(b"1")), put("b", None, Some(b"2"))]).unwrap();
        let refused = store.replace(&[put("c", None, Some(b"3")), put("a", None, Some(b"9"))]);
        assert!(matches!(refused, Err(StoreError::Conflict { key }) if key == "a"));
        assert_eq!(store.get("c").unwrap(), None);
        store.replace(&[put("a", Some(b"1"), None), put("b", Some(b"2"), Some(b"2"))]).unwrap();
        assert_eq!(keys(&store, ""), ["b"]);
        assert!(store.replace(&[put("d", None, None), put("d", None, Some(b"1"))]).is_err());
    }

    #[test]
    fn scans_are_ordered_and_can_stop() {
        let store = SledStore::temporary().unwrap();
        for key in ["x/2", "x/1", "y/1", "x", "x/10"] {
            store.replace(&[put(key, None, Some(b""))]).unwrap();
        }
        assert_eq!(keys(&store, "x/"), ["x/1", "x/10", "x/2"]);
        let mut seen = 0;
        let mut visit = |_: &str, _: &[u8]| {
            seen += 1;
            ControlFlow::Break(())
        };
        store.scan("", &mut visit).unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_scan_goes_on_where_another_stopped() {
        let store = SledStore::temporary().unwrap();
        for key in ["x/1", "x/2", "x/3", "y/1"] {
            store.replace(&[put(key, None, Some(b""))]).unwrap();
        }
        let after = |after: &str| {
            let mut keys = Vec::new();
            let mut visit = |key: &str, _: &[u8]| {
                keys.push(key.to_owned());
                ControlFlow::Continue(())
            };
            store.scan_after("x/", after, &mut visit).unwrap();
            keys
        };
        assert_eq!(after(""), ["x/1", "x/2", "x/3"]);
        assert_eq!(after("x/1"), ["x/2", "x/3"]);
        // The key itself need not be there any more.
        assert_eq!(after("x/2a"), ["x/3"]);
        assert_eq!(after("x/3"), [""; 0]);
    }

    #[test]
    fn a_store_is_reopened_but_never_recreated() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("store");
        assert!(matches!(SledStore::open(&directory), Err(StoreError::Missing(_))));
        let store = SledStore::create(&directory).unwrap();
        store.replace(&[put("a", None, Some(b"1"))]).unwrap();
        assert!(matches!(SledStore::open(&directory), Err(StoreError::DoesNotOpen { .. })));
        drop(store);
        assert!(matches!(SledStore::create(&directory), Err(StoreError::DoesNotOpen { .. })));
        assert_eq!(SledStore::open(&directory).unwrap().get("a").unwrap().unwrap(), b"1");
        fs::remove_file(directory.join("db")).unwrap();
        assert!(matches!(SledStore::open(&directory), Err(StoreError::Missing(_))));
        File::create(directory.join("db")).unwrap();
        assert!(matches!(SledStore::open(&directory), Err(StoreError::Missing(_))));
    }

    #[test]
    fn a_failed_write_stops_the_store() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("store");
        let mut store = SledStore::create(&directory).unwrap();
        // A pipe cannot be synced: the write reaches sled, but not the disk.
        let (reader, _writer) = io::pipe().unwrap();
        store.file = Some(File::from(std::os::fd::OwnedFd::from(reader)));
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
            prop_assert_eq!(store.db.len(), 0);
        }
    }
}
