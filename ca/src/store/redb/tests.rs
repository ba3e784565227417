//! redb on a disk that fails: at every octet it writes and every sync it asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::StorageBackend;

use super::*;
use crate::store::contract::{keys, put};

/// What a disk does from some operation on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// There is no room: neither for what is written nor for a longer file.
    Full,
    /// Half of what is written, and then nothing any more.
    Torn,
    /// What is written is in memory, and does not get onto the disk.
    NotSynced,
}

#[derive(Debug)]
struct FaultyDisk {
    inner: FileBackend,
    fault: Fault,
    /// How many operations succeed before those that fail.
    remaining: Arc<AtomicUsize>,
}

impl FaultyDisk {
    fn fails(&self) -> bool {
        self.remaining
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_err()
    }
}

fn no_room() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl StorageBackend for FaultyDisk {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.fault != Fault::NotSynced && self.fails() {
            return Err(no_room());
        }
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.fails() {
            return Err(io::Error::other("an input/output error"));
        }
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.fault == Fault::NotSynced || !self.fails() {
            return self.inner.write(offset, data);
        }
        if self.fault == Fault::Torn {
            self.inner.write(offset, &data[..data.len() / 2])?;
        }
        Err(no_room())
    }
}

impl RedbStore {
    /// Opens the store on a disk of which everything fails after so many operations.
    fn open_on(directory: &Path, fault: Fault, remaining: &Arc<AtomicUsize>) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(directory.join(Self::FILE));
        let inner = FileBackend::new(file.unwrap()).unwrap();
        let disk = FaultyDisk { inner, fault, remaining: Arc::clone(remaining) };
        let db = Database::builder().create_with_backend(disk).unwrap();
        Self { db, directory: directory.to_owned(), stopped: Mutex::new(false) }
    }
}

fn value(nth: usize) -> Vec<u8> {
    vec![u8::try_from(nth % 251).unwrap(); 300 * nth % 9_000]
}

/// Writes until a write fails, and says how many did not.
fn write_until_it_fails(store: &RedbStore, count: usize) -> usize {
    for nth in 0..count {
        let change = put(&format!("key/{nth:03}"), None, Some(&value(nth)));
        if let Err(failed) = store.replace(&[change]) {
            assert!(matches!(failed, StoreError::Failed(_)), "{failed}");
            let refused = store.replace(&[put("other", None, Some(b"1"))]);
            assert!(matches!(refused, Err(StoreError::Stopped)), "{refused:?}");
            return nth;
        }
    }
    count
}

#[test]
fn whatever_operation_of_the_disk_fails_nothing_acknowledged_is_lost() {
    const WRITES: usize = 12;
    for fault in [Fault::Full, Fault::Torn, Fault::NotSynced] {
        let (mut after, mut tried) = (0, 0);
        loop {
            let home = tempfile::tempdir().unwrap();
            let directory = home.path().join("store");
            drop(RedbStore::create(&directory).unwrap());
            let remaining = Arc::new(AtomicUsize::new(usize::MAX));
            let store = RedbStore::open_on(&directory, fault, &remaining);
            remaining.store(after, Ordering::SeqCst);
            let acknowledged = write_until_it_fails(&store, WRITES);
            drop(store);
            let store = RedbStore::open(&directory).unwrap();
            for nth in 0..acknowledged {
                assert_eq!(store.get(&format!("key/{nth:03}")).unwrap().unwrap(), value(nth));
            }
            // Of the one that failed there is all or nothing.
            let found = keys(&store, "key/").len();
            assert!(found == acknowledged || found == acknowledged + 1, "{found}, {acknowledged}");
            if acknowledged == WRITES {
                break;
            }
            (after, tried) = (after + 1, tried + 1);
        }
        assert!(tried >= WRITES, "{fault:?}: {tried}");
    }
}

#[test]
fn what_was_found_damaged_once_is_not_used_again() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("store");
    let store = RedbStore::create(&directory).unwrap();
    let damage = redb::Error::Corrupted("a page is not a page".into());
    assert!(matches!(store.failed(damage), StoreError::Corrupt { .. }));
    drop(store);
    let error = RedbStore::open(&directory).unwrap_err();
    assert!(error.to_string().contains("a page is not a page"), "{error}");
}

/// redb itself would believe a page that a disk has altered, until it repairs.
#[test]
fn what_a_disk_has_altered_is_found_by_whoever_opens_next() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("store");
    let store = RedbStore::create(&directory).unwrap();
    let needle = [0xa7; 64];
    store.replace(&[put("a", None, Some(&needle))]).unwrap();
    drop(store);
    let path = directory.join(RedbStore::FILE);
    let mut octets = std::fs::read(&path).unwrap();
    let at = octets.windows(needle.len()).position(|window| window == needle).unwrap();
    octets[at + 9] ^= 4;
    crate::file::replace(&path, &octets, crate::file::Access::Private).unwrap();
    let refused = RedbStore::open(&directory).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}
