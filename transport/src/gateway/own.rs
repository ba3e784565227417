//! What the gateway's own certificate permits.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use vouchsafe_certs::PermissionSet;

use crate::{Identity, Peer, Role};

/// What the gateway's own certificate permits, as a client would read it: looked at once for each
/// certificate, and asked at every session.
pub(super) struct Own {
    identity: watch::Receiver<Arc<Identity>>,
    read: Mutex<Option<(Arc<Identity>, PermissionSet)>>,
}

impl Own {
    pub(super) fn of(identity: watch::Receiver<Arc<Identity>>) -> Self {
        Self { identity, read: Mutex::default() }
    }

    pub(super) fn permissions(&self) -> PermissionSet {
        let present = Arc::clone(&self.identity.borrow());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((identity, permissions)) if Arc::ptr_eq(identity, &present) => permissions.clone(),
            _ => {
                let permissions = permissions_of(&present);
                *read = Some((present, permissions.clone()));
                permissions
            }
        }
    }
}

fn permissions_of(identity: &Identity) -> PermissionSet {
    let Some((leaf, intermediates)) = identity.chain.split_first() else {
        return PermissionSet::default();
    };
    let own = Peer::from_chain(leaf, intermediates, &identity.roots, Role::Server);
    own.map(|own| own.permissions).unwrap_or_default()
}
