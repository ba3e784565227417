//! Following a revocation list in a file: read once at the start, then whenever the file changes.
//!
//! A file that cannot be read at all means that revocations could be withheld, so after a moment's
//! patience everybody is turned away.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use notify::RecommendedWatcher;
use thiserror::Error;
use tokio::sync::watch;
use vouchsafe_ca::MAX_BUNDLE_LEN;
use vouchsafe_certs::RevocationError;
use vouchsafe_transport::{Following, Identity, Revocations, RevocationsError};

use super::in_force::{InForce, now};
use super::watched::Watched;

/// How often the file is looked at where the file system says nothing.
const LOOK: Duration = Duration::from_secs(1);

/// How long a file may be unreadable, while it is being copied for instance.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long reading a list may take; a million entries take a second.
const SLOW: Duration = Duration::from_secs(20);

/// Why a revocation list file is not taken.
#[derive(Debug, Error)]
pub(crate) enum FollowError {
    #[error("{path} cannot be read: {error}", path = .0.display(), error = .1)]
    Read(PathBuf, std::io::Error),
    #[error("{path} is longer than 256 MB", path = .0.display())]
    TooLong(PathBuf),
    #[error("the revocation list in {path} is not taken: {error}", path = .0.display(), error = .1)]
    List(PathBuf, RevocationsError),
    #[error("{path} cannot be watched: {error}", path = .0.display(), error = .1)]
    Watch(PathBuf, notify::Error),
}

impl FollowError {
    /// Whether the file says nothing at all, rather than something that is not to be believed.
    fn is_unreadable(&self) -> bool {
        match self {
            Self::Read(..) | Self::TooLong(_) | Self::Watch(..) => true,
            Self::List(_, error) => matches!(
                error,
                RevocationsError::Empty | RevocationsError::List(RevocationError::Malformed)
            ),
        }
    }
}

/// Reads a list file for the first time, and follows it from a thread of its own. `notice` hears,
/// in a sentence, of every list that is taken or not.
///
/// # Errors
/// [`FollowError`] if there is nothing to begin with.
pub(crate) fn follow(
    path: &Path,
    identity: watch::Receiver<Arc<Identity>>,
    notice: impl Fn(&str) + Send + 'static,
) -> Result<watch::Receiver<Arc<Revocations>>, FollowError> {
    let mut source = Source { file: Watched::new(path), identity };
    // Watched before it is read, so that no change falls between.
    let watched = source.file.watch();
    let (watcher, changes) = watched.map_err(|error| FollowError::Watch(path.to_owned(), error))?;
    let first = source.read(&Revocations::Unreadable)?.revocations;
    let (in_force, receiver) = InForce::new(Arc::new(first), notice);
    let follower = Follower { source, in_force, unreadable_since: None };
    std::thread::spawn(move || follower.run(&changes, watcher));
    Ok(receiver)
}

/// Reads a whole list file.
pub(super) fn read_regular(path: &Path) -> Result<Vec<u8>, FollowError> {
    read(&mut Watched::new(path))
}

fn read(file: &mut Watched) -> Result<Vec<u8>, FollowError> {
    file.read(MAX_BUNDLE_LEN).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => FollowError::TooLong(file.path().to_owned()),
        _ => FollowError::Read(file.path().to_owned(), error),
    })
}

struct Source {
    file: Watched,
    /// Whose roots and issuing CAs the lists are verified with.
    identity: watch::Receiver<Arc<Identity>>,
}

impl Source {
    /// Whether the file looks otherwise than when it was last read, or is to be read with other eyes.
    fn has_changed(&self) -> bool {
        self.file.has_changed() || self.identity.has_changed().is_ok_and(|changed| changed)
    }

    /// Reads what is to follow these lists.
    fn read(&mut self, in_force: &Revocations) -> Result<Following, FollowError> {
        let pem = read(&mut self.file)?;
        let issuers = self.identity.borrow_and_update().list_issuers();
        in_force
            .followed_by(&pem, &issuers, now())
            .map_err(|error| FollowError::List(self.file.path().to_owned(), error))
    }
}

struct Follower<N> {
    source: Source,
    in_force: InForce<N>,
    unreadable_since: Option<Instant>,
}

impl<N: Fn(&str)> Follower<N> {
    fn run(mut self, changes: &Receiver<()>, _watcher: RecommendedWatcher) {
        loop {
            match changes.recv_timeout(LOOK) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) if self.source.has_changed() => {}
                Err(RecvTimeoutError::Timeout) if self.unreadable_since.is_some() => {}
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Renaming makes several events; one reading answers them all.
            while changes.try_recv().is_ok() {}
            match self.read() {
                Ok(offered) => self.consider(offered),
                Err(error) => self.complain(&error),
            }
        }
    }

    /// Reads the file on another thread, because a network file system may never answer.
    fn read(&mut self) -> Result<Following, FollowError> {
        std::thread::scope(|scope| {
            let (done, answer) = channel();
            let (source, in_force) = (&mut self.source, Arc::clone(self.in_force.taken()));
            let reading = scope.spawn(move || {
                let read = source.read(&in_force);
                // Whoever waits for it is this function.
                let _ = done.send(());
                read
            });
            if answer.recv_timeout(SLOW).is_err() {
                self.in_force.shut();
                self.in_force
                    .say("WARNING: the revocation list does not come; every session is closed");
            }
            reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn consider(&mut self, offered: Following) {
        self.unreadable_since = None;
        let origin = format!("in {}", self.source.file.path().display());
        let untold = self.in_force.take(offered);
        self.in_force.tell(untold, &origin);
    }

    fn complain(&mut self, error: &FollowError) {
        if !error.is_unreadable() {
            self.unreadable_since = None;
            return self.in_force.say_stays(error);
        }
        let since = *self.unreadable_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE && !self.in_force.is_shut() {
            self.in_force.shut();
            self.in_force
                .say(&format!("WARNING: {error}; every session is closed until it can be read"));
        }
    }
}
