//! Signs and publishes revocation lists, one thread at a time.
//!
//! A list is much work, whatever it was signed for; so those who wait for their turn look first
//! whether the list that came out meanwhile holds what they need.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use vouchsafe_certs::Serial;

use crate::error::Error;
use crate::home::Home;
use crate::issuer::Issuer;
use crate::ledger::Ledger;
use crate::lists::{Lists, entries};
use crate::record::{Actor, Event, ListRecord, RevokedRecord};
use crate::refusal::Refusal;

/// Signs and publishes lists.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// CAs whose list was begun and is not out. Poisoned if publishing has panicked.
    unfinished: Mutex<HashSet<Serial>>,
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

    /// Sees to it that a list is published that is not due and holds every revocation there is by now,
    /// and says which: a later one may be on record by then, and not out.
    pub(crate) fn keep(&self, press: Press<'_>) -> Result<Option<ListRecord>, Error> {
        let Press { ledger, now, .. } = press;
        let issuer = press.issuer.certificate().serial;
        let needed = ledger.latest_revocation(&issuer)?;
        let mut unfinished = self.unfinished.lock().map_err(|_| Error::Stopped)?;
        if unfinished.contains(&issuer) || self.lists().is_due(&issuer, ledger, needed, now)? {
            self.renew(&Actor::Itself, press, false, &mut unfinished)?;
        }
        ledger.list(&issuer)
    }

    /// Whether there is a list to be signed.
    pub(crate) fn is_due(
        &self,
        issuer: &Serial,
        ledger: &Ledger,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let needed = ledger.latest_revocation(issuer)?;
        self.lists().is_due(issuer, ledger, needed, now)
    }

    /// Publishes a list, due or not.
    pub(crate) fn publish(
        &self,
        by: &Actor,
        press: Press<'_>,
    ) -> Result<Option<ListRecord>, Error> {
        let mut unfinished = self.unfinished.lock().map_err(|_| Error::Stopped)?;
        self.renew(by, press, true, &mut unfinished)?;
        press.ledger.list(&press.issuer.certificate().serial)
    }

    /// Takes in that a CA has come.
    pub(crate) fn follow(&self, ledger: &Ledger, now: UnixTime) -> Result<(), Error> {
        let _alone = self.unfinished.lock().map_err(|_| Error::Stopped)?;
        let mut lists = (*self.lists()).clone();
        lists.follow(ledger, now)?;
        self.published.send_replace(Arc::new(lists));
        Ok(())
    }

    /// Ends a CA's time: a last list, which holds until its certificate ends.
    pub(crate) fn end(&self, by: &Actor, press: Press<'_>) -> Result<(), Error> {
        let Press { issuer, ledger, now, .. } = press;
        let certificate = issuer.certificate();
        let serial = certificate.serial;
        let mut unfinished = self.unfinished.lock().map_err(|_| Error::Stopped)?;
        // One list beyond the end of every certificate has to name those revoked (RFC 5280 §3.3), so
        // an ordinary one comes before the last.
        self.renew(&Actor::Itself, press, true, &mut unfinished)?;
        let number = ledger.list(&serial)?.map_or(1, |list| list.number + 1);
        // What is revoked and has not ended stays so: a root outlives the CAs that it has revoked.
        let entries = entries(&serial, ledger, ledger.complete_list(&serial)?.as_ref(), now)?;
        let last_list = issuer.sign_list(number, now, certificate.not_after, &entries)?;
        self.conclude(by, &serial, last_list, press.home, ledger, now)
    }

    /// Ends the time of a CA whose key is gone: its latest list is its last.
    pub(crate) fn end_without_key(
        &self,
        by: &Actor,
        serial: &Serial,
        home: &Home,
        ledger: &Ledger,
        now: UnixTime,
    ) -> Result<(), Error> {
        let _alone = self.unfinished.lock().map_err(|_| Error::Stopped)?;
        // Nobody who has heard of a later list would go back to the complete one.
        let is_whole = ledger.list(serial)?.is_some_and(|latest| latest.base.is_none());
        let lists = self.lists();
        let counts = |(_, revoked): &(Serial, RevokedRecord)| revoked.not_after >= now;
        let is_told = !lists.untold(serial, ledger)?.iter().any(counts);
        let published = lists.of(serial).filter(|_| is_whole && is_told).map(<[u8]>::to_vec);
        let last_list = published.ok_or(Refusal::NoLastList(*serial))?;
        self.conclude(by, serial, last_list, home, ledger, now)
    }

    fn conclude(
        &self,
        by: &Actor,
        serial: &Serial,
        last_list: Vec<u8>,
        home: &Home,
        ledger: &Ledger,
        now: UnixTime,
    ) -> Result<(), Error> {
        ledger.record(by, &Event::CaRetired { serial: *serial, last_list }, now)?;
        let mut lists = (*self.lists()).clone();
        lists.follow(ledger, now)?;
        lists.publish(home)?;
        self.published.send_replace(Arc::new(lists));
        Ok(())
    }

    fn renew(
        &self,
        by: &Actor,
        press: Press<'_>,
        all: bool,
        unfinished: &mut HashSet<Serial>,
    ) -> Result<(), Error> {
        let issuer = press.issuer.certificate().serial;
        unfinished.insert(issuer);
        let mut lists = (*self.lists()).clone();
        lists.renew(by, press, all)?;
        self.published.send_replace(Arc::new(lists));
        unfinished.remove(&issuer);
        Ok(())
    }
}
