//! The one seam to storage: a small compare-and-swap store whose writes are durable when they return.

#[cfg(test)]
mod contract;
mod damage;
mod kind;
mod overlay;
mod redb;
mod sled;

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;

use thiserror::Error;

pub use self::kind::{StoreKind, UnknownStore};
pub(crate) use self::overlay::Overlay;
pub use self::redb::RedbStore;
pub use self::sled::SledStore;

/// How long a key is at most, in octets.
pub const MAX_KEY_LEN: usize = 256;

/// How long a value is at most, in octets.
pub const MAX_VALUE_LEN: usize = 16 * 1024 * 1024;

/// Keys and values, compared and swapped.
///
/// What an implementation promises, also across processes and restarts:
///
/// - **Serializable.** All changes of one [`replace`](Self::replace) happen at one point in time, or none happens.
/// - **Read after write.** What `replace` wrote is what every later `get` and `scan` sees.
/// - **Durable.** When `replace` returns `Ok`, the change survives `kill -9` and power loss.
/// - **Honest about failure.** [`StoreError::Conflict`] and [`StoreError::Limit`] mean that nothing was
///   written, and the store goes on. After any other error of `replace` it is unknown whether the change was
///   *lost* or *done with only the reply lost*; the store then refuses every further `replace` with
///   [`StoreError::Stopped`] until it is opened anew. Reads may go on.
///
/// Keys are ordered octet by octet, at most [`MAX_KEY_LEN`] long; values at most [`MAX_VALUE_LEN`].
pub trait Store: fmt::Debug + Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the value cannot be read.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows `visit` each key that begins with `prefix` and comes after `after`, in order, with its
    /// value, until it breaks. `after` begins with `prefix` as well, or is empty; nothing up to it is read.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if something cannot be read; `visit` may have seen some keys by then.
    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Shows `visit` each key that begins with `prefix`, as [`Store::scan_after`] does.
    ///
    /// # Errors
    /// As [`Store::scan_after`].
    fn scan(
        &self,
        prefix: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.scan_after(prefix, "", visit)
    }

    /// Makes all changes if every key has the value that is expected of it, and otherwise none.
    ///
    /// # Errors
    /// See the promises above.
    fn replace(&self, changes: &[Change]) -> Result<(), StoreError>;
}

/// One key's part in a [`Store::replace`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a change is these three things")]
pub struct Change {
    /// Which key; each at most once in one `replace`.
    pub key: String,
    /// The value it must have; `None`: it must not exist.
    pub expected: Option<Vec<u8>>,
    /// The value it gets; `None`: it goes. The same as `expected`: a condition alone.
    pub new: Option<Vec<u8>>,
}

/// Each key once, and nothing longer than a store takes.
fn refuse_beyond_limits(changes: &[Change]) -> Result<(), StoreError> {
    let mut seen = HashSet::with_capacity(changes.len());
    for change in changes {
        let repeated = !seen.insert(&change.key);
        let too_long = change.key.len() > MAX_KEY_LEN
            || change.new.as_ref().is_some_and(|value| value.len() > MAX_VALUE_LEN);
        if repeated || too_long {
            return Err(StoreError::Limit { key: change.key.clone() });
        }
    }
    Ok(())
}

/// Why, in somebody else's words.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a store cannot do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A key does not have the value that is expected of it. Nothing was written.
    #[error("{key} was changed by somebody else in the meantime")]
    Conflict {
        /// Which key.
        key: String,
    },
    /// A key or value is longer than the store takes. Nothing was written.
    #[error("{key} or its value is longer than the store takes")]
    Limit {
        /// Which key.
        key: String,
    },
    /// Reading or writing failed; after a write it is unknown what is on disk.
    #[error("the store failed: {0}")]
    Failed(#[source] Cause),
    /// An earlier write failed.
    #[error("the store has stopped after an earlier failure")]
    Stopped,
    /// The store's files are not where they belong.
    #[error("the store {} is missing", .0.display())]
    Missing(PathBuf),
    /// The store's files are another backend's.
    #[error("ca.toml says store = \"{said}\", but the store is one of {found}'s")]
    OtherKind {
        /// What `ca.toml` says.
        said: StoreKind,
        /// Whose files there are.
        found: StoreKind,
    },
    /// The store's files cannot be used now; they may be in order.
    #[error("the store {} does not open: {reason}", path.display())]
    DoesNotOpen {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        reason: Cause,
    },
    /// The store's files are damaged.
    #[error("the store is damaged: {reason}")]
    Corrupt {
        /// What is wrong.
        #[source]
        reason: Cause,
    },
    /// The store holds something that no version of this program writes.
    #[error("the store's record {key} is damaged")]
    Damaged {
        /// Which key.
        key: String,
    },
}

impl StoreError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Conflict { .. } | Self::Limit { .. } => None,
            Self::Failed(_) | Self::Stopped => Some(
                "check the disk, then start again: what was acknowledged is safe, the last request may or may not have been done",
            ),
            Self::DoesNotOpen { .. } => Some(
                "see that no other process uses it, that its files can be read and written, and that there is room",
            ),
            Self::OtherKind { .. } => Some(
                "put ca.toml back as it was; or to change over, have the store built anew from the journal: vouchsafe restore --replace",
            ),
            Self::Missing(_) => Some(
                "no empty one is made, because that would forget revocations; build it anew from the journal: vouchsafe restore (from a copy of it: --journal FILE)",
            ),
            Self::Damaged { .. } => Some(
                "build the store anew from the journal: vouchsafe restore (from a copy of it: --journal FILE)",
            ),
            Self::Corrupt { .. } => Some(
                "the journal holds every record: the next command that opens the CA builds the store anew from it (a service: start it again)",
            ),
        }
    }

    /// Whether the store is at fault, so that another one built from the journal would do.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Damaged { .. })
    }
}
