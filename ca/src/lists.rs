//! The revocation lists: when they are signed, and how they are published.
//!
//! A list's number and hash are on record *before* anybody can see the list, so a number never
//! comes with two contents: if the CA is interrupted in between, the next list has the next number.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use vouchsafe_certs::{CaCertificate, RevocationError, RevocationList, Serial, SignedList};

use crate::error::Error;
use crate::file::{self, Access, FileError, Prepared};
use crate::home::{Home, RebuildError};
use crate::issuer::{Entry, SigningError};
use crate::ledger::Ledger;
use crate::pem;
use crate::pending::Pending;
use crate::profile::BACKDATING;
use crate::publisher::Press;
use crate::record::{Actor, Event, ListRecord, RevokedRecord, Tier};
use crate::text;

/// A complete list of more octets is not sent anew at every revocation.
const LONG: usize = 16 * 1024;

/// Who reads only complete lists, as most tools do, is no further behind than this.
const LAG: u64 = 3_600;

/// Octets of the lists together, as PEM: whoever reads them takes no more. Four million entries have
/// about 264 MB.
pub const MAX_BUNDLE_LEN: u64 = 256 * 1024 * 1024;

/// Octets of one entry of a list, about.
const ENTRY_LEN: usize = 49;

/// The list of one CA, as relying parties see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublishedList {
    /// Whose.
    pub issuer: CaCertificate,
    /// Whether that is a root or an issuing CA.
    pub tier: Tier,
    /// DER of all that is revoked; `None` if it is lost and the CA's key is not here.
    pub der: Option<Arc<[u8]>>,
    /// DER of what was revoked lately (RFC 5280 §5.2.4), where that is shorter. It may say more.
    pub delta: Option<Arc<[u8]>>,
    /// Whether it is the last one of a CA whose time is over.
    pub is_last: bool,
    /// The hash of `der`, as it is on record.
    der_sha256: Option<String>,
    /// The hash of `delta`, as it is on record.
    delta_sha256: Option<String>,
}

impl PublishedList {
    /// Whether what was signed last is what relying parties see. It is on record before that, and
    /// publishing it may have failed.
    #[must_use]
    pub fn is_out(&self, latest: &ListRecord) -> bool {
        let seen = if latest.base.is_none() { &self.der_sha256 } else { &self.delta_sha256 };
        self.is_last || self.der.is_some() && seen.as_ref() == Some(&latest.sha256)
    }

    /// What a CA whose time is over has said for the last time. It has no number on record.
    fn last(&self) -> Option<RevocationList> {
        let der = self.der.as_ref().filter(|_| self.is_last)?;
        RevocationList::from_der(der, &self.issuer).ok()
    }

