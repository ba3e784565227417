//! The opt-in backend: redb 4.5, a copy-on-write B-tree in one file.
//!
//! redb syncs its file itself (`fdatasync`) before a commit returns, and a commit that is interrupted
//! leaves the one before it. What is added here:
//!
//! - Any error or panic in the middle of a write stops the store for good; it must be opened anew.
//! - redb checks a page's checksum only when it repairs after a crash. What a disk has altered since
//!   would be believed, so **every opening reads the whole file** (`set_check_integrity_on_open`).
//! - A commit is of one phase: should its checksum not be enough to tell half of a commit from all of
//!   it, the commit before counts, and the journal gives back what that lacks.
//! - redb may panic on a damaged file, so opening and reading are guarded. A store is never created
//!   where one should be, and one that was found damaged is not used any more.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::damage::{self, does_not_open, guarded};
use super::{Change, Store, StoreError, refuse_beyond_limits};
use crate::file::{create_private_directory, sync_directory};

/// Everything is in one table, as octets: text that a disk has altered need not be text.
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");

/// How much redb keeps in memory; its own default is a gibibyte.
const CACHE_LEN: usize = 128 * 1024 * 1024;

/// A [`Store`] in one directory.
pub struct RedbStore {
    db: Database,
    directory: PathBuf,
    /// One writer at a time; `true` once a write has failed.
    stopped: Mutex<bool>,
}

impl RedbStore {
    /// In which all of it is.
    pub(super) const FILE: &'static str = "redb";

    /// Creates a store in a directory that does not exist yet.
    ///
    /// # Errors
    /// [`StoreError::DoesNotOpen`].
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| does_not_open(directory)(error.into());
        if directory.exists() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        create_private_directory(directory)
            .map_err(|error| does_not_open(directory)(error.into()))?;
        let path = directory.join(Self::FILE);
        let file = new_private_file(&path).map_err(failed)?;
        let store = Self::create_in(directory, file)?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(failed)?;
        sync_directory(directory).map_err(|error| does_not_open(directory)(error.into()))?;
        Ok(store)
    }

    fn create_in(directory: &Path, file: File) -> Result<Self, StoreError> {
        let create = || {
            let backend = FileBackend::new(file)?;
            let db = Database::builder().set_cache_size(CACHE_LEN).create_with_backend(backend)?;
            // Whoever reads finds the table, although there is nothing in it.
            let writing = db.begin_write()?;
            drop(writing.open_table(TABLE)?);
            writing.commit()?;
            Ok(db)
        };
        let db = create().map_err(|error: redb::Error| does_not_open(directory)(error.into()))?;
        Ok(Self { db, directory: directory.to_owned(), stopped: Mutex::new(false) })
    }

    /// Opens the store in a directory, which must be there. Reads all of it.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none, [`StoreError::Corrupt`] if it is damaged, and
    /// [`StoreError::DoesNotOpen`] if it is in use, or there is no permission or no room.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        damage::refuse_unusable(directory, Self::FILE)?;
        let open = || {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_LEN).set_check_integrity_on_open(true);
            let db = builder.open(directory.join(Self::FILE))?;
            // A file of redb's in which there never was a CA.
            db.begin_read()?.open_table(TABLE)?;
            Ok(db)
        };
        let db = guarded(open).map_err(|error: redb::Error| {
            if is_damage(&error) {
                StoreError::Corrupt { reason: error.into() }
            } else {
                does_not_open(directory)(error.into())
            }
        })?;
        Ok(Self { db, directory: directory.to_owned(), stopped: Mutex::new(false) })
    }

    /// Reads from redb.
    fn read<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        guarded(|| read(&self.db)).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: redb::Error) -> StoreError {
        if !is_damage(&error) {
            return StoreError::Failed(error.into());
        }
        damage::note(&self.directory, &error.to_string());
        StoreError::Corrupt { reason: error.into() }
    }

    /// Says which key has another value than is expected of it, if one has. A panic here is no damage: it
    /// ends the thread, and nothing more is written.
    fn write(&self, changes: &[Change]) -> Result<Option<String>, redb::Error> {
        let writing = self.db.begin_write()?;
        {
            let mut table = writing.open_table(TABLE)?;
            for Change { key, expected, new } in changes {
                let octets = key.as_bytes();
                let is_expected = {
                    let current = table.get(octets)?;
                    current.as_ref().map(|value| value.value()) == expected.as_deref()
                };
                if !is_expected {
                    // Dropped unfinished, a transaction has changed nothing.
                    return Ok(Some(key.clone()));
                }
                match new {
                    new if new == expected => None,
                    Some(value) => table.insert(octets, value.as_slice())?,
                    None => table.remove(octets)?,
                };
            }
        }
        writing.commit()?;
        Ok(None)
    }
}

impl Store for RedbStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|db| {
            let table = db.begin_read()?.open_table(TABLE)?;
            let value = table.get(key.as_bytes())?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        // A key that is the prefix itself comes after nothing but the empty text.
        let start = match after {
            "" => Bound::Included(prefix.as_bytes()),
            after => Bound::Excluded(after.as_bytes()),
        };
        let range = (start, Bound::Unbounded);
        let table = self.read(|db| Ok(db.begin_read()?.open_table(TABLE)?))?;
        let mut entries = self.read(|_| Ok(ReadableTable::range::<&[u8]>(&table, range)?))?;
        while let Some((key, value)) = self.read(|_| Ok(entries.next().transpose()?))? {
            let (key, value) = (key.value(), value.value());
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            let key = std::str::from_utf8(key)
                .map_err(|_| StoreError::Damaged { key: prefix.to_owned() })?;
            if visit(key, value).is_break() {
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
        *stopped = true;
        let conflict = self.write(changes).map_err(|error| self.failed(error))?;
        *stopped = false;
        conflict.map_or(Ok(()), |key| Err(StoreError::Conflict { key }))
    }
}

/// redb would show nothing that helps.
impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedbStore({})", self.directory.display())
    }
}

fn new_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Whether the file is at fault; if not, there may be no room or no permission, or somebody else has it.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) => true,
        redb::Error::Io(error) => damage::is_damage(error),
        // No version of this program has made one of another format, or without the table.
        redb::Error::UpgradeRequired(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
