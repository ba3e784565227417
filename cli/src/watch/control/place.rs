//! Where control sockets are: in a directory that only their user can enter.

use std::env;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::exit::Failure;

/// How long what serves may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(2);

/// XDG Base Directory Specification: of this user alone, gone when they log out; relative paths do not count.
pub(crate) fn default_directory() -> Option<PathBuf> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)?;
    runtime.is_absolute().then(|| runtime.join("vouchsafe"))
}

/// Makes it, unless it is there.
pub(in crate::watch) fn make(directory: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Failure::new(format!("cannot make {}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

/// The directory of a socket that is to be made, opened; nobody else must be able to enter it.
pub(super) fn directory_of(socket: &Path) -> Result<File, Failure> {
    directory_that(socket, |owner| owner == geteuid().as_raw())
}

/// The directory of a socket that is to be asked must be such a one as well; root may ask any user's.
pub(super) fn must_be_private(socket: &Path) -> Result<(), Failure> {
    let is_fit = |owner| geteuid().is_root() || owner == geteuid().as_raw();
    directory_that(socket, is_fit).map(drop)
}

fn directory_that(socket: &Path, is_fit: impl Fn(u32) -> bool) -> Result<File, Failure> {
    let parent = match socket.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let shown = parent.display();
    let failed = |error| Failure::new(format!("cannot open {shown}: {error}"));
    // Opened first and looked at then: what was looked at is what is used.
    let directory = File::open(parent).map_err(failed)?;
    let metadata = directory.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_dir() {
        return Err(Failure::new(format!("{shown} is no directory")));
    }
    if !is_fit(metadata.uid()) || mode & 0o077 != 0 {
        return Err(Failure::new(format!(
            "{shown} is not a directory that only this user can enter (mode {mode:o})"
        ))
        .hint("a control socket needs one of its own: mkdir -m 700 DIR, and --control DIR/NAME"));
    }
    Ok(directory)
}

/// What is at the path of a socket.
pub(super) enum State {
    Free,
    /// A socket at which nobody listens.
    LeftBehind,
    Taken,
}

/// What is at a path: a socket that somebody left behind refuses.
pub(super) async fn state(path: &Path) -> State {
    let is_socket = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return State::Free,
        found => found.is_ok_and(|found| found.file_type().is_socket()),
    };
    if !is_socket {
        return State::Taken;
    }
    match timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => State::LeftBehind,
        _ => State::Taken,
    }
}

/// The sockets of this user at which somebody listens.
pub(crate) async fn sockets() -> Vec<PathBuf> {
    let entries = default_directory().and_then(|directory| std::fs::read_dir(directory).ok());
    let mut paths: Vec<_> =
        entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut serving = Vec::new();
    for path in paths {
        let is_one = path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
        if is_one && matches!(state(&path).await, State::Taken) {
            serving.push(path);
        }
    }
    serving
}
