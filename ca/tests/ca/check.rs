//! One function that checks everything that must always hold, whatever has failed before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;

use vouchsafe_ca::{CertificateRecord, Error, Event, Home, Ledger, Store, verify};
use vouchsafe_certs::{CaCertificate, Certificate, RevocationList, Serial};

use crate::history::copy;
use crate::world::World;

/// What somebody was told. A CA may never go back behind it.
#[derive(Clone, Default)]
pub(crate) struct Acknowledged {
    /// Serial numbers, with the certificates.
    pub(crate) issued: Vec<(Serial, Vec<u8>)>,
    pub(crate) revoked: Vec<Serial>,
    /// The highest number of a list that somebody was told.
    number: u64,
    /// The lists that were seen last, by the CA that signed them: their numbers, and what they name.
    seen: HashMap<Serial, (u64, HashSet<Serial>)>,
}

impl Acknowledged {
    /// A list has this number.
    pub(crate) fn told(&mut self, number: u64) {
        self.number = self.number.max(number);
    }

    fn check(&mut self, certificates: &[CertificateRecord], lists: &Lists) {
        let known: HashMap<_, _> =
            certificates.iter().map(|record| (record.planned.serial, record)).collect();
        for (serial, der) in &self.issued {
            let record = known.get(serial);
            let record = record.unwrap_or_else(|| panic!("{serial} was handed out and is unknown"));
            assert!(der.is_empty() || record.certificate == *der, "{serial} is another one");
        }
        for serial in &self.revoked {
            assert!(known[serial].revoked.is_some(), "{serial} was revoked and is active");
        }
        let highest = lists.values().map(|list| list.number).max().unwrap();
        assert!(highest >= self.number, "an older list is published than somebody was told");
        for (issuer, list) in lists {
            self.check_follows(issuer, list);
        }
    }

    /// RFC 5280 §5.2.3: a relying party must be able to tell which of two lists is the later one.
    fn check_follows(&mut self, issuer: &Serial, list: &RevocationList) {
        let names: HashSet<Serial> = list.serials().iter().copied().collect();
        if let Some((number, seen)) = self.seen.get(issuer) {
            assert!(list.number >= *number, "list {} after list {number}", list.number);
            assert!(list.number > *number || names == *seen, "two lists have number {number}");
        }
        self.seen.insert(*issuer, (list.number, names));
    }
}

type Lists = HashMap<Serial, RevocationList>;

impl World {
    /// Everything that must hold after every step: nothing acknowledged is lost, no serial number comes
    /// twice, the lists rise and are complete, the journal is whole and says what the store says.
    pub(crate) fn check(&self) {
        let authority = self.open();
        let path = authority.home().journal_path();
        let whole =
            authority.look_up(|ledger| verify(&path, ledger.store()).map_err(Error::from)).unwrap();
        let whole = whole.unwrap_or_else(|finding| panic!("{finding}"));
        assert!(!whole.interrupted, "opening has completed the journal");
        let certificates = authority.look_up(Ledger::certificates).unwrap();
        let cas = authority.look_up(Ledger::cas).unwrap();
        drop(authority);
        check_certificates(&certificates);
        check_lineages(&certificates);
        self.check_events();
        let mut lists = Lists::new();
        for (serial, record) in cas {
            let issuer = CaCertificate::from_der(&record.certificate).unwrap();
            let list = self.published_by(&issuer);
            assert!(!list.is_stale(self.clock.now()), "the list of {serial} is stale");
            lists.insert(serial, list);
        }
        self.check_lists(&certificates, &lists);
        self.note(|noted| noted.check(&certificates, &lists));
    }

    /// The lists say neither more nor less than the store.
    fn check_lists(&self, certificates: &[CertificateRecord], lists: &Lists) {
        for record in certificates {
            let (serial, revoked) = (&record.planned.serial, record.revoked.is_some());
            let listed = lists[&record.planned.issuer].revokes(serial);
            assert!(!listed || revoked, "{serial} is listed and not revoked");
            let must_be_listed = revoked && record.planned.not_after >= self.clock.now();
            assert!(listed || !must_be_listed, "{serial} is revoked and not listed");
        }
    }

