//! Files that appear whole or not at all, and stay after a power loss.
//!
//! Every write goes to another name in the same directory, is synced, renamed, and the directory
//! is synced too. Private files are 0600 from their first octet on.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// How a file's name begins until it is whole. Whoever is killed leaves it behind.
pub(crate) const UNFINISHED: &str = ".vouchsafe-";

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Access {
    /// The owner alone.
    Private,
    /// Everybody; it holds nothing secret.
    Public,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// What was being done when the operating system said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Doing {
    /// Reading.
    Read,
    /// Writing, syncing or renaming.
    Write,
    /// Creating a directory.
    Create,
}

/// A file or directory could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {} {}: {source}", self.doing.verb(), path.display())]
#[non_exhaustive]
pub struct FileError {
    /// What was being done.
    pub doing: Doing,
    /// To which file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl Doing {
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
        }
    }
}

impl FileError {
    fn on(doing: Doing, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.to_owned(), source }
    }

    /// For a read.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::on(Doing::Read, path)
    }

    /// For a write.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::on(Doing::Write, path)
    }
}

/// Reads a whole file of text.
///
/// # Errors
/// What the operating system says; a file that is not UTF-8 is an error too.
pub fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(FileError::reading(path))
}

/// Puts `contents` in place of whatever `path` holds, in one step.
///
/// # Errors
/// What the operating system says; `path` is then as it was before.
pub fn replace(path: &Path, contents: &[u8], access: Access) -> Result<(), FileError> {
    prepare(path, contents, access)?.put_in_place()
}

/// What a file will hold, on disk beside it. Without a word it is removed again.
#[derive(Debug)]
#[must_use = "it is not in place yet"]
pub(crate) struct Prepared {
    written: tempfile::NamedTempFile,
    path: PathBuf,
}

/// Writes and syncs what [`replace`] will only have to rename.
pub(crate) fn prepare(path: &Path, contents: &[u8], access: Access) -> Result<Prepared, FileError> {
    Ok(Prepared { written: write_beside(path, contents, access)?, path: path.to_owned() })
}

impl Prepared {
    /// Puts it in place of whatever the file holds, in one step.
    pub(crate) fn put_in_place(self) -> Result<(), FileError> {
        let Self { written, path } = self;
        let failed = |error: tempfile::PersistError| FileError::writing(&path)(error.error);
        written.persist(&path).map_err(failed)?;
        sync_directory(parent(&path))
    }
}

/// Writes a file that does not exist yet.
///
/// # Errors
/// What the operating system says; an existing file is left alone.
pub fn create(path: &Path, contents: &[u8], access: Access) -> Result<(), FileError> {
    let fail = || FileError::writing(path);
    let written = write_beside(path, contents, access)?;
    written.persist_noclobber(path).map_err(|error| fail()(error.error))?;
    sync_directory(parent(path))
}

fn write_beside(
    path: &Path,
    contents: &[u8],
    access: Access,
) -> Result<tempfile::NamedTempFile, FileError> {
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(Permissions::from_mode(access.mode()))
            .tempfile_in(parent(path))?;
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(FileError::writing(path))
}

/// Creates a directory that only its owner may enter, with its parents as the umask has it.
///
/// # Errors
/// What the operating system says. That it exists already is no error.
pub fn create_private_directory(path: &Path) -> Result<(), FileError> {
    let create = || {
        fs::create_dir_all(parent(path))?;
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            done => done,
        }
    };
    create().map_err(FileError::on(Doing::Create, path))?;
    sync_directory(parent(path))
}

/// Whether others than its owner may read or change a file, and its mode if so.
///
/// # Errors
/// What the operating system says.
pub fn exposed(path: &Path) -> Result<Option<u32>, FileError> {
    let metadata = fs::metadata(path).map_err(FileError::reading(path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Makes what was created, renamed or removed in a directory survive a power loss.
///
/// # Errors
/// What the operating system says.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(FileError::writing(path))
}

/// Where a file lies; a bare name lies in the working directory.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_replaced_whole_and_private_ones_stay_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path, b"one", Access::Private).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(create(&path, b"two", Access::Private).is_err());
        assert_eq!(read(&path).unwrap(), "one");
        replace(&path, b"two", Access::Private).unwrap();
        assert_eq!((read(&path).unwrap().as_str(), mode(&path)), ("two", 0o600));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn directories_are_private_and_may_exist() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        create_private_directory(&path).unwrap();
        create_private_directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn errors_name_the_file() {
        let error = read(Path::new("/nonexistent/x")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nonexistent/x: "));
    }
}
