//! The CA at work: issue, revoke, publish.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use vouchsafe_certs::{Certificate, Principal, Serial};

use crate::error::Error;
use crate::home::Home;
use crate::issuer::{Issuer, SigningError};
use crate::ledger::Ledger;
use crate::lists::Lists;
use crate::profile::{CertificateProfile, Order};
use crate::publisher::{Press, Publisher};
use crate::reason::Reason;
use crate::record::{Actor, CertificateRecord, Event, ListRecord, Origin, Tier};
use crate::refusal::Refusal;
use crate::store::StoreError;

/// A certificate that was just issued, with everything its holder needs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Issued {
    /// What the certificate says.
    pub certificate: Certificate,
    /// The certificate and the issuing CA's, in the order of TLS.
    pub chain: Vec<CertificateDer<'static>>,
    /// What its holder trusts.
    pub root: CertificateDer<'static>,
}

/// What a revocation came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Whether anything was new; revoking twice is no error.
    pub changed: bool,
    /// The certificates that this revoked and that would still count.
    pub certificates: Vec<CertificateRecord>,
    /// The list that says so.
    pub list: ListRecord,
}

/// A certificate authority: a home, its memory, and the issuing CA's key.
///
/// Any number of threads may use it at the same time: they sign on their own, and share the writes.
#[derive(Debug)]
pub struct Authority {
    // Before `home`, so that the store is closed while the home's lock is still held.
    ledger: Ledger,
    publisher: Publisher,
    profile: CertificateProfile,
    issuer: Issuer,
    clock: Arc<dyn TimeProvider>,
    home: Home,
}

impl Authority {
    /// Opens the issuing CA's key, and signs the lists that are due.
    ///
    /// The root's key is opened only if the root's list is due and the key is there, and is not kept.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(
        home: Home,
        ledger: Ledger,
        passphrase: Option<&[u8]>,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, Error> {
        let issuer = home.issuer(Tier::Issuing, passphrase)?;
        let profile = CertificateProfile::new(
            home.config().trust_domain.clone(),
            home.config().lifetimes,
            issuer.certificate(),
        );
        let publisher = Publisher::new(Lists::read(&home, &ledger)?);
        let authority = Self { ledger, publisher, profile, issuer, clock, home };
        authority.keep_lists(passphrase)?;
        Ok(authority)
    }

    fn keep_lists(&self, passphrase: Option<&[u8]>) -> Result<(), Error> {
        let now = self.now()?;
        if self.publisher.is_due(Tier::Root, self.press(now))? && self.home.has_key(Tier::Root) {
            let root = self.home.issuer(Tier::Root, passphrase)?;
            self.publisher.keep(Tier::Root, Press { issuer: &root, ..self.press(now) })?;
        }
        self.publisher.keep(Tier::Issuing, self.press(now))
    }