    fn with_hashes(&self) -> impl Iterator<Item = (&String, &Arc<[u8]>)> {
        self.der_sha256.iter().zip(&self.der).chain(self.delta_sha256.iter().zip(&self.delta))
    }
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
        let unknown = ders.iter().filter(|der| !lists.ders().any(|known| known == *der));
        refuse_if_behind(home, ledger, now, unknown)?;
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
            let mut ders = known.0.iter().flat_map(PublishedList::with_hashes);
            ders.find(|(sha256, _)| **sha256 == record.sha256).map(|(_, der)| Arc::clone(der))
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
            let (tier, last_list) = (record.tier, record.last_list);
            let mut list = PublishedList {
                issuer,
                tier,
                der: is_last.then(|| last_list.into()),
                delta: None,
                is_last,
                der_sha256: None,
                delta_sha256: None,
            };
            if !is_last {
                let find = |record: ListRecord| Some((find(&record)?, record.sha256));
                (list.der, list.der_sha256) = ledger.complete_list(&serial)?.and_then(find).unzip();
                (list.delta, list.delta_sha256) = ledger.delta(&serial)?.and_then(find).unzip();
            }
            self.0.push(list);
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
        pem::revocation_lists(self.ders()) + &self.issuing_to_pem()
    }

    fn ders(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.0.iter().flat_map(|list| list.der.iter().chain(&list.delta))
    }

    /// What is beyond readers is not on record either, and what they have stays until it is stale.
    fn are_readable(&self) -> Result<(), Error> {
        match u64::try_from(self.pem_len()) {
            Ok(len) if len <= MAX_BUNDLE_LEN => Ok(()),
            _ => Err(RevocationError::Unwritable.into()),
        }
    }

    /// Of [`to_pem`](Self::to_pem).
    fn pem_len(&self) -> usize {
        let lists = self.ders().map(|der| pem::revocation_list_len(der.len()));
        lists.sum::<usize>() + self.issuing_to_pem().len()
    }

    /// What was revoked lately, as far as the lists are so long that this is shorter; otherwise the
    /// lists. With the issuing CAs' certificates, as in [`to_pem`](Self::to_pem).
    #[must_use]
    pub fn changes_to_pem(&self) -> String {
        let latest = |list: &'_ PublishedList| list.delta.clone().or_else(|| list.der.clone());
        pem::revocation_lists(self.0.iter().filter_map(latest)) + &self.issuing_to_pem()
    }

    /// The certificates of the issuing CAs, as they stand behind the lists.
    #[must_use]
    pub fn issuing_to_pem(&self) -> String {
        let issuing = self.0.iter().filter(|list| list.tier == Tier::Issuing);
        pem::certificates(issuing.map(|list| &list.issuer.der))
    }

    /// Whether a CA's list must be signed anew: there is none, it lacks the revocation at that place of
    /// the journal, what is published is something else, half its life is over, or it is of a time to come.
    pub(crate) fn is_due(
        &self,
        issuer: &Serial,
        ledger: &Ledger,
        needed: u64,
        now: UnixTime,
    ) -> Result<bool, Error> {
        let Some(published) = self.find(issuer).filter(|list| !list.is_last) else {
            return Ok(false);
        };
        let Some(latest) = ledger.list(issuer)? else { return Ok(true) };
        let complete = ledger.complete_list(issuer)?;
        let is_old = complete.is_none_or(|complete| is_old(&complete, latest.base.is_some(), now));
        Ok(!published.is_out(&latest) || needed > latest.covers || is_old)
    }

    /// What a CA has revoked that none of its published lists tells.
    pub(crate) fn untold(
        &self,
        issuer: &Serial,
        ledger: &Ledger,
    ) -> Result<Vec<(Serial, RevokedRecord)>, Error> {
        let latest = ledger.list(issuer)?;
        let is_out =
            |latest: &ListRecord| self.find(issuer).is_some_and(|list| list.is_out(latest));
        if let Some(latest) = latest.filter(is_out) {
            let mut untold = ledger.recently_revoked(issuer, latest.covers)?;
            // Reading a last list verifies it as a whole, so it is read only if it decides something.
            let last = self.find(issuer).filter(|_| !untold.is_empty());
            if let Some(last) = last.and_then(PublishedList::last) {
                untold.retain(|(serial, _)| !last.revokes(serial));
            }
            return Ok(untold);
        }
        let mut revoked = ledger.revoked()?;
        revoked.retain(|(_, record)| record.issuer == *issuer);
        Ok(revoked)
    }

    /// Signs a CA's list, puts it on record, and publishes it. Where the complete list is long, what
    /// was revoked since is enough, unless `all` is wanted.
    pub(crate) fn renew(&mut self, by: &Actor, press: Press<'_>, all: bool) -> Result<(), Error> {
        let Press { issuer, home, ledger, now } = press;
        let serial = issuer.certificate().serial;
        // Before the entries are read: more may be revoked while they are.
        let covers = ledger.latest_revocation(&serial)?;
        let complete = ledger.complete_list(&serial)?;
        let edition =
            Edition { number: ledger.list(&serial)?.map_or(0, |list| list.number) + 1, covers };
        let length = self.of(&serial).map_or(0, <[u8]>::len);
        let (mut changes, mut is_enough) = (None, false);
        if let Some(base) = complete.as_ref().filter(|_| length > LONG) {
            let recent = ledger.recently_revoked(&serial, 0)?;
            let entries = belonging(recent, &serial, Some(base), now);
            is_enough = !all
                && entries.len() <= most_recent(length)
                && !is_old(base, !entries.is_empty(), now);
            changes = Some((base.number, entries));
        }
        let mut whole = None;
        if !is_enough {
            let entries = entries(&serial, ledger, complete.as_ref(), now)?;
            // Changes that are hardly shorter spare nobody much, and are a burden to whoever reads both.
            changes = changes.filter(|(_, changes)| changes.len() <= entries.len() / 2);
            whole = Some(edition.sign(press, None, &entries)?);
        }
        let sign = |(base, entries): (u64, Vec<Entry>)| edition.sign(press, Some(base), &entries);
        let delta = changes.map(sign).transpose()?;
        let ((delta, of_delta), (whole, of_whole)) = (delta.unzip(), whole.unzip());
        if let Some(list) = self.0.iter_mut().find(|list| list.issuer.serial == serial) {
            if whole.is_some() {
                (list.der, list.der_sha256) = whole.unzip();
            }
            (list.delta, list.delta_sha256) = delta.unzip();
        }
        self.are_readable()?;
        // The bundle reaches the disk while its numbers go on record, and relying parties only after that:
        // a number must never be seen with two contents.
        let events = of_delta.into_iter().chain(of_whole);
        let on_record = events.map(|event| ledger.hand_over(by.clone(), event, now));
        let on_record = on_record.collect::<Result<Vec<_>, Error>>()?;
        let bundle = self.prepare(home);
        on_record.into_iter().try_for_each(Pending::wait)?;
        Ok(bundle?.put_in_place()?)
    }

    /// Puts the bundle where relying parties find it.
    pub(crate) fn publish(&self, home: &Home) -> Result<(), Error> {
        Ok(self.prepare(home)?.put_in_place()?)
    }

    fn prepare(&self, home: &Home) -> Result<Prepared, Error> {
        Ok(file::prepare(&home.lists_path(), self.to_pem().as_bytes(), Access::Public)?)
    }
}

