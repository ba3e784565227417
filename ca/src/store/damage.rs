//! What is said, and kept in mind, of files that are not as the backend left them.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{Cause, StoreError};
use crate::file::{self, Access};

/// The file beside the backend's that says what was found damaged.
const NOTE: &str = "damaged";

/// Keeps in mind what was found: what is damaged once stays so, and whoever opens the store next hears
/// of it at once, whether or not they read the same place.
pub(super) fn note(directory: &Path, found: &str) {
    // Without the note, the damage is found again where it is.
    let _ = file::replace(&directory.join(NOTE), found.as_bytes(), Access::Private);
}

/// Whether the file of a store can be opened: it is there, has something in it, and was never found
/// damaged. An empty file would be taken for a new store.
pub(super) fn refuse_unusable(directory: &Path, name: &str) -> Result<(), StoreError> {
    let failed = |error: io::Error| does_not_open(directory)(error.into());
    let length = match fs::metadata(directory.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing(directory.to_owned()));
        }
        found => found.map_err(failed)?.len(),
    };
    if length == 0 {
        return Err(StoreError::Corrupt { reason: "it is empty".into() });
    }
    match fs::read_to_string(directory.join(NOTE)) {
        Ok(found) => Err(StoreError::Corrupt { reason: found.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A panic of a backend's while it reads is damage that it has not foreseen.
pub(super) fn guarded<T, E: From<io::Error>>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_panic| Err(io::Error::from(io::ErrorKind::InvalidData).into()))
}

/// Whether the operating system's error means that the file is at fault.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

pub(super) fn does_not_open(directory: &Path) -> impl Fn(Cause) -> StoreError {
    move |reason| StoreError::DoesNotOpen { path: directory.to_owned(), reason }
}
