//! The store and the journal, written together: the only way to change either.

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{Fingerprint, Principal, PublicKey, Serial};

use crate::audit::{HEAD, Head, stored_head};
use crate::committer::Committer;
use crate::consequences::{
    AUTHORITY, CERTIFICATES, INVITATIONS, REVOKED, ca_key, cas, certificate_key, delta_key,
    device_key, fallen_inviter, fingerprint_key, holder_prefix, invitation_key, invited_prefix,
    last_leaf_key, list_key, parse, read, read_certificate, read_newest, read_revocation,
    recent_prefix, redeemed_key, revocations_key, revoked_key, serial_from,
};
use crate::error::Error;
use crate::home::Rebuilt;
use crate::invitation::{InvitationRecord, is_id};
use crate::journal::{Journal, Mended};
use crate::pending::Pending;
use crate::record::{
    Actor, AuthorityRecord, CaRecord, CertificateRecord, DeviceRecord, Event, ListRecord,
    Revocation, RevokedRecord,
};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError};

/// What the CA remembers. Any number of threads may read and record at the same time.
#[derive(Debug)]
pub struct Ledger {
    // Before `store`, which is closed only when its thread has let go of it.
    committer: Committer,
    store: Arc<dyn Store>,
    mended: Mended,
    rebuilt: Option<Rebuilt>,
}

impl Ledger {
    /// Begins a ledger in an empty store.
    pub(crate) fn begin(store: Arc<dyn Store>, journal: &Path) -> Result<Self, Error> {
        Self::start(store, journal, &Head::beginning())
    }

    /// Opens the ledger and brings journal and store level.
    ///
    /// # Errors
    /// [`Error::Store`] if the store is empty or damaged, [`Error::Journal`] if the journal contradicts
    /// the store.
    pub fn open(store: Arc<dyn Store>, journal: &Path) -> Result<Self, Error> {
        let stored = stored_head(&*store)?.ok_or_else(|| damaged(HEAD))?;
        Self::start(store, journal, &stored)
    }

    fn start(store: Arc<dyn Store>, journal: &Path, stored: &Head) -> Result<Self, Error> {
        let mut journal = Journal::open(journal)?;
        let (head, mended) = journal.draw_level(&*store, stored)?;
        let committer = Committer::start(Arc::clone(&store), journal, head)?;
        Ok(Self { committer, store, mended, rebuilt: None })
    }

    /// What had to be mended when the ledger was opened.
    #[must_use]
    pub fn mended(&self) -> Mended {
        self.mended
    }

    /// How the store was built anew when the home was opened, if it was.
    #[must_use]
    pub fn rebuilt(&self) -> Option<&Rebuilt> {
        self.rebuilt.as_ref()
    }

    /// The same, after its store was built anew.
    pub(crate) fn after(self, rebuilt: Rebuilt) -> Self {
        Self { rebuilt: Some(rebuilt), ..self }
    }