/// DER of a list, and its hash.
type Signed = (Arc<[u8]>, String);

/// What the lists that are signed together have in common.
#[derive(Clone, Copy)]
struct Edition {
    number: u64,
    covers: u64,
}

impl Edition {
    /// Signs one list: its DER and hash, and what must be on record before anybody may see it.
    fn sign(
        self,
        press: Press<'_>,
        base: Option<u64>,
        entries: &[Entry],
    ) -> Result<(Signed, Event), Error> {
        let Press { issuer, home, ledger, now } = press;
        let Self { number, covers } = self;
        let lifetimes = home.config().lifetimes;
        let is_root = issuer.certificate().issuer.is_none();
        let lifetime = if is_root { lifetimes.root_list } else { lifetimes.list };
        let seconds = Duration::from_secs(now.as_secs()) + lifetime.as_duration();
        let next_update = UnixTime::since_unix_epoch(seconds);
        let signed = match base {
            None => issuer.sign_list(number, now, next_update, entries),
            Some(base) => issuer.sign_delta(base, number, now, next_update, entries),
        };
        let der = signed.inspect_err(|error| {
            if matches!(error, SigningError::NotAsPlanned) {
                ledger.stop();
            }
        })?;
        let (issuer, sha256) = (issuer.certificate().serial, text::sha256(&der));
        let this_update = now;
        let hash = sha256.clone();
        let event =
            Event::ListSigned { issuer, number, this_update, next_update, sha256, covers, base };
        Ok(((der.into(), hash), event))
    }
}

/// Whether half the life of a complete list is over, or it lacks something for too long; or the clock ran
/// ahead when it was signed, so that certificates which it does not name any more may not have ended.
fn is_old(complete: &ListRecord, lacks_something: bool, now: UnixTime) -> bool {
    let (begun, now) = (complete.this_update.as_secs(), now.as_secs());
    let half = (begun + complete.next_update.as_secs()) / 2;
    let ran_ahead = now + BACKDATING.as_secs() < begun;
    ran_ahead || now >= half || lacks_something && now >= begun + LAG
}

