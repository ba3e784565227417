//! The CA at work: issue, revoke, publish.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, RwLock};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use vouchsafe_certs::{CaCertificate, Certificate, Principal, Serial};

use crate::error::Error;
use crate::home::Home;
use crate::issuer::{Issuer, SigningError};
use crate::issuers::{Issuers, Signer};
use crate::keys::Passphrase;
use crate::ledger::Ledger;
use crate::lists::Lists;
use crate::pending::Pending;
use crate::profile::{Order, ProfileError};
use crate::publisher::{Press, Publisher};
use crate::reason::Reason;
use crate::record::{Actor, CertificateRecord, Event, ListRecord, Origin, Tier};
use crate::refusal::Refusal;
use crate::rotation::root_above;
use crate::store::StoreError;

/// A certificate that was just issued, with everything its holder needs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issued {
    /// What the certificate says.
    pub certificate: Certificate,
    /// The certificate and the issuing CA's, in the order of TLS.
    pub chain: Vec<CertificateDer<'static>>,
    /// What its holder trusts: every root whose time is not over, the newest first.
    pub roots: Vec<CertificateDer<'static>>,
}

/// What a revocation came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Whether anything was new; revoking twice is no error.
    pub changed: bool,
    /// The certificates that this revoked and that would still count.
    pub certificates: Vec<CertificateRecord>,
    /// The list that says so; of several, that of the issuing CA at work.
    pub list: ListRecord,
}

/// A certificate authority: a home, its memory, and the issuing CAs' keys.
///
/// Any number of threads may use it at the same time: they sign on their own, and share the writes.
#[derive(Debug)]
pub struct Authority {
    // Before `home`, so that the store is closed while the home's lock is still held.
    pub(crate) ledger: Ledger,
    pub(crate) publisher: Publisher,
    issuers: RwLock<Arc<Issuers>>,
    /// Held by whoever lets a CA come or go.
    pub(crate) rotating: Mutex<()>,
    pub(crate) passphrase: Passphrase,
    clock: Arc<dyn TimeProvider>,
    home: Home,
}

impl Authority {
    /// Opens the issuing CAs' keys, and signs the lists that are due.
    ///
    /// A root's key is opened only if the root's list is due and the key is there, and is not kept.
    ///
    /// # Errors
    /// [`RebuildError::Behind`](crate::RebuildError) if a published list is beyond the record; or see [`Error`].
    pub fn open(
        home: Home,
        ledger: Ledger,
        passphrase: Option<&[u8]>,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, Error> {
        let now = clock.current_time().ok_or(Error::ClockUnavailable)?;
        let issuers = RwLock::new(Arc::new(Issuers::open(&home, &ledger, passphrase, now)?));
        let publisher = Publisher::new(Lists::read(&home, &ledger, now)?);
        let rotating = Mutex::default();
        let passphrase = Passphrase::new(passphrase);
        let authority = Self { ledger, publisher, issuers, rotating, passphrase, clock, home };
        authority.publish_roots()?;
        authority.remove_keys_of_retired()?;
        authority.keep_lists()?;
        Ok(authority)
    }

    /// The issuing CAs' first: without them nobody is revoked. Whatever becomes of them, the roots' are tried.
    fn keep_lists(&self) -> Result<(), Error> {
        let now = self.now()?;
        let issuing = self.keep_issuing_lists(now);
        let roots = self.keep_root_lists(now);
        issuing.and(roots)
    }

    fn keep_root_lists(&self, now: UnixTime) -> Result<(), Error> {
        for (serial, record) in self.ledger.cas()? {
            if record.tier == Tier::Root
                && self.publisher.is_due(&serial, &self.ledger, now)?
                // A key that does not open is as good as one that is elsewhere: it keeps nobody from revoking.
                && let Ok(Some(root)) = self.home.issuer(&serial, &record, self.passphrase.octets())
            {
                self.publisher.keep(self.press(&root, now))?;
            }
        }
        Ok(())
    }

    /// Signs the lists that are due, for whoever keeps the CA open: the issuing CAs', and those of roots
    /// whose key is in the home and opens.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn keep_up(&self) -> Result<(), Error> {
        self.keep_lists()
    }

    /// Sees to it that no issuing CA's list is due.
    fn keep_issuing_lists(&self, now: UnixTime) -> Result<(), Error> {
        for signer in self.issuers()?.iter() {
            self.publisher.keep(self.press(&signer.issuer, now))?;
        }
        Ok(())
    }

