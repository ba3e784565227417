//! One process at a time in a home.
//!
//! The lock is the operating system's, on an open file: it goes when its holder goes, however it
//! goes. What the file says is only for people.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use thiserror::Error;
use time::format_description::well_known::Rfc3339;

use crate::file::{FileError, UNFINISHED};
use crate::text::date_time;

/// How long a second process waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it asks.
const PAUSE: Duration = Duration::from_millis(20);

/// More than a holder ever writes.
const MAX_NOTE_LEN: u64 = 4096;

/// Why the lock was not had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error("{} is in use by another process ({holder})", home.display())]
    Held {
        /// Which home.
        home: PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("{0}")]
    File(#[from] FileError),
}

/// The lock on a home; gone when dropped.
#[derive(Debug)]
pub(crate) struct HomeLock {
    _file: File,
}

impl HomeLock {
    /// Takes the lock, waiting up to five seconds for another process.
    pub(crate) fn acquire(home: &Path, command: &str, now: UnixTime) -> Result<Self, LockError> {
        Self::acquire_within(PATIENCE, home, command, now)
    }

    fn acquire_within(
        patience: Duration,
        home: &Path,
        command: &str,
        now: UnixTime,
    ) -> Result<Self, LockError> {
        let path = home.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(FileError::writing(&path))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(FileError::writing(&path)(error).into());
                }
                Err(TryLockError::WouldBlock) if waited >= patience => {
                    return Err(LockError::Held { home: home.to_owned(), holder: holder(&file) });
                }
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
            }
            waited += PAUSE;
        }
        introduce(&mut file, command, now).map_err(FileError::writing(&path))?;
        remove_unfinished(home).map_err(FileError::writing(home))?;
        Ok(Self { _file: file })
    }
}

/// Whoever has the lock is the only one who writes in the home: files that were never finished are those
/// of somebody who was killed. Some are copies of keys, which nobody would look for there.
fn remove_unfinished(home: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if is_unfinished && entry.file_type()?.is_file() {
            match fs::remove_file(entry.path()) {
                // An identity is being put here, by somebody who needs no lock, and is whole by now.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

/// Writes who holds the lock now.
fn introduce(file: &mut File, command: &str, now: UnixTime) -> std::io::Result<()> {
    let since = date_time(now).and_then(|now| now.format(&Rfc3339).ok()).unwrap_or_default();
    file.rewind()?;
    file.set_len(0)?;
    writeln!(file, "process {}, {command}, since {since}", std::process::id())
}

fn holder(mut file: &File) -> String {
    let mut note = String::new();
    let read = file.rewind().and_then(|()| file.take(MAX_NOTE_LEN).read_to_string(&mut note));
    match (read, note.trim()) {
        (Ok(_), note) if !note.is_empty() => note.to_owned(),
        _ => "it has not said which".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::file::{Access, create};

    #[test]
    fn the_second_one_hears_who_was_first() {
        let home = tempfile::tempdir().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000));
        let take = |command| {
            HomeLock::acquire_within(Duration::from_millis(50), home.path(), command, now)
        };
        let first = take("vouchsafe issue").unwrap();
        let refused = take("vouchsafe list").unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            refused.ends_with(&format!(
                "(process {pid}, vouchsafe issue, since 2023-11-14T22:13:20Z)"
            )),
            "{refused}"
        );
        drop(first);
        take("vouchsafe list").unwrap();
    }

    #[test]
    fn what_somebody_left_unfinished_who_was_killed_goes_and_nothing_else_does() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000));
        for name in [".vouchsafe-Ab12Cd", "issuing.key", ".vouchsafe", "x.vouchsafe-Ab12Cd"] {
            create(&at(name), b"a key", Access::Private).unwrap();
        }
        // An identity that somebody delivers here without the lock, and a link to elsewhere.
        fs::create_dir(at(".vouchsafe-Ef34Gh")).unwrap();
        create(&at(".vouchsafe-Ef34Gh/.vouchsafe-key"), b"a key", Access::Private).unwrap();
        symlink(at("issuing.key"), at(".vouchsafe-Ij56Kl")).unwrap();
        let before = fs::read_dir(home.path()).unwrap().count();
        let held = HomeLock::acquire(home.path(), "test", now).unwrap();
        assert!(!at(".vouchsafe-Ab12Cd").exists());
        assert!(
            at(".vouchsafe-Ij56Kl").exists() && at(".vouchsafe-Ef34Gh/.vouchsafe-key").exists()
        );
        // One has gone, and the lock has come.
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), before);

        // Whoever does not get the lock removes nothing of whoever has it.
        create(&at(".vouchsafe-Mn78Op"), b"being written", Access::Private).unwrap();
        let take = |patience| HomeLock::acquire_within(patience, home.path(), "test", now);
        take(Duration::ZERO).unwrap_err();
        assert!(at(".vouchsafe-Mn78Op").exists());
        drop(held);
        take(Duration::ZERO).unwrap();
        assert!(!at(".vouchsafe-Mn78Op").exists());
    }
}
