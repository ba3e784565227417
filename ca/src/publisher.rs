//! Signs and publishes revocation lists, one thread at a time.
//!
//! A list is much work, whatever it was signed for; so those who wait for their turn look first
//! whether the list that came out meanwhile holds what they need.

use std::sync::{Arc, Mutex};

use rustls_pki_types::UnixTime;
use tokio::sync::watch;

use crate::error::Error;
use crate::home::Home;
use crate::issuer::Issuer;
use crate::ledger::Ledger;
use crate::lists::Lists;
use crate::record::{Actor, Tier};

/// Signs and publishes lists.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// Whether a list was begun and is not out. Poisoned if publishing has panicked.
    unfinished: Mutex<bool>,
    published: watch::Sender<Arc<Lists>>,
}

/// What a list is signed with and from.
#[derive(Clone, Copy)]
pub(crate) struct Press<'a> {
    pub(crate) issuer: &'a Issuer,
    pub(crate) home: &'a Home,
    pub(crate) ledger: &'a Ledger,
    pub(crate) now: UnixTime,
}

impl Publisher {
    pub(crate) fn new(lists: Lists) -> Self {
        Self { unfinished: Mutex::default(), published: watch::Sender::new(Arc::new(lists)) }
    }

    /// The lists as they are published.
    pub(crate) fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.published.borrow())
    }

    /// The lists as they will be published.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Lists>> {
        self.published.subscribe()
    }

    /// Sees to it that a list is published that is not due and holds every revocation there is by now.
    pub(crate) fn keep(&self, tier: Tier, press: Press<'_>) -> Result<(), Error> {
        let needed = press.ledger.latest_revocation()?;
        let mut unfinished = self.unfinished.lock().map_err(|_| Error::Stopped)?;
        if *unfinished || self.lists().is_due(tier, press.ledger, needed, press.now)? {
            self.renew(&Actor::Itself, tier, press, &mut unfinished)?;
        }
        Ok(())
    }

    /// Whether there is a list to be signed.
    pub(crate) fn is_due(&self, tier: Tier, press: Press<'_>) -> Result<bool, Error> {
        let needed = press.ledger.latest_revocation()?;
        self.lists().is_due(tier, press.ledger, needed, press.now)
    }

    /// Publishes a list, due or not.
    pub(crate) fn publish(&self, by: &Actor, tier: Tier, press: Press<'_>) -> Result<(), Error> {
        let mut unfinished = self.unfinished.lock().map_err(|_| Error::Stopped)?;
        self.renew(by, tier, press, &mut unfinished)
    }

    fn renew(
        &self,
        by: &Actor,
        tier: Tier,
        press: Press<'_>,
        unfinished: &mut bool,
    ) -> Result<(), Error> {
        *unfinished = true;
        let mut lists = (*self.lists()).clone();
        lists.renew(by, tier, press)?;
        self.published.send_replace(Arc::new(lists));
        *unfinished = false;
        Ok(())
    }
}
