//! How many sessions there are, and whose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouchsafe_certs::Principal;

use crate::Denial;

/// How many sessions each principal has, those included whose child is still ending.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Principal, usize>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, where the principal has fewer than `limit` and all together fewer than `limit_of_all`.
    pub(super) fn enter(
        self: &Arc<Self>,
        principal: &Principal,
        limit: usize,
        limit_of_all: usize,
    ) -> Result<Place, Denial> {
        let mut sessions = self.lock();
        if sessions.values().sum::<usize>() >= limit_of_all {
            return Err(Denial::TooManySessions);
        }
        let own = sessions.get(principal).copied().unwrap_or_default();
        if own >= limit {
            return Err(Denial::TooManySessionsOfPrincipal);
        }
        sessions.insert(principal.clone(), own + 1);
        Ok(Place { sessions: Arc::clone(self), principal: principal.clone() })
    }
}

/// A place among the sessions, left when it is dropped.
pub(super) struct Place {
    sessions: Arc<Sessions>,
    principal: Principal,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        if let Some(own) = sessions.get_mut(&self.principal) {
            *own -= 1;
            if *own == 0 {
                sessions.remove(&self.principal);
            }
        }
    }
}
