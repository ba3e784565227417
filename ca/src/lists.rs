//! The revocation lists: when they are signed, and how they are published.
//!
//! A list's number and hash are on record *before* anybody can see the list, so a number never
//! comes with two contents: if the CA is interrupted in between, the next list has the next number.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use vouchsafe_certs::{CaCertificate, Serial};

use crate::error::Error;
use crate::file::{self, Access, FileError};
use crate::home::Home;
use crate::issuer::{Entry, SigningError};
use crate::ledger::Ledger;
use crate::pem;
use crate::publisher::Press;
use crate::record::{Actor, Event, ListRecord, RevokedRecord, Tier};
use crate::text;

/// The list of one CA, as relying parties see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublishedList {
    /// Whose.
    pub issuer: CaCertificate,
    /// Whether that is a root or an issuing CA.
    pub tier: Tier,
    /// DER; `None` if it is lost and the CA's key is not here.
    pub der: Option<Arc<[u8]>>,
    /// Whether it is the last one of a CA whose time is over.
    pub is_last: bool,
}

/// The lists as relying parties see them: of the issuing CAs, then of the roots, the newest first.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Lists(Vec<PublishedList>);

impl Lists {
    /// Reads what is published, as far as it is what was last signed.
    pub(crate) fn read(home: &Home, ledger: &Ledger, now: UnixTime) -> Result<Self, Error> {
        let text = published(home)?;
        let ders = CertificateRevocationListDer::pem_slice_iter(text.as_bytes());
        let ders: Vec<_> = ders.filter_map(Result::ok).map(|der| Arc::from(&*der)).collect();
        let hashes: Vec<String> = ders.iter().map(|der| text::sha256(der)).collect();
        let mut lists = Self::default();
        lists.refresh(ledger, now, |record| {
            let at = hashes.iter().position(|hash| *hash == record.sha256)?;
            ders.get(at).cloned()
        })?;
        // One that is missing is signed anew, and published with the others; until then they stay.
        if lists.iter().all(|list| list.der.is_some()) && text != lists.to_pem() {
            lists.publish(home)?;
        }
        Ok(lists)
    }

    /// Takes in what is on record of the CAs: one has come, or its time is over.
    pub(crate) fn follow(&mut self, ledger: &Ledger, now: UnixTime) -> Result<(), Error> {
        let known = std::mem::take(self);
        self.refresh(ledger, now, |record| {
            let mut ders = known.0.iter().filter_map(|list| list.der.as_ref());
            ders.find(|der| text::sha256(der) == record.sha256).cloned()
        })
    }

    fn refresh(
        &mut self,
        ledger: &Ledger,
        now: UnixTime,
        find: impl Fn(&ListRecord) -> Option<Arc<[u8]>>,
    ) -> Result<(), Error> {
        for (serial, record) in ledger.cas()? {
            let issuer = CaCertificate::from_der(&record.certificate)?;
            // Nobody asks for the list of a CA that has expired: its certificates have as well.
            if issuer.not_after < now {
                continue;
            }
            let is_last = record.is_retired();
            let der = match is_last {
                true => Some(record.last_list.into()),
                false => ledger.list(&serial)?.and_then(|record| find(&record)),
            };
            self.0.push(PublishedList { issuer, tier: record.tier, der, is_last });
        }
        self.0.sort_by_key(|list| list.tier == Tier::Root);
        Ok(())
    }

    /// Those of all CAs.
    pub fn iter(&self) -> impl Iterator<Item = &PublishedList> {
        self.0.iter()
    }

    /// The certificates of the issuing CAs whose time is not over, the newest first.
    pub fn issuing(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let at_work = self.0.iter().filter(|list| list.tier == Tier::Issuing && !list.is_last);
        at_work.map(|list| &list.issuer.der)
    }

    /// DER of the list of the CA whose certificate has this serial number.
    #[must_use]
    pub fn of(&self, issuer: &Serial) -> Option<&[u8]> {
        self.find(issuer)?.der.as_deref()
    }

    fn find(&self, issuer: &Serial) -> Option<&PublishedList> {
        self.0.iter().find(|list| list.issuer.serial == *issuer)
    }

