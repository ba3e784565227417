//! CAs that come and go: new issuing CAs under a root, new roots beside old ones, and their end.
//!
//! Nothing is cut over. A new CA is made known first (its certificate and list are published) and
//! signs later; the old one's list is signed for as long as certificates of it live.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{CaCertificate, KeyType, PrivateKey, Serial};

use crate::authority::Authority;
use crate::error::Error;
use crate::file::{self, Access};
use crate::home::{HomeError, RootOut};
use crate::issuer::Issuer;
use crate::keys;
use crate::ledger::Ledger;
use crate::pem;
use crate::reason::Reason;
use crate::record::{Actor, CaRecord, Event, Tier};
use crate::refusal::Refusal;

/// How long a new issuing CA is known before it signs: enough for everybody who polls.
const NOTICE: Duration = Duration::from_secs(5 * 60);

/// CAs there may be at the same time, from their making to the end of their certificates. For so long
/// each has up to two lists in the bundle, of which readers take 512.
const MOST_CAS: usize = 192;

/// How many of these whoever is not at the home may use up, so that the home can always go on.
const MOST_CAS_OF_OPERATORS: usize = 128;

/// How a new CA comes to be. Its key is sealed like those that are there.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct Rotation {
    /// What its key is made of.
    pub key_type: KeyType,
    /// Whether it signs at once, though not everybody may know it yet: after a key was lost.
    pub at_once: bool,
}

/// A CA that has come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// Its certificate.
    pub certificate: CaCertificate,
    /// From here on it signs.
    pub begins: UnixTime,
}

impl Authority {
    /// Makes a new issuing CA, signed by the root at work with `root_key`, or with its key in the home.
    /// Both issuing CAs are accepted; the new one signs five minutes from now, when everybody has its list.
    ///
    /// # Errors
    /// [`Refusal::TooManyCas`], [`Refusal::NotTheRoot`] if the key is not that of the root at work,
    /// [`HomeError::RootElsewhere`] if it is needed; or see [`Error`].
    pub fn rotate_issuer(
        &self,
        by: &Actor,
        root_key: Option<PrivateKey>,
        rotation: Rotation,
    ) -> Result<Rotated, Error> {
        let _alone = self.rotating.lock().map_err(|_| Error::Stopped)?;
        let now = self.now()?;
        self.demand_room(by, now)?;
        let at_work = newest_root(&self.ledger, now)?;
        let root = self.root_with(root_key, &at_work)?;
        if root.certificate().serial != at_work {
            return Err(Refusal::NotTheRoot(at_work).into());
        }
        let trust_domain = &self.home().config().trust_domain;
        let new = root.issuing(trust_domain, PrivateKey::generate(rotation.key_type)?, now)?;
        let begins = if rotation.at_once { now } else { later(now, NOTICE) };
        self.add(by, Tier::Issuing, new, None, begins)
    }

