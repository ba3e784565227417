//! The revocation lists: when they are signed, and how they are published.
//!
//! A list's number and hash are on record *before* anybody can see the list, so a number never
//! comes with two contents: if the CA is interrupted in between, the next list has the next number.

use std::io;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};

use crate::error::Error;
use crate::file::{self, Access, FileError};
use crate::home::Home;
use crate::issuer::{Entry, SigningError};
use crate::ledger::Ledger;
use crate::pem;
use crate::publisher::Press;
use crate::record::{Actor, Event, ListRecord, Tier};
use crate::text;

/// The lists as relying parties see them.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Lists {
    /// DER of the issuing CA's list.
    pub issuing: Option<Vec<u8>>,
    /// DER of the root's list; `None` if it is lost and the root's key is not here.
    pub root: Option<Vec<u8>>,
}

impl Lists {
    /// Reads what is published, as far as it is what was last signed.
    pub(crate) fn read(home: &Home, ledger: &Ledger) -> Result<Self, Error> {
        let path = home.lists_path();
        let text = match file::read(&path) {
            Ok(text) => text,
            Err(FileError { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                String::new()
            }
            // Not UTF-8 is no PEM; what is wrong with the file is mended by signing anew.
            Err(FileError { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                String::new()
            }
            Err(error) => return Err(error.into()),
        };
        let mut lists = Self::default();
        let published = CertificateRevocationListDer::pem_slice_iter(text.as_bytes());
        for der in published.filter_map(Result::ok) {
            let sha256 = text::sha256(&der);
            for tier in [Tier::Issuing, Tier::Root] {
                if ledger.list(tier)?.is_some_and(|record| record.sha256 == sha256) {
                    *lists.of_mut(tier) = Some(der.to_vec());
                }
            }
        }
        Ok(lists)
    }

    /// One CA's list.
    #[must_use]
    pub fn of(&self, tier: Tier) -> Option<&[u8]> {
        match tier {
            Tier::Root => self.root.as_deref(),
            Tier::Issuing => self.issuing.as_deref(),
        }
    }

    fn of_mut(&mut self, tier: Tier) -> &mut Option<Vec<u8>> {
        match tier {
            Tier::Root => &mut self.root,
            Tier::Issuing => &mut self.issuing,
        }
    }

    /// The bundle: the issuing CA's list, then the root's.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::revocation_lists(self.issuing.iter().chain(&self.root))
    }

    /// Whether a CA's list must be signed anew: there is none, it lacks the revocation at that place of
    /// the journal, what is published is something else, or half its life is over.
    pub(crate) fn is_due(
        &self,
        tier: Tier,
        ledger: &Ledger,
        needed: u64,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let (Some(record), Some(_)) = (ledger.list(tier)?, self.of(tier)) else { return Ok(true) };
        let half = (record.this_update.as_secs() + record.next_update.as_secs()) / 2;
        let lacks_one = tier == Tier::Issuing && needed > record.covers;
        Ok(lacks_one || now.as_secs() >= half)
    }

    /// Signs a CA's list, puts it on record, and publishes it.
    pub(crate) fn renew(&mut self, by: &Actor, tier: Tier, press: Press<'_>) -> Result<(), Error> {
        let Press { issuer, home, ledger, now } = press;
        // Before the entries are read: more may be revoked while they are.
        let covers = ledger.latest_revocation()?;
        let earlier = ledger.list(tier)?;
        let number = earlier.as_ref().map_or(0, |earlier| earlier.number) + 1;
        let lifetimes = home.config().lifetimes;
        let (lifetime, entries) = match tier {
            Tier::Root => (lifetimes.root_list, Vec::new()),
            Tier::Issuing => (lifetimes.list, entries(ledger, earlier.as_ref(), now)?),
        };
        let seconds = Duration::from_secs(now.as_secs()) + lifetime.as_duration();
        let next_update = UnixTime::since_unix_epoch(seconds);
        let der = issuer.sign_list(number, now, next_update, &entries).inspect_err(|error| {
            if matches!(error, SigningError::NotAsPlanned) {
                ledger.stop();
            }
        })?;
        let sha256 = text::sha256(&der);
        let event = Event::ListSigned {
            issuer: tier,
            number,
            this_update: now,
            next_update,
            sha256,
            covers,
        };
        ledger.record(by, &event, now)?;
        *self.of_mut(tier) = Some(der);
        file::replace(&home.lists_path(), self.to_pem().as_bytes(), Access::Public)?;
        Ok(())
    }
}

/// What belongs into the next list.
///
/// RFC 5280 §3.3: an entry MUST NOT be removed from the CRL until it appears on one regularly
/// scheduled CRL issued beyond the revoked certificate's validity period.
///
/// A clock that once ran ahead must not make the CA forget, so the earlier of the two dates counts.
fn entries(
    ledger: &Ledger,
    earlier: Option<&ListRecord>,
    now: UnixTime,
) -> Result<Vec<Entry>, Error> {
    let beyond = earlier.map_or(0, |earlier| earlier.this_update.as_secs().min(now.as_secs()));
    let revoked = ledger.revoked()?.into_iter();
    Ok(revoked
        .filter(|(_, record)| record.not_after.as_secs() >= beyond)
        .map(|(serial, record)| Entry::new(serial, record.revocation.at, record.revocation.reason))
        .collect())
}
