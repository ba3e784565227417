//! Which backend keeps a CA's memory: chosen by `init`, written in `ca.toml`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::{RedbStore, SledStore, Store, StoreError};

/// An embedded backend. Both keep the same promises; what differs is how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum StoreKind {
    /// [`SledStore`].
    #[default]
    Sled,
    /// [`RedbStore`].
    Redb,
}

/// A name that no backend has.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is no store: say sled or redb")]
pub struct UnknownStore(String);

impl StoreKind {
    /// Every backend.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Redb];

    /// Creates a store in a directory that does not exist yet.
    ///
    /// # Errors
    /// [`StoreError::DoesNotOpen`].
    pub fn create(self, directory: &Path) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sled => Arc::new(SledStore::create(directory)?),
            Self::Redb => Arc::new(RedbStore::create(directory)?),
        })
    }

    /// Opens the store in a directory, which must be there.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none, [`StoreError::OtherKind`] if another backend made it,
    /// [`StoreError::Corrupt`] if it is damaged, and [`StoreError::DoesNotOpen`] if it is in use, or
    /// there is no permission or no room.
    pub fn open(self, directory: &Path) -> Result<Arc<dyn Store>, StoreError> {
        if let Some(found) = Self::found_in(directory).filter(|found| *found != self) {
            return Err(StoreError::OtherKind { said: self, found });
        }
        Ok(match self {
            Self::Sled => Arc::new(SledStore::open(directory)?),
            Self::Redb => Arc::new(RedbStore::open(directory)?),
        })
    }

    /// Whose file is in a directory, if any is.
    pub(crate) fn found_in(directory: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| directory.join(kind.file()).exists())
    }

    /// The file in which a backend keeps everything.
    fn file(self) -> &'static str {
        match self {
            Self::Sled => SledStore::FILE,
            Self::Redb => RedbStore::FILE,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        })
    }
}

impl FromStr for StoreKind {
    type Err = UnknownStore;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|kind| kind.to_string() == name);
        named.ok_or_else(|| UnknownStore(name.to_owned()))
    }
}