    /// The bundle: the lists, then the issuing CAs' certificates, so that who knows the roots can
    /// verify the lists of issuing CAs that are new to them.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let lists = pem::revocation_lists(self.0.iter().filter_map(|list| list.der.as_ref()));
        let issuing = self.0.iter().filter(|list| list.tier == Tier::Issuing);
        lists + &pem::certificates(issuing.map(|list| &list.issuer.der))
    }

    /// Whether a CA's list must be signed anew: there is none, it lacks the revocation at that place of
    /// the journal, what is published is something else, or half its life is over.
    pub(crate) fn is_due(
        &self,
        issuer: &Serial,
        ledger: &Ledger,
        needed: u64,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let (record, published) = (ledger.list(issuer)?, self.find(issuer));
        if published.is_none_or(|list| list.is_last) {
            return Ok(false);
        }
        let (Some(record), Some(_)) = (record, self.of(issuer)) else { return Ok(true) };
        let half = (record.this_update.as_secs() + record.next_update.as_secs()) / 2;
        let lacks_one = needed > record.covers;
        Ok(lacks_one || now.as_secs() >= half)
    }

    /// Signs a CA's list, puts it on record, and publishes it.
    pub(crate) fn renew(&mut self, by: &Actor, press: Press<'_>) -> Result<(), Error> {
        let Press { issuer, home, ledger, now } = press;
        let certificate = issuer.certificate();
        let serial = certificate.serial;
        // Before the entries are read: more may be revoked while they are.
        let covers = ledger.latest_revocation(&serial)?;
        let earlier = ledger.list(&serial)?;
        let number = earlier.as_ref().map_or(0, |earlier| earlier.number) + 1;
        let lifetimes = home.config().lifetimes;
        let is_root = certificate.issuer.is_none();
        let lifetime = if is_root { lifetimes.root_list } else { lifetimes.list };
        let entries = entries(&serial, ledger, earlier.as_ref(), now)?;
        let seconds = Duration::from_secs(now.as_secs()) + lifetime.as_duration();
        let next_update = UnixTime::since_unix_epoch(seconds);
        let der = issuer.sign_list(number, now, next_update, &entries).inspect_err(|error| {
            if matches!(error, SigningError::NotAsPlanned) {
                ledger.stop();
            }
        })?;
        let sha256 = text::sha256(&der);
        let event = Event::ListSigned {
            issuer: serial,
            number,
            this_update: now,
            next_update,
            sha256,
            covers,
        };
        ledger.record(by, &event, now)?;
        if let Some(list) = self.0.iter_mut().find(|list| list.issuer.serial == serial) {
            list.der = Some(der.into());
        }
        self.publish(home)
    }

    /// Puts the bundle where relying parties find it.
    pub(crate) fn publish(&self, home: &Home) -> Result<(), Error> {
        Ok(file::replace(&home.lists_path(), self.to_pem().as_bytes(), Access::Public)?)
    }
}

/// What relying parties find.
fn published(home: &Home) -> Result<String, Error> {
    match file::read(&home.lists_path()) {
        // Not UTF-8 is no PEM; what is wrong with the file is mended by writing it anew.
        Err(FileError { source, .. })
            if [io::ErrorKind::NotFound, io::ErrorKind::InvalidData].contains(&source.kind()) =>
        {
            Ok(String::new())
        }
        read => Ok(read?),
    }
}

/// What belongs into a CA's next list.
///
/// RFC 5280 §3.3: an entry MUST NOT be removed from the CRL until it appears on one regularly
/// scheduled CRL issued beyond the revoked certificate's validity period.
///
/// A clock that once ran ahead must not make the CA forget, so the earlier of the two dates counts.
fn entries(
    issuer: &Serial,
    ledger: &Ledger,
    earlier: Option<&ListRecord>,
    now: UnixTime,
) -> Result<Vec<Entry>, Error> {
    let beyond = earlier.map_or(0, |earlier| earlier.this_update.as_secs().min(now.as_secs()));
    let belongs =
        |record: &RevokedRecord| record.issuer == *issuer && record.not_after.as_secs() >= beyond;
    let revoked = ledger.revoked()?.into_iter();
    Ok(revoked
        .filter(|(_, record)| belongs(record))
        .map(|(serial, record)| Entry::new(serial, record.revocation.at, record.revocation.reason))
        .collect())
}
