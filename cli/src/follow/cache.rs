//! The last lists that came into force, kept for a start without the CA: all of them in one file, and
//! what came since in others beside it, so that a change to a long list is a short write.
//!
//! Together they are a log: read one after the other, through the same gate, they come to what was in
//! force. A file of changes holds everything since some earlier state. When the CA begins to count
//! from a later one, the next file is begun: `FILE.delta-1`, `FILE.delta-2`, …

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vouchsafe_ca::file::{self, Access, FileError};
use vouchsafe_certs::RevocationError;
use vouchsafe_transport::{Revocations, RevocationsError};

use super::file::{FollowError, read_regular};
use super::in_force::now;
use crate::identity::Present;

/// When there are so many files of changes, all the lists are fetched anew.
const MAX_STEPS: usize = 16;

/// The files, and what they hold.
pub(super) struct Cache {
    all: PathBuf,
    present: Present,
    /// Whether the files hold what is in force: changes to something else are worth nothing.
    is_whole: bool,
    /// How many files of changes there are.
    steps: usize,
    /// What the files hold without the last of them.
    base: Arc<Revocations>,
}

/// What came into force, as the CA sent it.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    pub(super) pem: &'a [u8],
    /// Whether it is all the lists, rather than what changed.
    pub(super) is_all: bool,
    /// Whether all of it was taken. Otherwise it says less of some CA than what was kept before.
    pub(super) is_whole: bool,
}

impl Cache {
    pub(super) fn new(all: PathBuf, present: Present) -> Self {
        let base = Arc::new(Revocations::Unreadable);
        Self { all, present, is_whole: false, steps: 0, base }
    }

    /// Whether all the lists are to be kept though they are no news: the files lack something, or there
    /// are as many of them as there may be.
    pub(super) fn wants_all(&self) -> bool {
        !self.is_whole || self.steps >= MAX_STEPS
    }

    fn step(&self, nth: usize) -> PathBuf {
        let mut name = self.all.file_name().unwrap_or_default().to_owned();
        name.push(format!(".delta-{nth}"));
        self.all.with_file_name(name)
    }

    /// The lists that an earlier process kept, if it did.
    pub(super) fn read(&mut self) -> Result<Option<Arc<Revocations>>, FollowError> {
        let issuers = self.present.now().list_issuers();
        let Some(pem) = read(&self.all)? else { return Ok(None) };
        let refused = |error| FollowError::List(self.all.clone(), error);
        let mut lists = Arc::new(Revocations::from_pem(&pem, &issuers).map_err(refused)?);
        self.base = Arc::clone(&lists);
        for nth in 1..=MAX_STEPS {
            let path = self.step(nth);
            let Some(pem) = read(&path)? else { break };
            let step = lists.followed_by(&pem, &issuers, now());
            let step = step.map_err(|error| FollowError::List(path, error))?;
            // One that says nothing new is left over from before all was fetched anew.
            if step.is_news {
                (self.base, self.steps) = (lists, nth);
                lists = Arc::new(step.revocations);
            }
        }
        self.is_whole = true;
        Ok(Some(lists))
    }

    /// Keeps what has come into force after `before`, which is what was kept. Says whether there is
    /// room for more changes; if not, all the lists are needed next.
    pub(super) fn keep(
        &mut self,
        kept: Kept<'_>,
        before: &Arc<Revocations>,
        in_force: &Arc<Revocations>,
    ) -> Result<bool, FileError> {
        // In the place of the log only what says as much as it.
        if kept.is_all && kept.is_whole {
            self.is_whole = false;
            (self.steps, self.base) = (0, Arc::clone(in_force));
            file::replace(&self.all, kept.pem, Access::Public)?;
            self.is_whole = true;
            return Ok(true);
        }
        // Changes to what is not in the files are worth nothing.
        if !self.is_whole {
            return Ok(false);
        }
        self.is_whole = false;
        if self.steps == 0 || !kept.is_whole || !self.fits(kept.pem) {
            if self.steps == MAX_STEPS {
                return Ok(false);
            }
            self.steps += 1;
            self.base = Arc::clone(before);
        }
        file::replace(&self.step(self.steps), kept.pem, Access::Public)?;
        self.is_whole = true;
        Ok(self.steps < MAX_STEPS)
    }

    /// Whether changes can take the place of the last that were kept.
    fn fits(&self, pem: &[u8]) -> bool {
        let issuers = self.present.now().list_issuers();
        let changed = self.base.followed_by(pem, &issuers, now());
        !matches!(changed, Err(RevocationsError::List(RevocationError::Baseless)))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, FollowError> {
    match read_regular(path) {
        Err(FollowError::Read(_, error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
