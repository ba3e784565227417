//! A file that somebody replaces while it is in use. The file system says when (inotify on Linux); a
//! look from time to time catches what it does not say, such as a change on a network file system.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// `O_NONBLOCK`.
const NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// A file, and what it looked like when it was last read.
pub(crate) struct Watched {
    path: PathBuf,
    seen: Option<(u64, u64, i64, i64)>,
    /// Given up for as long as the file is read where no other descriptor is left: whoever uses up all
    /// there are must not keep from us what the file says.
    reserve: Option<File>,
}

impl Watched {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: None, reserve: reserve() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Something comes through the receiver whenever the file may have changed, for as long as the
    /// watcher lives.
    pub(crate) fn watch(&self) -> notify::Result<(RecommendedWatcher, Receiver<()>)> {
        let (sender, changes) = channel();
        let name: Option<OsString> = self.path.file_name().map(ToOwned::to_owned);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let concerns = event.is_ok_and(|event| {
                    event.need_rescan()
                        || may_be_new(event.kind)
                            && event.paths.iter().any(|path| path.file_name() == name.as_deref())
                });
                if concerns {
                    // The follower is gone only when the process is.
                    let _ = sender.send(());
                }
            })?;
        // A file is replaced by renaming another one over it, so the directory is what is watched.
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok((watcher, changes))
    }

    /// Whether the file looks otherwise than when it was last read.
    pub(crate) fn has_changed(&self) -> bool {
        std::fs::metadata(&self.path).ok().map(|now| look(&now)) != self.seen
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// Those of reading; [`io::ErrorKind::FileTooLarge`] if it has more than `max_len` octets.
    pub(crate) fn read(&mut self, max_len: u64) -> io::Result<Vec<u8>> {
        self.seen = None;
        let read = self.read_once(max_len);
        // Whichever was given up is free again, unless somebody was quicker.
        self.reserve = self.reserve.take().or_else(reserve);
        read
    }

    fn read_once(&mut self, max_len: u64) -> io::Result<Vec<u8>> {
        let file = match self.open() {
            Err(error) if is_exhausted(&error) && self.reserve.take().is_some() => self.open()?,
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut octets = Vec::new();
        file.take(max_len + 1).read_to_end(&mut octets)?;
        if u64::try_from(octets.len()).is_ok_and(|len| len > max_len) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.seen = Some(look(&metadata));
        Ok(octets)
    }

    fn open(&self) -> io::Result<File> {
        // A pipe in the file's place would otherwise hold whoever opens it.
        OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&self.path)
    }
}

/// A descriptor that is of no use.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Whether the process, or the system, has no descriptor left.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Our own reading is an event too; answering it by reading again would never end.
fn may_be_new(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn look(metadata: &Metadata) -> (u64, u64, i64, i64) {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}