    fn press(&self, now: UnixTime) -> Press<'_> {
        Press { issuer: &self.issuer, home: &self.home, ledger: &self.ledger, now }
    }

    /// Issues a certificate: signed, read again, compared with the plan, recorded, and only then answered.
    ///
    /// # Errors
    /// See [`Error`]. Without an answer, the certificate is on record or was never anywhere.
    pub fn issue(&self, by: &Actor, order: Order) -> Result<Issued, Error> {
        self.certify(by, order, Origin::Order, self.now()?)
    }

    /// Plans, signs, compares and records.
    pub(crate) fn certify(
        &self,
        by: &Actor,
        order: Order,
        origin: Origin,
        now: UnixTime,
    ) -> Result<Issued, Error> {
        let plan = self.profile.plan(order, Serial::random()?, now)?;
        let planned = plan.planned().clone();
        let signed = match self.issuer.sign(plan) {
            Ok(signed) => signed,
            Err(error) => {
                if matches!(error, SigningError::NotAsPlanned | SigningError::Unreadable(_)) {
                    self.ledger.stop();
                }
                return Err(error.into());
            }
        };
        let certificate = signed.der.to_vec();
        self.record(by, &Event::Issued { planned, certificate, origin }, now)?;
        Ok(self.with_chain(signed.certificate, signed.der))
    }

    /// What was issued before, once more.
    pub(crate) fn hand_out(&self, der: &[u8]) -> Result<Issued, Error> {
        let certificate = Certificate::from_der(der)?;
        Ok(self.with_chain(certificate, CertificateDer::from(der.to_vec())))
    }

    fn with_chain(&self, certificate: Certificate, der: CertificateDer<'static>) -> Issued {
        Issued {
            certificate,
            chain: vec![der, self.issuer.certificate().der.clone()],
            root: self.home.certificate(Tier::Root).der.clone(),
        }
    }

    /// Revokes one certificate.
    ///
    /// # Errors
    /// [`Refusal::NoSuchCertificate`], or see [`Error`].
    pub fn revoke(&self, by: &Actor, serial: &Serial, reason: Reason) -> Result<Outcome, Error> {
        let now = self.now()?;
        let is_news = self.on_record(serial)?.is_news(reason);
        let event = is_news.then_some(Event::Revoked { serial: *serial, reason });
        let list = self.conclude(by, event, now)?;
        let certificates = if is_news { vec![self.on_record(serial)?] } else { vec![] };
        Ok(Outcome { changed: is_news, certificates, list })
    }

    /// Revokes a device: all its certificates, and every further issue to its name. Expired ones
    /// are among them, for what counts as expired rests on a clock that may be wrong.
    ///
    /// # Errors
    /// [`Refusal::NoSuchDevice`], or see [`Error`].
    pub fn revoke_device(
        &self,
        by: &Actor,
        principal: &Principal,
        reason: Reason,
    ) -> Result<Outcome, Error> {
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
        let list = self.conclude(by, event, now)?;
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
        let now = self.now()?;
        let device = self.ledger.device(principal)?;
        if device.is_none() && self.ledger.certificates_of(principal)?.is_empty() {
            return Err(Refusal::NoSuchDevice(principal.clone()).into());
        }
        let revoked = device.filter(|device| device.revoked.is_some());
        let event = revoked.map(|device| Event::Reinstated { principal: device.principal });
        let changed = event.is_some();
        let list = self.conclude(by, event, now)?;
        Ok(Outcome { changed, certificates: vec![], list })
    }

    /// Records what is news, and publishes a list that holds everything that was revoked so far.
    pub(crate) fn conclude(
        &self,
        by: &Actor,
        event: Option<Event>,
        now: UnixTime,
    ) -> Result<ListRecord, Error> {
        match event {
            Some(event) => self.ledger.record(by, &event, now)?,
            // What makes it no news must be on disk before anybody is told.
            None => self.ledger.settle()?,
        }
        // Also if nothing is news: an earlier attempt may have been interrupted before it got here.
        self.publisher.keep(Tier::Issuing, self.press(now))?;
        self.list_on_record()
    }

    fn list_on_record(&self) -> Result<ListRecord, Error> {
        let missing = || StoreError::Damaged { key: "list/issuing".to_owned() };
        Ok(self.ledger.list(Tier::Issuing)?.ok_or_else(missing)?)
    }

    fn on_record(&self, serial: &Serial) -> Result<CertificateRecord, Error> {
        Ok(self.ledger.certificate(serial)?.ok_or(Refusal::NoSuchCertificate(*serial))?)
    }

    /// Signs and publishes the issuing CA's list, due or not.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn publish(&self, by: &Actor) -> Result<ListRecord, Error> {
        self.publisher.publish(by, Tier::Issuing, self.press(self.now()?))?;
        self.list_on_record()
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

    pub(crate) fn profile(&self) -> &CertificateProfile {
        &self.profile
    }

    /// Remembers an event that revokes nothing.
    pub(crate) fn record(&self, by: &Actor, event: &Event, now: UnixTime) -> Result<(), Error> {
        self.ledger.record(by, event, now)
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(crate) fn now(&self) -> Result<UnixTime, Error> {
        self.clock.current_time().ok_or(Error::ClockUnavailable)
    }
}