/// How many revocations are told beside a complete list of this length before another is signed: as
/// many as make the octets of all the deltas in between those of one complete list (n²/2 = N).
fn most_recent(length: usize) -> usize {
    (2 * length / ENTRY_LEN).isqrt()
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

/// A list is on record before anybody sees it. So one that our CA has signed and that is beyond the record
/// says that the record was put back to an earlier state: whoever was revoked since would be let in again,
/// and the numbers of the next lists would come a second time (RFC 5280 §5.2.3).
fn refuse_if_behind<'a>(
    home: &Home,
    ledger: &Ledger,
    now: UnixTime,
    unknown: impl Iterator<Item = &'a Arc<[u8]>>,
) -> Result<(), Error> {
    let mut cas = Vec::new();
    for (serial, record) in ledger.cas()? {
        // A last list has the number after the latest, and is on record itself.
        let latest = ledger.list(&serial)?.map_or(0, |list| list.number);
        let next = latest + u64::from(record.is_retired());
        cas.push((CaCertificate::from_der(&record.certificate)?, next));
    }
    cas.retain(|(issuer, _)| issuer.not_after >= now);
    let issuers: Vec<&CaCertificate> = cas.iter().map(|(issuer, _)| issuer).collect();
    for der in unknown {
        // What none of our CAs has signed says nothing, and is replaced.
        let Ok(list) = SignedList::by_one_of(&issuers, der) else { continue };
        let known = cas.iter().find(|(issuer, _)| issuer.id == list.issuer());
        if known.is_some_and(|(_, next)| list.number() >= *next) {
            return Err(RebuildError::Behind { lists: home.lists_path() }.into());
        }
    }
    Ok(())
}

/// What belongs into a CA's next list, or its last.
///
/// RFC 5280 §3.3: an entry MUST NOT be removed from the CRL until it appears on one regularly
/// scheduled CRL issued beyond the revoked certificate's validity period.
///
/// A clock that once ran ahead must not make the CA forget, so the earlier of the two dates counts.
pub(crate) fn entries(
    issuer: &Serial,
    ledger: &Ledger,
    earlier: Option<&ListRecord>,
    now: UnixTime,
) -> Result<Vec<Entry>, Error> {
    Ok(belonging(ledger.revoked()?, issuer, earlier, now))
}

/// What of this belongs there. A list of what changed lacks what the complete list would lack.
fn belonging(
    mut revoked: Vec<(Serial, RevokedRecord)>,
    issuer: &Serial,
    earlier: Option<&ListRecord>,
    now: UnixTime,
) -> Vec<Entry> {
    let beyond = earlier.map_or(0, |earlier| earlier.this_update.as_secs().min(now.as_secs()));
    let belongs =
        |record: &RevokedRecord| record.issuer == *issuer && record.not_after.as_secs() >= beyond;
    revoked.retain(|(_, record)| belongs(record));
    let entry = |(serial, record): (Serial, RevokedRecord)| {
        Entry::new(serial, record.revocation.at, record.revocation.reason)
    };
    revoked.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::tests::issuing_ca;

    #[test]
    fn a_bundle_that_nobody_would_read_is_not_published() {
        let issuer = issuing_ca(UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)))
            .certificate()
            .clone();
        let mut list = PublishedList {
            issuer,
            tier: Tier::Issuing,
            der: Some(vec![7; 1000].into()),
            delta: None,
            is_last: false,
            der_sha256: None,
            delta_sha256: None,
        };
        let lists = Lists(vec![list.clone(), list.clone()]);
        lists.are_readable().unwrap();
        assert_eq!(lists.pem_len(), lists.to_pem().len());
        // Each of them would do by itself.
        list.der = Some(vec![7; 100 << 20].into());
        Lists(vec![list.clone()]).are_readable().unwrap();
        list.delta = list.der.clone();
        let refused = Lists(vec![list]).are_readable().unwrap_err();
        assert!(matches!(refused, Error::RevocationList(RevocationError::Unwritable)));
    }
}