    /// Does something to the list of every issuing CA, and answers with that of the one at work.
    fn each_list(
        &self,
        now: UnixTime,
        act: impl Fn(Press<'_>) -> Result<Option<ListRecord>, Error>,
    ) -> Result<ListRecord, Error> {
        let at_work = self.signing(now)?.serial();
        let mut found = None;
        for signer in self.issuers()?.iter() {
            let list = act(self.press(&signer.issuer, now))?;
            if signer.serial() == at_work {
                found = list;
            }
        }
        Ok(found.ok_or_else(|| StoreError::Damaged { key: format!("list/{at_work}") })?)
    }

    pub(crate) fn press<'a>(&'a self, issuer: &'a Issuer, now: UnixTime) -> Press<'a> {
        Press { issuer, home: &self.home, ledger: &self.ledger, now }
    }

    /// Issues a certificate: signed, read again, compared with the plan, recorded, and only then answered.
    ///
    /// # Errors
    /// [`Refusal::Reserved`], or see [`Error`]. Without an answer, the certificate is on record or was never anywhere.
    pub fn issue(&self, by: &Actor, order: Order) -> Result<Issued, Error> {
        self.begin_issue(by, order)?.wait()
    }

    /// As [`issue`](Self::issue), without keeping a thread for as long as the disk takes.
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn begin_issue(&self, by: &Actor, order: Order) -> Result<Pending<Issued>, Error> {
        by.demand_say(&order.principal)?;
        self.certify(by.clone(), order, Origin::Order, self.now()?)
    }

    /// Plans, signs, compares and hands over to be recorded.
    pub(crate) fn certify(
        &self,
        by: Actor,
        order: Order,
        origin: Origin,
        now: UnixTime,
    ) -> Result<Pending<Issued>, Error> {
        let signer = self.signing(now)?;
        let plan = signer.profile.plan(order, Serial::random()?, now)?;
        let planned = plan.planned().clone();
        let signed = match signer.issuer.sign(plan) {
            Ok(signed) => signed,
            Err(error) => {
                if matches!(error, SigningError::NotAsPlanned | SigningError::Unreadable(_)) {
                    self.ledger.stop();
                }
                return Err(error.into());
            }
        };
        let certificate = signed.der.to_vec();
        let issued =
            self.with_chain(signed.certificate, signed.der, signer.issuer.certificate())?;
        let event = Event::Issued { planned, certificate, origin };
        Ok(self.ledger.hand_over(by, event, now)?.map(|()| issued))
    }

    /// What was issued before, once more.
    pub(crate) fn hand_out(&self, der: &[u8]) -> Result<Issued, Error> {
        let certificate = Certificate::from_der(der)?;
        for (_, record) in self.look_up(Ledger::cas)? {
            let issuer = CaCertificate::from_der(&record.certificate)?;
            if issuer.id == certificate.issuer {
                let der = CertificateDer::from(der.to_vec());
                return self.with_chain(certificate, der, &issuer);
            }
        }
        Err(Refusal::NoSuchCertificate(certificate.serial).into())
    }

    fn with_chain(
        &self,
        certificate: Certificate,
        der: CertificateDer<'static>,
        issuer: &CaCertificate,
    ) -> Result<Issued, Error> {
        let chain = vec![der, issuer.der.clone()];
        Ok(Issued { certificate, chain, roots: self.issuers()?.roots.clone() })
    }

    /// Revokes one certificate.
    ///
    /// # Errors
    /// [`Refusal::NoSuchCertificate`], [`Refusal::Reserved`], or see [`Error`].
    pub fn revoke(&self, by: &Actor, serial: &Serial, reason: Reason) -> Result<Outcome, Error> {
        let now = self.now()?;
        let held = self.on_record(serial)?;
        by.demand_say(&held.planned.principal)?;
        let is_news = held.is_news(reason);
        let event = is_news.then_some(Event::Revoked { serial: *serial, reason });
        let list = self.conclude(by, event, now, |record| record.planned.serial == *serial)?;
        let certificates = if is_news { vec![self.on_record(serial)?] } else { vec![] };
        Ok(Outcome { changed: is_news, certificates, list })
    }

    /// Revokes a device: all its certificates, and every further issue to its name. Expired ones
    /// are among them, for what counts as expired rests on a clock that may be wrong.
    ///
    /// # Errors
    /// [`Refusal::NoSuchDevice`], [`Refusal::Reserved`], or see [`Error`].
    pub fn revoke_device(
        &self,
        by: &Actor,
        principal: &Principal,
        reason: Reason,
    ) -> Result<Outcome, Error> {
        by.demand_say(principal)?;
        let now = self.now()?;
        let certificates = self.ledger.certificates_of(principal)?;
        if !self.ledger.knows(principal)? {
            return Err(Refusal::NoSuchDevice(principal.clone()).into());
        }
        let revoked = self.ledger.device(principal)?.and_then(|device| device.revoked);
        let device_is_news = revoked.is_none_or(|earlier| earlier.reason.yields_to(reason));
        let (news, old): (Vec<_>, Vec<_>) =
            certificates.into_iter().partition(|record| record.is_news(reason));
        let changed = device_is_news || !news.is_empty();
        let event = changed.then(|| Event::DeviceRevoked { principal: principal.clone(), reason });
        let list =
            self.conclude(by, event, now, |record| record.planned.principal == *principal)?;
        // Read once more: one may have been issued in the meantime, and then it is revoked as well.
        let old: HashSet<Serial> = old.iter().map(|record| record.planned.serial).collect();
        let mut certificates = self.ledger.certificates_of(principal)?;
        certificates.retain(|CertificateRecord { planned, .. }| {
            planned.not_after >= now && !old.contains(&planned.serial)
        });
        Ok(Outcome { changed, certificates, list })
    }

    /// Lets a revoked device have certificates again. What was revoked stays revoked.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reinstate(&self, by: &Actor, principal: &Principal) -> Result<Outcome, Error> {
        by.demand_say(principal)?;
        let now = self.now()?;
        let device = self.ledger.device(principal)?;
        if device.is_none() && self.ledger.certificates_of(principal)?.is_empty() {
            return Err(Refusal::NoSuchDevice(principal.clone()).into());
        }
        let revoked = device.filter(|device| device.revoked.is_some());
        let event = revoked.map(|device| Event::Reinstated { principal: device.principal });
        let changed = event.is_some();
        let list = self.conclude(by, event, now, |_| false)?;
        Ok(Outcome { changed, certificates: vec![], list })
    }