    fn check_events(&self) {
        let mut issued = HashSet::new();
        let mut numbers: HashMap<String, u64> = HashMap::new();
        for event in self.events() {
            match event {
                Event::Issued { planned, .. } => {
                    assert!(issued.insert(planned.serial), "a serial came twice");
                }
                Event::Revoked { serial, .. } => assert!(issued.contains(&serial)),
                // RFC 5280 §5.2.3: the number rises with every list.
                Event::ListSigned { issuer, number, base, .. } => {
                    let last = numbers.insert(issuer.to_string(), number).unwrap_or_default();
                    // "If a delta CRL and a complete CRL … are issued at the same time, they MUST have
                    // the same CRL number" (RFC 5280 §5.2.3).
                    let is_of_one_edition = base.is_none() && number == last;
                    assert!(number == last + 1 || is_of_one_edition, "{number} after {last}");
                }
                _ => {}
            }
        }
    }

    /// A store that is built from the journal alone holds the same, and everything holds there as well.
    pub(crate) fn check_restored(&self) {
        let restored = self.twin();
        let kept = restored.folder().join("kept.jsonl");
        fs::rename(restored.path("journal.jsonl"), &kept).unwrap();
        fs::remove_dir_all(restored.path("store")).unwrap();
        let home = Home::open(&restored.home_path(), "test", self.clock.now()).unwrap();
        drop(home.restore(&kept, false).unwrap());
        drop(home);
        assert_eq!(contents(&restored), contents(self), "what the journal says is something else");
        restored.check();
    }

    /// The same CA once more, with the same clock, and with the same people who were told something.
    pub(crate) fn twin(&self) -> Self {
        let twin = self.beside();
        copy(&self.home_path(), &twin.home_path());
        twin
    }
}

/// What a store holds, save for where the journal ends.
fn contents(world: &World) -> BTreeMap<String, Vec<u8>> {
    let store = world.home().open_store().unwrap();
    let mut contents = BTreeMap::new();
    let mut visit = |key: &str, value: &[u8]| {
        contents.insert(key.to_owned(), value.to_vec());
        ControlFlow::Continue(())
    };
    Store::scan(&*store, "", &mut visit).unwrap();
    contents.retain(|key, _| key != "head" && key != "batch");
    // The record that a store was built anew.
    let rebuilt = |_: &String, value: &mut Vec<u8>| {
        !String::from_utf8_lossy(value).contains(r#""type":"store-rebuilt""#)
    };
    contents.retain(rebuilt);
    contents
}

fn check_certificates(certificates: &[CertificateRecord]) {
    for record in certificates {
        let read = Certificate::from_der(&record.certificate).unwrap();
        assert_eq!(read.serial, record.planned.serial);
        assert_eq!(read.principal, record.planned.principal);
        assert_eq!(read.permissions, record.planned.permissions);
        assert_eq!(read.not_after, record.planned.not_after);
    }
}

/// Every lineage is one line, from one grant, which nothing in it exceeds.
fn check_lineages(certificates: &[CertificateRecord]) {
    let find = |serial: &Serial| {
        certificates.iter().find(|record| record.planned.serial == *serial).unwrap()
    };
    let mut succeeded = HashSet::new();
    for record in certificates {
        let first = find(&record.lineage);
        assert_eq!(first.generation, 0);
        assert_eq!(first.lineage, first.planned.serial);
        assert_eq!(record.planned.principal, first.planned.principal);
        assert!(record.planned.permissions.is_within(&first.planned.permissions));
        assert_eq!(record.planned.kind(), first.planned.kind());
        assert_eq!(record.succeeds.is_none(), record.generation == 0);
        if let Some(before) = &record.succeeds {
            assert!(succeeded.insert(*before), "{before} has two successors");
            let before = find(before);
            assert_eq!(
                (before.lineage, before.generation + 1),
                (record.lineage, record.generation)
            );
        }
    }
}
