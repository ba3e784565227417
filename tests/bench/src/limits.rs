//! How many files may be open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Enough for everything that is measured here, on both ends.
const WANTED: u64 = 262_144;

/// Raises the limit as far as this user may, for this process and whatever it starts.
pub(crate) fn open_as_many_files_as_allowed() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let above = Rlimit { current: Some(WANTED), maximum: Some(WANTED) };
    if maximum.is_some_and(|maximum| maximum < WANTED) && setrlimit(Resource::Nofile, above).is_ok()
    {
        return;
    }
    // Where it cannot be raised, what is allowed already counts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many files one process may have open.
pub(crate) fn open_files() -> usize {
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(current).unwrap_or(usize::MAX)
}
