//! A store that fails when it is told to, and what a crash leaves of it and of the journal.

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{Authority, Change, Error, Ledger, Store, StoreError};

use crate::history::copy;
use crate::world::World;

/// How a write fails. Whoever asked for it cannot tell the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was written.
    Lost,
    /// Everything was written, and only the reply was lost.
    ReplyLost,
}

/// What a crash leaves of the journal's last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    All,
    /// So many octets of it; none is a write that never began.
    Octets(usize),
    /// All but its end.
    AllBut(usize),
    /// As long as it is, and zeros.
    Zeros,
}

/// What a crash leaves of a write of which nobody was told that it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remains {
    pub(crate) store: Fault,
    pub(crate) journal: Left,
}

/// In the journal alone, in both, in the store alone, nowhere.
pub(crate) const REMAINS: [Remains; 7] = [
    Remains { store: Fault::Lost, journal: Left::All },
    Remains { store: Fault::ReplyLost, journal: Left::All },
    Remains { store: Fault::ReplyLost, journal: Left::Octets(0) },
    Remains { store: Fault::ReplyLost, journal: Left::Octets(7) },
    Remains { store: Fault::Lost, journal: Left::Octets(7) },
    Remains { store: Fault::Lost, journal: Left::AllBut(1) },
    Remains { store: Fault::ReplyLost, journal: Left::Zeros },
];

impl Remains {
    /// Whether it is remembered.
    pub(crate) fn are_enough(self) -> bool {
        self.store == Fault::ReplyLost || self.journal == Left::All
    }
}

/// A store of which one write fails.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    fault: Fault,
    /// How many writes succeed before the one that fails.
    remaining: AtomicUsize,
    stopped: Mutex<bool>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn Store>, after: usize, fault: Fault) -> Self {
        Self { inner, fault, remaining: AtomicUsize::new(after), stopped: Mutex::new(false) }
    }
}

impl Store for FaultyStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.scan_after(prefix, after, visit)
    }

    fn replace(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut stopped = self.stopped.lock().unwrap();
        if *stopped {
            return Err(StoreError::Stopped);
        }
        let before = self.remaining.fetch_sub(1, Ordering::SeqCst);
        if before > 0 {
            return self.inner.replace(changes);
        }
        *stopped = true;
        if self.fault == Fault::ReplyLost {
            self.inner.replace(changes)?;
        }
        Err(StoreError::Failed("the disk is on fire".into()))
    }
}

impl World {
    /// With a store of which the write after `after` others fails.
    pub(crate) fn open_faulty(&self, after: usize, fault: Fault) -> Result<Authority, Error> {
        let home = self.home();
        let store = Arc::new(FaultyStore::new(home.open_store()?, after, fault));
        let ledger = Ledger::open(store, &home.journal_path())?;
        Authority::open(home, ledger, None, self.clock())
    }

    /// The crash after a write that failed.
    pub(crate) fn crash(&self, authority: Authority, remains: Remains) {
        drop(authority);
        self.tear(remains.journal);
    }

    /// Leaves so much of the journal's last line.
    fn tear(&self, left: Left) {
        let path = self.path("journal.jsonl");
        let mut octets = fs::read(&path).unwrap();
        let end = octets.len() - 1;
        let last = octets[..end].iter().rposition(|octet| *octet == b'\n').unwrap() + 1;
        match left {
            Left::All => return,
            Left::Octets(kept) => octets.truncate(last + kept),
            Left::AllBut(lost) => octets.truncate(end + 1 - lost),
            Left::Zeros => octets[last..].fill(0),
        }
        file::replace(&path, &octets, Access::Private).unwrap();
    }

    /// Puts back what another had.
    pub(crate) fn take_from(&self, other: &Self, name: &str) {
        let (from, to) = (other.path(name), self.path(name));
        if from.is_dir() {
            fs::remove_dir_all(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}