    /// Records what is news, and publishes lists that hold everything that was revoked so far, or at
    /// least what `is_meant`: the certificates that this is about.
    pub(crate) fn conclude(
        &self,
        by: &Actor,
        event: Option<Event>,
        now: UnixTime,
        is_meant: impl Fn(&CertificateRecord) -> bool,
    ) -> Result<ListRecord, Error> {
        match event {
            Some(event) => self.ledger.record(by, &event, now)?,
            // What makes it no news must be on disk before anybody is told.
            None => self.ledger.settle()?,
        }
        // Also if nothing is news: an earlier attempt may have been interrupted before it got here.
        let list = self.each_list(now, |press| self.publisher.keep(press))?;
        self.demand_told(now, is_meant)?;
        Ok(list)
    }

    fn on_record(&self, serial: &Serial) -> Result<CertificateRecord, Error> {
        Ok(self.ledger.certificate(serial)?.ok_or(Refusal::NoSuchCertificate(*serial))?)
    }

    /// Signs and publishes the issuing CAs' lists, due or not. Answers with that of the one at work.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn publish(&self, by: &Actor) -> Result<ListRecord, Error> {
        let now = self.now()?;
        self.each_list(now, |press| self.publisher.publish(by, press))
    }

    /// The lists as they are published.
    #[must_use]
    pub fn lists(&self) -> Arc<Lists> {
        self.publisher.lists()
    }

    /// The lists as they are published, now and from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Lists>> {
        self.publisher.subscribe()
    }

    /// Looks something up in what the CA remembers.
    ///
    /// # Errors
    /// What `look` says.
    pub fn look_up<T>(&self, look: impl FnOnce(&Ledger) -> Result<T, Error>) -> Result<T, Error> {
        look(&self.ledger)
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Remembers an event that revokes nothing.
    pub(crate) fn record(&self, by: &Actor, event: &Event, now: UnixTime) -> Result<(), Error> {
        self.ledger.record(by, event, now)
    }

    /// The certificate of the issuing CA at work, or of the root above it.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::ClockUnavailable`].
    pub fn certificate(&self, tier: Tier) -> Result<CaCertificate, Error> {
        let issuing = self.signing(self.now()?)?.issuer.certificate().clone();
        if tier == Tier::Issuing {
            return Ok(issuing);
        }
        let serial = self.look_up(|ledger| root_above(ledger, &issuing))?;
        let record = self.ledger.ca(&serial)?.ok_or(Refusal::NotARoot)?;
        Ok(CaCertificate::from_der(&record.certificate)?)
    }

    /// What relying parties trust: every root whose time is not over, the newest first.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        Ok(self.issuers()?.roots.clone())
    }

    pub(crate) fn issuers(&self) -> Result<Arc<Issuers>, Error> {
        Ok(Arc::clone(&*self.issuers.read().map_err(|_| Error::Stopped)?))
    }

    pub(crate) fn set_issuers(&self, issuers: Issuers) -> Result<(), Error> {
        *self.issuers.write().map_err(|_| Error::Stopped)? = Arc::new(issuers);
        Ok(())
    }

    /// The issuing CA that signs certificates now.
    pub(crate) fn signing(&self, now: UnixTime) -> Result<Arc<Signer>, Error> {
        let issuers = self.issuers()?;
        // There is none only if the clock was set back since the home was opened.
        Ok(Arc::clone(issuers.signing(now).ok_or(ProfileError::BeforeIssuer)?))
    }

    pub(crate) fn now(&self) -> Result<UnixTime, Error> {
        self.clock.current_time().ok_or(Error::ClockUnavailable)
    }
}