    /// Makes a new root beside those that there are. `roots.pem` holds it from now on; issuing CAs are
    /// signed by it once no certificate lives whose holder does not know it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn rotate_root(
        &self,
        by: &Actor,
        rotation: Rotation,
        out: Option<RootOut<'_>>,
    ) -> Result<Rotated, Error> {
        let _alone = self.rotating.lock().map_err(|_| Error::Stopped)?;
        let now = self.now()?;
        self.demand_room(by, now)?;
        let begins = if rotation.at_once { now } else { last_leaf(&self.ledger)?.max(now) };
        let trust_domain = &self.home().config().trust_domain;
        let new = Issuer::root(trust_domain, PrivateKey::generate(rotation.key_type)?, now)?;
        self.add(by, Tier::Root, new, out, begins)
    }

    /// Whether the bundle of lists holds one more CA.
    fn demand_room(&self, by: &Actor, now: UnixTime) -> Result<(), Error> {
        let most = if *by == Actor::Home { MOST_CAS } else { MOST_CAS_OF_OPERATORS };
        let mut living = 0;
        for (_, record) in self.ledger.cas()? {
            living += usize::from(CaCertificate::from_der(&record.certificate)?.not_after >= now);
        }
        if living >= most { Err(Refusal::TooManyCas(living).into()) } else { Ok(()) }
    }

    /// Key first, record second: an interrupted rotation leaves a key that has signed nothing.
    fn add(
        &self,
        by: &Actor,
        tier: Tier,
        new: Issuer,
        out: Option<RootOut<'_>>,
        begins: UnixTime,
    ) -> Result<Rotated, Error> {
        let now = self.now()?;
        let certificate = new.certificate().clone();
        let serial = certificate.serial;
        match out {
            Some(out) => out.keep(new.key())?,
            None => {
                let path = self.home().later_path(tier, &serial, "key");
                keys::create(&path, new.key(), self.passphrase.octets())?;
            }
        }
        let certificate_path = self.home().later_path(tier, &serial, "pem");
        let text = pem::certificates([&certificate.der]);
        file::create(&certificate_path, text.as_bytes(), Access::Public)?;

        let event = Event::CaAdded { tier, certificate: certificate.der.to_vec(), begins };
        self.ledger.record(by, &event, now)?;
        self.publisher.follow(&self.ledger, now)?;
        self.publisher.keep(self.press(&new, now))?;
        self.follow_issuers((tier == Tier::Issuing).then_some(new))?;
        Ok(Rotated { certificate, begins })
    }

    /// Revokes an issuing CA, and with it every certificate that it has issued. The root's list says so,
    /// which needs the key of the root that signed it: `root_key`, or that in the home.
    ///
    /// # Errors
    /// [`Refusal::CaAtWork`] while there is none in its place, [`Refusal::NotItsRoot`],
    /// [`HomeError::RootElsewhere`]; or see [`Error`].
    pub fn revoke_issuer(
        &self,
        by: &Actor,
        serial: &Serial,
        reason: Reason,
        root_key: Option<PrivateKey>,
    ) -> Result<bool, Error> {
        let _alone = self.rotating.lock().map_err(|_| Error::Stopped)?;
        let now = self.now()?;
        let record = self.ledger.ca(serial)?.filter(|record| record.tier == Tier::Issuing);
        let record = record.ok_or(Refusal::NoSuchCa(*serial))?;
        let certificate = CaCertificate::from_der(&record.certificate)?;
        let above = root_above(&self.ledger, &certificate)?;
        let root = self.root_with(root_key, &above)?;
        if certificate.issuer != Some(root.certificate().id) {
            return Err(Refusal::NotItsRoot(*serial).into());
        }
        if record.may_sign() && self.signing(now)?.serial() == *serial {
            return Err(Refusal::CaAtWork(*serial).into());
        }
        let is_news = record.revoked.is_none_or(|earlier| earlier.reason.yields_to(reason));
        if is_news {
            self.ledger.record(by, &Event::CaRevoked { serial: *serial, reason }, now)?;
            self.follow_issuers(None)?;
        }
        // Also if nothing is news: an earlier attempt may have been interrupted before it got here.
        self.publisher.keep(self.press(&root, now))?;
        Ok(is_news)
    }

    /// Signs a root's list anew, with the key of the root.
    ///
    /// # Errors
    /// [`Refusal::NotARoot`], or see [`Error`].
    pub fn publish_root(&self, by: &Actor, root_key: PrivateKey) -> Result<Serial, Error> {
        let now = self.now()?;
        let at_work = newest_root(&self.ledger, now)?;
        let root = self.root_with(Some(root_key), &at_work)?;
        self.publisher.publish(by, self.press(&root, now))?;
        Ok(root.certificate().serial)
    }

    /// Ends the time of every CA that another has taken the place of and on which nothing living
    /// hangs: it signs a last list, which holds until its certificate ends, and its key is removed.
    /// Answers with those that ended and with those that are still needed, and until when.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn retire(&self, by: &Actor) -> Result<Retired, Error> {
        let _alone = self.rotating.lock().map_err(|_| Error::Stopped)?;
        let now = self.now()?;
        let ledger = &self.ledger;
        let mut retired = Retired::default();
        // Issuing CAs first: a root's time is over when theirs is.
        for tier in [Tier::Issuing, Tier::Root] {
            for (serial, record) in superseded(ledger, tier, now)? {
                let until = needed_until(ledger, &serial, &record)?;
                if let Some(until) = until.filter(|until| *until >= now) {
                    retired.still_needed.push((serial, until));
                    continue;
                }
                match self.home().issuer(&serial, &record, self.passphrase.octets())? {
                    Some(issuer) => self.publisher.end(by, self.press(&issuer, now))?,
                    None => {
                        self.publisher.end_without_key(by, &serial, self.home(), ledger, now)?;
                    }
                }
                keys::remove(&self.home().key_path(&serial, &record))?;
                retired.ended.push(serial);
            }
        }
        self.follow_issuers(None)?;
        Ok(retired)
    }

    /// The root that this key belongs to; without one, that with this serial number, if its key is in
    /// the home.
    fn root_with(&self, key: Option<PrivateKey>, serial: &Serial) -> Result<Issuer, Error> {
        let Some(key) = key else {
            let record = self.ledger.ca(serial)?.ok_or(Refusal::NotARoot)?;
            let path = self.home().key_path(serial, &record);
            let issuer = self.home().issuer(serial, &record, self.passphrase.octets())?;
            return Ok(issuer.ok_or(HomeError::RootElsewhere(path))?);
        };
        let root = self.issuers()?.root_of(&key.public_key()?)?;
        Ok(Issuer::new(root.ok_or(Refusal::NotARoot)?, key)?)
    }

    /// Takes in what was recorded of the CAs.
    fn follow_issuers(&self, new: Option<Issuer>) -> Result<(), Error> {
        let issuers = self.issuers()?.after(self.home(), &self.ledger, new)?;
        self.set_issuers(issuers)?;
        self.publish_roots()
    }

    /// What a command was interrupted in.
    pub(crate) fn remove_keys_of_retired(&self) -> Result<(), Error> {
        for (serial, record) in self.ledger.cas()? {
            if record.is_retired() {
                keys::remove(&self.home().key_path(&serial, &record))?;
            }
        }
        Ok(())
    }

    /// Brings `roots.pem` level with what is on record.
    pub(crate) fn publish_roots(&self) -> Result<(), Error> {
        let (path, text) = (self.home().roots_path(), pem::certificates(self.roots()?));
        if file::read(&path).is_ok_and(|published| published == text) {
            return Ok(());
        }
        Ok(file::replace(&path, text.as_bytes(), Access::Public)?)
    }
}

