//! The last lists that came into force, kept for a start without the CA: all of them in one file, and
//! what changed since in others beside it, so that a change to a long list is a short write.
//!
//! A file of changes holds everything since some earlier state. When the CA begins to count from a
//! later one, the next file is begun: `FILE.delta-1`, `FILE.delta-2`, …

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
    /// How many files of changes there are.
    steps: usize,
    /// What the files hold without the last of them.
    base: Arc<Revocations>,
}

impl Cache {
    pub(super) fn new(all: PathBuf, present: Present) -> Self {
        Self { all, present, steps: 0, base: Arc::new(Revocations::Unreadable) }
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
            let changed = Revocations::from_changes(&pem, &issuers, &lists);
            match changed.and_then(|changed| changed.following(&lists, now())) {
                Ok(changed) => {
                    (self.base, self.steps) = (Arc::clone(&lists), nth);
                    lists = Arc::new(changed);
                }
                // Left over from before all was fetched anew.
                Err(RevocationsError::Older { .. } | RevocationsError::Missing) => break,
                Err(error) => return Err(FollowError::List(path, error)),
            }
        }
        Ok(Some(lists))
    }

    /// Keeps all the lists.
    pub(super) fn keep_all(
        &mut self,
        pem: &[u8],
        lists: &Arc<Revocations>,
    ) -> Result<(), FileError> {
        (self.steps, self.base) = (0, Arc::clone(lists));
        file::replace(&self.all, pem, Access::Public)
    }

    /// Keeps what has changed since `before`, which is what was kept. Says whether there is room for more.
    pub(super) fn keep_changes(
        &mut self,
        pem: &[u8],
        before: &Arc<Revocations>,
    ) -> Result<bool, FileError> {
        if self.steps == 0 || !self.fits(pem) {
            self.steps += 1;
            self.base = Arc::clone(before);
        }
        file::replace(&self.step(self.steps), pem, Access::Public)?;
        Ok(self.steps < MAX_STEPS)
    }

    /// Whether changes can take the place of the last that were kept.
    fn fits(&self, pem: &[u8]) -> bool {
        let issuers = self.present.now().list_issuers();
        let changed = Revocations::from_changes(pem, &issuers, &self.base);
        !matches!(changed, Err(RevocationsError::List(RevocationError::Baseless)))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, FollowError> {
    match read_regular(path) {
        Err(FollowError::Read(_, error)) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
