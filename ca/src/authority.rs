//! The CA at work: issue, revoke, publish.

use std::sync::{Arc, Mutex, MutexGuard};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use vouchsafe_certs::{Certificate, Principal, Serial};

use crate::error::Error;
use crate::home::Home;
use crate::issuer::{Issuer, SigningError};
use crate::ledger::Ledger;
use crate::lists::Lists;
use crate::profile::{CertificateProfile, Order};
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

/// What changes as the CA works, behind one lock.
#[derive(Debug)]
struct State {
    // Before `home`, so that the store is closed while the lock is still held.
    ledger: Ledger,
    lists: Lists,
}

/// A certificate authority: a home, its memory, and the issuing CA's key.
#[derive(Debug)]
pub struct Authority {
    state: Mutex<State>,
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
        let lists = Lists::read(&home, &ledger)?;
        let state = Mutex::new(State { ledger, lists });
        let authority = Self { state, profile, issuer, clock, home };
        authority.keep_lists(passphrase)?;
        Ok(authority)
    }

    fn keep_lists(&self, passphrase: Option<&[u8]>) -> Result<(), Error> {
        let now = self.now()?;
        let State { ledger, lists } = &mut *self.state()?;
        if lists.is_due(Tier::Root, ledger, now)? && self.home.has_key(Tier::Root) {
            let root = self.home.issuer(Tier::Root, passphrase)?;
            lists.renew(&Actor::Itself, Tier::Root, &root, &self.home, ledger, now)?;
        }
        if lists.is_due(Tier::Issuing, ledger, now)? {
            lists.renew(&Actor::Itself, Tier::Issuing, &self.issuer, &self.home, ledger, now)?;
        }
        Ok(())
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
                    self.state()?.ledger.stop();
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
        let mut state = self.state()?;
        let record = state.ledger.certificate(serial)?;
        let record = record.ok_or(Refusal::NoSuchCertificate(*serial))?;
        let event = record.is_news(reason).then_some(Event::Revoked { serial: *serial, reason });
        self.conclude(by, &mut state, event, &[*serial], now)
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
        let mut state = self.state()?;
        let certificates = state.ledger.certificates_of(principal)?;
        if !state.ledger.knows(principal)? {
            return Err(Refusal::NoSuchDevice(principal.clone()).into());
        }
        let affected = |record: &&CertificateRecord| record.is_news(reason);
        let serials: Vec<Serial> =
            certificates.iter().filter(affected).map(|record| record.planned.serial).collect();
        let revoked = state.ledger.device(principal)?.and_then(|device| device.revoked);
        let device_is_news = revoked.is_none_or(|earlier| earlier.reason.yields_to(reason));
        let event = (device_is_news || !serials.is_empty()).then(|| Event::DeviceRevoked {
            principal: principal.clone(),
            reason,
            serials: serials.clone(),
        });
        let unexpired = |record: &&CertificateRecord| record.planned.not_after >= now;
        let counting = certificates.iter().filter(affected).filter(unexpired);
        let counting: Vec<Serial> = counting.map(|record| record.planned.serial).collect();
        self.conclude(by, &mut state, event, &counting, now)
    }

    /// Lets a revoked device have certificates again. What was revoked stays revoked.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn reinstate(&self, by: &Actor, principal: &Principal) -> Result<Outcome, Error> {
        let now = self.now()?;
        let mut state = self.state()?;
        let device = state.ledger.device(principal)?;
        if device.is_none() && state.ledger.certificates_of(principal)?.is_empty() {
            return Err(Refusal::NoSuchDevice(principal.clone()).into());
        }
        let revoked = device.filter(|device| device.revoked.is_some());
        let event = revoked.map(|device| Event::Reinstated { principal: device.principal });
        self.conclude(by, &mut state, event, &[], now)
    }

    /// Records what revokes something, and publishes a list that says so.
    pub(crate) fn revoke_as(
        &self,
        by: &Actor,
        event: &Event,
        now: UnixTime,
    ) -> Result<ListRecord, Error> {
        let mut state = self.state()?;
        Ok(self.conclude(by, &mut state, Some(event.clone()), &[], now)?.list)
    }

    /// A list that holds everything that was revoked so far.
    pub(crate) fn latest_list(&self, now: UnixTime) -> Result<ListRecord, Error> {
        let mut state = self.state()?;
        Ok(self.conclude(&Actor::Itself, &mut state, None, &[], now)?.list)
    }

    /// Records what is news, and publishes a list that says so.
    fn conclude(
        &self,
        by: &Actor,
        state: &mut State,
        event: Option<Event>,
        serials: &[Serial],
        now: UnixTime,
    ) -> Result<Outcome, Error> {
        let State { ledger, lists } = state;
        let changed = event.is_some();
        if let Some(event) = event {
            ledger.record(by, &event, now)?;
        }
        // Also if nothing is news: an earlier attempt may have been interrupted before it got here.
        if changed || lists.is_due(Tier::Issuing, ledger, now)? {
            lists.renew(&Actor::Itself, Tier::Issuing, &self.issuer, &self.home, ledger, now)?;
        }
        let serials = if changed { serials } else { &[] };
        let read = |serial: &Serial| {
            Ok(ledger.certificate(serial)?.ok_or(Refusal::NoSuchCertificate(*serial))?)
        };
        Ok(Outcome {
            changed,
            certificates: serials.iter().map(read).collect::<Result<_, Error>>()?,
            list: latest(ledger)?,
        })
    }

    /// Signs and publishes the issuing CA's list, due or not.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn publish(&self, by: &Actor) -> Result<ListRecord, Error> {
        let now = self.now()?;
        let State { ledger, lists } = &mut *self.state()?;
        lists.renew(by, Tier::Issuing, &self.issuer, &self.home, ledger, now)?;
        latest(ledger)
    }

    /// The lists as they are published.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn lists(&self) -> Result<Lists, Error> {
        Ok(self.state()?.lists.clone())
    }

    /// Looks something up in what the CA remembers.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what `look` says.
    pub fn look_up<T>(&self, look: impl FnOnce(&Ledger) -> Result<T, Error>) -> Result<T, Error> {
        look(&self.state()?.ledger)
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
        self.state()?.ledger.record(by, event, now)
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(crate) fn now(&self) -> Result<UnixTime, Error> {
        self.clock.current_time().ok_or(Error::ClockUnavailable)
    }

    /// Poisoned means that a write panicked.
    fn state(&self) -> Result<MutexGuard<'_, State>, Error> {
        self.state.lock().map_err(|_| Error::Stopped)
    }
}

fn latest(ledger: &Ledger) -> Result<ListRecord, Error> {
    let missing = || StoreError::Damaged { key: "list/issuing".to_owned() };
    Ok(ledger.list(Tier::Issuing)?.ok_or_else(missing)?)
}