    /// The latest record on disk.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn head(&self) -> Result<Head, Error> {
        Ok(stored_head(&*self.store)?.unwrap_or_else(Head::beginning))
    }

    /// Remembers an event, with everything that follows from it. Durable when it returns; threads that
    /// ask at the same time share one write.
    ///
    /// # Errors
    /// [`Error::Refused`] changes nothing. After any other error nothing more may be recorded: it is
    /// unknown whether the event is on disk, and only opening the ledger anew tells.
    pub(crate) fn record(&self, by: &Actor, event: &Event, at: UnixTime) -> Result<(), Error> {
        self.hand_over(by.clone(), event.clone(), at)?.wait()
    }

    /// As [`record`](Self::record), for whoever has something better to do than to wait.
    pub(crate) fn hand_over(
        &self,
        by: Actor,
        event: Event,
        at: UnixTime,
    ) -> Result<Pending<()>, Error> {
        self.committer.commit(by, event, at)
    }

    /// Waits until everything that can be read is on disk: what is told to somebody because it was
    /// read must be as durable as what is told because it was recorded.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        self.hand_over_nothing()?.wait()
    }

    /// As [`settle`](Self::settle), for whoever has something better to do than to wait.
    pub(crate) fn hand_over_nothing(&self) -> Result<Pending<()>, Error> {
        self.committer.settle()
    }

    /// Records nothing more until it is opened anew.
    pub(crate) fn stop(&self) {
        self.committer.stop();
    }

    /// Which CA this is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn authority(&self) -> Result<AuthorityRecord, Error> {
        Ok(read(&*self.store, AUTHORITY)?.ok_or_else(|| damaged(AUTHORITY))?)
    }

    /// What is known of a certificate.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn certificate(&self, serial: &Serial) -> Result<Option<CertificateRecord>, Error> {
        Ok(read_certificate(&*self.store, serial)?)
    }

    /// The serial number of the certificate with this fingerprint.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn serial_of(&self, fingerprint: &Fingerprint) -> Result<Option<Serial>, Error> {
        let key = fingerprint_key(fingerprint);
        let value = self.store.get(&key)?;
        let number = |value: Vec<u8>| String::from_utf8(value).ok()?.parse().ok();
        Ok(value.map(|value| number(value).ok_or_else(|| damaged(&key))).transpose()?)
    }

    /// Shows `visit` certificates, of everybody or of one principal, in the order of their serial
    /// numbers from the one after `after` on, until it breaks. So a page costs what is on it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn each_certificate(
        &self,
        of: Option<&Principal>,
        after: Option<&Serial>,
        visit: &mut dyn FnMut(CertificateRecord) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let prefix = of.map_or_else(|| CERTIFICATES.to_owned(), holder_prefix);
        let after = after.map_or_else(String::new, |serial| format!("{prefix}{serial}"));
        let mut found = Ok(());
        self.store.scan_after(&prefix, &after, &mut |key, value| {
            let record = match of {
                None => self.with_revocation(parse(key, value)),
                Some(_) => self.held(key.strip_prefix(&prefix).unwrap_or_default()),
            };
            record.map(&mut *visit).unwrap_or_else(|error| {
                found = Err(error);
                ControlFlow::Break(())
            })
        })?;
        Ok(found?)
    }

    /// Revocations stand beside the certificates.
    fn with_revocation(
        &self,
        record: Result<CertificateRecord, StoreError>,
    ) -> Result<CertificateRecord, StoreError> {
        let mut record = record?;
        record.revoked = read_revocation(&*self.store, &record.planned.serial)?;
        Ok(record)
    }

    /// The certificate that a holder's entry names.
    fn held(&self, serial: &str) -> Result<CertificateRecord, StoreError> {
        let damaged = || damaged(&format!("{CERTIFICATES}{serial}"));
        let serial = serial.parse().map_err(|_| damaged())?;
        read_certificate(&*self.store, &serial)?.ok_or_else(damaged)
    }

    /// All certificates, in the order of their serial numbers.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn certificates(&self) -> Result<Vec<CertificateRecord>, Error> {
        self.collect(None)
    }

    /// All certificates of a principal.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn certificates_of(&self, principal: &Principal) -> Result<Vec<CertificateRecord>, Error> {
        self.collect(Some(principal))
    }

    fn collect(&self, of: Option<&Principal>) -> Result<Vec<CertificateRecord>, Error> {
        let mut records = Vec::new();
        self.each_certificate(of, None, &mut |record| {
            records.push(record);
            ControlFlow::Continue(())
        })?;
        Ok(records)
    }

    /// The serial number of the newest certificate of the lineage that begins with `first`.
    pub(crate) fn newest(&self, first: &Serial) -> Result<Serial, Error> {
        Ok(read_newest(&*self.store, first)?)
    }

    /// A certificate that its lineage names.
    pub(crate) fn of_lineage(&self, serial: &Serial) -> Result<CertificateRecord, Error> {
        Ok(self.certificate(serial)?.ok_or_else(|| damaged(&certificate_key(serial)))?)
    }

    /// What is known of an invitation.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn invitation(&self, id: &str) -> Result<Option<InvitationRecord>, Error> {
        Ok(if is_id(id) { read(&*self.store, &invitation_key(id))? } else { None })
    }

    /// Shows `visit` every invitation that is not forgotten yet, in the order of their ids from the one
    /// after `after` on, until it breaks.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn each_invitation(
        &self,
        after: Option<&str>,
        visit: &mut dyn FnMut(InvitationRecord) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let after = after.map_or_else(String::new, invitation_key);
        let mut found = Ok(());
        self.store.scan_after(INVITATIONS, &after, &mut |key, value| {
            parse(key, value).map(&mut *visit).unwrap_or_else(|error| {
                found = Err(error);
                ControlFlow::Break(())
            })
        })?;
        Ok(found?)
    }

    /// Whether an invitation is void because whoever made it was revoked since.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn is_void(&self, invitation: &InvitationRecord) -> Result<bool, Error> {
        Ok(fallen_inviter(&*self.store, invitation)?.is_some())
    }

    /// Whoever made an invitation must still be trusted.
    pub(crate) fn demand_inviter(&self, invitation: &InvitationRecord) -> Result<(), Error> {
        match fallen_inviter(&*self.store, invitation)? {
            None => Ok(()),
            Some((inviter, Revocation { reason, .. })) => {
                Err(Refusal::InviterRevoked { inviter, reason }.into())
            }
        }
    }

    /// The certificate that a key got for an invitation.
    pub(crate) fn redeemed(
        &self,
        id: &str,
        public_key: &PublicKey,
    ) -> Result<Option<CertificateRecord>, Error> {
        let key = redeemed_key(id, public_key);
        let Some(serial) = self.store.get(&key)? else { return Ok(None) };
        let serial = serial_from(&key, &serial)?;
        Ok(Some(self.certificate(&serial)?.ok_or_else(|| damaged(&key))?))
    }

    /// Whether a principal ever had a certificate, or is invited.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn knows(&self, principal: &Principal) -> Result<bool, Error> {
        let mut known = false;
        for prefix in [holder_prefix(principal), invited_prefix(principal)] {
            self.store.scan(&prefix, &mut |_, _| {
                known = true;
                ControlFlow::Break(())
            })?;
        }
        Ok(known)
    }

    /// Whether a device is revoked, and its limit.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn device(&self, principal: &Principal) -> Result<Option<DeviceRecord>, Error> {
        Ok(read(&*self.store, &device_key(principal))?)
    }

    /// Every root and issuing CA there ever was, the newest first, with its serial number.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn cas(&self) -> Result<Vec<(Serial, CaRecord)>, Error> {
        let mut cas = cas(&*self.store)?;
        cas.sort_unstable_by_key(|(_, record)| Reverse(record.sequence));
        Ok(cas)
    }

    /// What is known of a root or issuing CA.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn ca(&self, serial: &Serial) -> Result<Option<CaRecord>, Error> {
        Ok(read(&*self.store, &ca_key(serial))?)
    }

    /// When the last certificate that an issuing CA has issued ends, rounded up to the hour; `None` if
    /// it has issued none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn last_leaf(&self, issuer: &Serial) -> Result<Option<UnixTime>, Error> {
        let seconds: Option<u64> = read(&*self.store, &last_leaf_key(issuer))?;
        Ok(seconds.map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds))))
    }

    /// The latest revocation list of a CA, complete or not, given the serial number of its certificate.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self, issuer: &Serial) -> Result<Option<ListRecord>, Error> {
        let complete = self.complete_list(issuer)?;
        let number = complete.as_ref().map_or(0, |complete| complete.number);
        Ok(self.delta(issuer)?.filter(|delta| delta.number > number).or(complete))
    }

    /// The latest complete revocation list of a CA.
    pub(crate) fn complete_list(&self, issuer: &Serial) -> Result<Option<ListRecord>, Error> {
        Ok(read(&*self.store, &list_key(issuer))?)
    }

    /// The latest list of what was revoked lately, if it says no less than the complete one.
    pub(crate) fn delta(&self, issuer: &Serial) -> Result<Option<ListRecord>, Error> {
        let delta: Option<ListRecord> = read(&*self.store, &delta_key(issuer))?;
        let complete = self.complete_list(issuer)?.map_or(0, |complete| complete.number);
        Ok(delta.filter(|delta| delta.number >= complete))
    }

    /// The place in the journal of the latest revocation that a CA's list must tell; 0 if there was none.
    pub(crate) fn latest_revocation(&self, issuer: &Serial) -> Result<u64, Error> {
        Ok(read(&*self.store, &revocations_key(issuer))?.unwrap_or_default())
    }

    /// What was revoked since a CA's last complete list, and after a place in the journal.
    pub(crate) fn recently_revoked(
        &self,
        issuer: &Serial,
        after: u64,
    ) -> Result<Vec<(Serial, RevokedRecord)>, Error> {
        let prefix = recent_prefix(issuer);
        let entry = |(key, _): (String, u64)| {
            let serial = key.strip_prefix(&prefix).and_then(|serial| serial.parse().ok());
            let serial = serial.ok_or_else(|| damaged(&key))?;
            let revoked_key = revoked_key(&serial);
            let record = read(&*self.store, &revoked_key)?.ok_or_else(|| damaged(&revoked_key))?;
            Ok((serial, record))
        };
        let recent = self.all(&prefix)?.into_iter().filter(|(_, sequence)| *sequence > after);
        recent.map(entry).collect()
    }

    /// Everything that was ever revoked.
    pub(crate) fn revoked(&self) -> Result<Vec<(Serial, RevokedRecord)>, Error> {
        let entry = |(key, entry): (String, RevokedRecord)| {
            let serial = key.strip_prefix(REVOKED).and_then(|serial| serial.parse().ok());
            Ok((serial.ok_or_else(|| damaged(&key))?, entry))
        };
        self.all(REVOKED)?.into_iter().map(entry).collect()
    }

    fn all<T: serde::de::DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>, Error> {
        let mut found = Ok(Vec::new());
        self.store.scan(prefix, &mut |key, value| {
            let Ok(records) = &mut found else { return ControlFlow::Break(()) };
            match parse(key, value) {
                Ok(record) => {
                    records.push((key.to_owned(), record));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    found = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        Ok(found?)
    }

    /// The store, for a comparison with the journal.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }
}

fn damaged(key: &str) -> StoreError {
    StoreError::Damaged { key: key.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::SledStore;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn event() -> Event {
        Event::Reinstated { principal: Principal::parse("spiffe://acme.example/a").unwrap() }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_under_the_journal_stops_the_ledger_and_loses_nothing() {
        let store: Arc<dyn Store> = Arc::new(SledStore::temporary().unwrap());
        let full = Ledger::begin(Arc::clone(&store), Path::new("/dev/full")).unwrap();
        assert!(matches!(full.record(&Actor::Home, &event(), at(1)), Err(Error::Journal(_))));
        assert!(matches!(full.record(&Actor::Home, &event(), at(2)), Err(Error::Stopped)));
        let folder = tempfile::tempdir().unwrap();
        let opened = Ledger::open(store, &folder.path().join("journal.jsonl")).unwrap();
        assert_eq!((opened.head().unwrap().sequence, opened.mended().appended), (1, 1));
        opened.record(&Actor::Home, &event(), at(3)).unwrap();
    }

    #[test]
    fn a_refused_change_does_not_stop_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(SledStore::temporary().unwrap());
        let open = || Ledger::begin(Arc::clone(&store), &folder.path().join("journal.jsonl"));
        let (one, other) = (open().unwrap(), open().unwrap());
        one.record(&Actor::Home, &event(), at(1)).unwrap();
        // Somebody else was faster: nothing is written, and that is what is said.
        for _ in 0..2 {
            let refused = other.record(&Actor::Home, &event(), at(2));
            assert!(matches!(refused, Err(Error::Store(StoreError::Conflict { .. }))));
        }
        one.record(&Actor::Home, &event(), at(3)).unwrap();
    }
}
