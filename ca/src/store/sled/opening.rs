//! Opening sled's files, in whatever state a process that was killed has left them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::store::StoreError;
use crate::store::damage::{self, does_not_open, guarded};

/// How long a store that does not open is tried again, and how often.
const OPENING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Opens sled's files, or makes them.
pub(super) fn open(directory: &Path, config: &sled::Config) -> Result<sled::Db, StoreError> {
    remove_unfinished_snapshots(directory)
        .map_err(|error| does_not_open(directory)(error.into()))?;
    open_guarded(config).map_err(|error| {
        if is_damage(&error) {
            StoreError::Corrupt { reason: error.into() }
        } else {
            does_not_open(directory)(error.into())
        }
    })
}

/// Whenever sled opens it writes a snapshot, to `snap.<lsn>.generating`, and renames it. One that was
/// not renamed because the process was killed, sled 0.34.7 takes for the latest snapshot (the name is
/// the last in the order, and `Config::get_snapshot_files` leaves out only a name that no version
/// writes any more), finds it too short or its checksum wrong, and opens no more. It is nothing that
/// anybody needs: the snapshot before it and the log are removed or reused only after the renaming.
fn remove_unfinished_snapshots(directory: &Path) -> io::Result<()> {
    let db = match File::open(directory.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // Whoever has the store may be writing its snapshot now.
    match db.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(()),
        locked => locked?,
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// sled panics on some damaged files, and lets go of its own lock a moment after it was dropped.
pub(super) fn open_guarded(config: &sled::Config) -> sled::Result<sled::Db> {
    let mut patience = OPENING;
    loop {
        match guarded(|| config.open()) {
            Err(error @ sled::Error::Io(_)) if !is_damage(&error) && !patience.is_zero() => {
                sleep(PAUSE);
                patience = patience.saturating_sub(PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Whether the files are at fault; if not, there may be no room or no permission, or somebody else
/// has them.
pub(super) fn is_damage(error: &sled::Error) -> bool {
    match error {
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => true,
        sled::Error::Io(error) => damage::is_damage(error),
        _ => false,
    }
}
