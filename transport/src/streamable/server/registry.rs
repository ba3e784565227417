//! The sessions that are there: by their ids, and by their owners.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::session::{Era, HttpSession};
use super::{Owner, refusal::Refusal};
use crate::random::secret_name;

/// Sessions that are remembered. Whatever stands behind an endpoint has a lower limit of its own.
const MAX_SESSIONS: usize = 65_536;

#[derive(Default)]
pub(crate) struct Registry(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    named: HashMap<String, Arc<HttpSession>>,
    shared: Vec<Arc<HttpSession>>,
}

impl Registry {
    /// Enters a session under a new id, which nobody guesses and nobody else may use.
    pub(crate) fn enter(&self, session: &Arc<HttpSession>) -> Result<String, Refusal> {
        let id = secret_name().ok_or(Refusal::Unavailable)?;
        let mut sessions = self.lock();
        sessions.forget_ended();
        if sessions.named.len() >= MAX_SESSIONS {
            return Err(Refusal::TooManyRequests(None));
        }
        sessions.named.insert(id.clone(), Arc::clone(session));
        Ok(id)
    }

    /// The session with this id, if it is this owner's. A stranger's is as unknown as one that never was.
    pub(crate) fn find(&self, id: &str, owner: &Owner) -> Option<Arc<HttpSession>> {
        let sessions = self.lock();
        let found = sessions.named.get(id)?;
        (found.owner.is_same(owner) && !found.is_over()).then(|| Arc::clone(found))
    }

    /// Takes the session with this id out.
    pub(crate) fn remove(&self, id: &str) {
        self.lock().named.remove(id);
    }

    /// Every session that there is.
    pub(crate) fn all(&self) -> Vec<Arc<HttpSession>> {
        let sessions = self.lock();
        sessions.named.values().chain(&sessions.shared).map(Arc::clone).collect()
    }

    /// The session that all requests under one certificate share, opened if there is none.
    pub(crate) fn shared(
        &self,
        owner: &Owner,
        open: impl FnOnce() -> Arc<HttpSession>,
    ) -> Arc<HttpSession> {
        let mut sessions = self.lock();
        sessions.forget_ended();
        let found = sessions.shared.iter().find(|session| session.owner.is_same(owner));
        if let Some(found) = found {
            return Arc::clone(found);
        }
        let opened = open();
        debug_assert_eq!(opened.era, Era::Stateless);
        sessions.shared.push(Arc::clone(&opened));
        opened
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn forget_ended(&mut self) {
        self.named.retain(|_, session| !session.is_over());
        self.shared.retain(|session| !session.is_over());
    }
}
