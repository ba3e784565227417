//! What a client may do now: all that its certificate permits, or what is left of it while the
//! revocation list is stale.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vouchsafe_certs::PermissionSet;

/// The permissions of one client. Whoever judges its trust says when the lists go stale.
#[derive(Debug)]
pub(crate) struct Held {
    whole: PermissionSet,
    /// What goes on without a current list.
    rest: PermissionSet,
    is_stale: Arc<AtomicBool>,
}

impl Held {
    pub(crate) fn new(
        whole: PermissionSet,
        rest: PermissionSet,
        is_stale: Arc<AtomicBool>,
    ) -> Self {
        Self { whole, rest, is_stale }
    }

    /// Those that count at this moment.
    pub(super) fn now(&self) -> &PermissionSet {
        if self.is_stale() { &self.rest } else { &self.whole }
    }

    /// Those that are suspended at this moment along with others.
    pub(super) fn suspended(&self) -> Option<&PermissionSet> {
        self.is_stale().then_some(&self.whole)
    }

    fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }
}

impl From<PermissionSet> for Held {
    fn from(whole: PermissionSet) -> Self {
        Self::new(whole, PermissionSet::default(), Arc::default())
    }
}