/// What retiring came to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Retired {
    /// Those whose time is over now.
    pub ended: Vec<Serial>,
    /// Those that another has taken the place of, and until when something living hangs on them: on an
    /// issuing CA its last certificate, on a root the issuing CAs below it.
    pub still_needed: Vec<(Serial, UnixTime)>,
}

/// The root that signs now: the newest whose time has begun; under a clock set back, the oldest.
fn newest_root(ledger: &Ledger, now: UnixTime) -> Result<Serial, Error> {
    let cas = ledger.cas()?;
    let mut roots = cas.iter().filter(|(_, ca)| ca.tier == Tier::Root && !ca.is_retired());
    let begun = roots.clone().find(|(_, record)| record.begins <= now);
    let found = begun.or_else(|| roots.next_back()).ok_or(Refusal::NotARoot)?;
    Ok(found.0)
}

/// The root that signed an issuing CA's certificate.
pub(crate) fn root_above(ledger: &Ledger, issuing: &CaCertificate) -> Result<Serial, Error> {
    for (serial, record) in ledger.cas()? {
        if issuing.issuer == Some(CaCertificate::from_der(&record.certificate)?.id) {
            return Ok(serial);
        }
    }
    Err(Refusal::NotARoot.into())
}

/// When the last certificate of any issuing CA ends.
fn last_leaf(ledger: &Ledger) -> Result<UnixTime, Error> {
    let mut last = UnixTime::since_unix_epoch(Duration::ZERO);
    for (serial, _) in ledger.cas()? {
        last = last.max(ledger.last_leaf(&serial)?.unwrap_or(last));
    }
    Ok(last)
}

/// CAs of a tier that no longer sign certificates because another does, or because they were revoked.
fn superseded(
    ledger: &Ledger,
    tier: Tier,
    now: UnixTime,
) -> Result<Vec<(Serial, CaRecord)>, Error> {
    let mut cas = ledger.cas()?;
    cas.retain(|(_, record)| record.tier == tier && !record.is_retired());
    let begun = |record: &CaRecord| record.may_sign() && record.begins <= now;
    let at_work = cas.iter().find(|(_, record)| begun(record));
    let at_work = at_work.map_or(0, |(_, record)| record.sequence);
    cas.retain(|(_, record)| record.sequence < at_work || record.revoked.is_some());
    Ok(cas)
}

/// Until when something living hangs on a CA: a certificate on an issuing CA, an issuing CA on a root.
fn needed_until(
    ledger: &Ledger,
    serial: &Serial,
    record: &CaRecord,
) -> Result<Option<UnixTime>, Error> {
    if record.tier == Tier::Issuing {
        return ledger.last_leaf(serial);
    }
    let root = CaCertificate::from_der(&record.certificate)?;
    let mut until = None;
    for (_, below) in ledger.cas()? {
        let certificate = CaCertificate::from_der(&below.certificate)?;
        if !below.is_retired() && certificate.issuer == Some(root.id) {
            until = until.max(Some(certificate.not_after));
        }
    }
    Ok(until)
}

fn later(now: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + by)
}
