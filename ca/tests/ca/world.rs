//! A CA in a folder that goes when the test does, a clock that the test moves, a store that fails
//! when it is told to, and one function that checks everything that must always hold.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use tempfile::TempDir;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{
    Actor, Authority, CertificateRecord, Change, Error, Event, Founding, Home, Issued, Kind,
    Ledger, Order, Reason, Record, SledStore, Store, StoreError, verify,
};
use vouchsafe_certs::{
    CaCertificate, Certificate, CertificateRequest, KeyType, Permission, Principal, PrivateKey,
    PublicKey, RevocationList, Serial, SignedList, TrustDomain,
};

pub(crate) const DAY: u64 = 86_400;
const BEGINNING: u64 = 1_800_000_000;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(BEGINNING)))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn go_back(&self, seconds: u64) {
        self.0.fetch_sub(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Ordering::SeqCst)))
    }
}

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

/// How a write fails. Whoever asked for it cannot tell the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was written.
    Lost,
    /// Everything was written, and only the reply was lost.
    ReplyLost,
}

/// What a crash leaves of a write of which nobody was told that it is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remains {
    pub(crate) store: Fault,
    /// How many octets of the journal's line; `None`: all of it.
    pub(crate) journal: Option<usize>,
}

/// In the journal alone, in both, in the store alone, nowhere.
pub(crate) const REMAINS: [Remains; 4] = [
    Remains { store: Fault::Lost, journal: None },
    Remains { store: Fault::ReplyLost, journal: None },
    Remains { store: Fault::ReplyLost, journal: Some(7) },
    Remains { store: Fault::Lost, journal: Some(7) },
];

impl Remains {
    /// Whether it is remembered.
    pub(crate) fn are_enough(self) -> bool {
        self.store == Fault::ReplyLost || self.journal.is_none()
    }
}

/// A store of which one write fails.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: SledStore,
    fault: Fault,
    /// How many writes succeed before the one that fails.
    remaining: AtomicUsize,
    stopped: Mutex<bool>,
}

impl FaultyStore {
    pub(crate) fn new(inner: SledStore, after: usize, fault: Fault) -> Self {
        Self { inner, fault, remaining: AtomicUsize::new(after), stopped: Mutex::new(false) }
    }
}

impl Store for FaultyStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.scan_after(prefix, after, visit)
    }

    fn replace(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut stopped = self.stopped.lock().unwrap();
        if *stopped {
            return Err(StoreError::Stopped);
        }
        let before = self.remaining.fetch_sub(1, Ordering::SeqCst);
        if before > 0 {
            return self.inner.replace(changes);
        }
        *stopped = true;
        if self.fault == Fault::ReplyLost {
            self.inner.replace(changes)?;
        }
        Err(StoreError::Failed("the disk is on fire".into()))
    }
}

/// A CA's folder and its clock. The CA itself is opened by each step.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) clock: Arc<TestClock>,
    /// One key for all, because making keys is not what is tested.
    key: PrivateKey,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(KeyType::P256, None)
    }

    pub(crate) fn with(key_type: KeyType, passphrase: Option<&[u8]>) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: TestClock::new(),
            key: PrivateKey::generate(key_type).unwrap(),
        };
        let trust_domain = trust_domain();
        let founding = Founding { trust_domain, key_type, passphrase, root_out: None };
        let (home, ledger) =
            Home::create(&world.home_path(), founding, "test", world.clock.now()).unwrap();
        Authority::open(home, ledger, passphrase, world.clock()).unwrap();
        world
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn home_path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home_path().join(name)
    }

    pub(crate) fn clock(&self) -> Arc<dyn TimeProvider> {
        self.clock.clone()
    }

    pub(crate) fn home(&self) -> Home {
        Home::open(&self.home_path(), "test", self.clock.now()).unwrap()
    }

    pub(crate) fn open(&self) -> Authority {
        open_at(&self.home_path(), self.clock.clone()).unwrap()
    }

    pub(crate) fn try_open(&self, passphrase: Option<&[u8]>) -> Result<Authority, Error> {
        let home = Home::open(&self.home_path(), "test", self.clock.now())?;
        let ledger = home.open_ledger()?;
        Authority::open(home, ledger, passphrase, self.clock())
    }

    /// With a store of which the write after `after` others fails.
    pub(crate) fn open_faulty(&self, after: usize, fault: Fault) -> Result<Authority, Error> {
        let home = self.home();
        let store = Arc::new(FaultyStore::new(home.open_store()?, after, fault));
        let ledger = Ledger::open(store, &home.journal_path())?;
        Authority::open(home, ledger, None, self.clock())
    }

    /// The crash after a write that failed.
    pub(crate) fn crash(&self, authority: Authority, remains: Remains) {
        drop(authority);
        if let Some(kept) = remains.journal {
            self.tear(kept);
        }
    }

    /// Leaves so many octets of the journal's last line.
    fn tear(&self, kept: usize) {
        let mut text = fs::read_to_string(self.path("journal.jsonl")).unwrap();
        let last = text.trim_end().rfind('\n').unwrap() + 1;
        text.truncate(last + kept);
        file::replace(&self.path("journal.jsonl"), text.as_bytes(), Access::Private).unwrap();
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.key.public_key().unwrap()
    }

    /// A request that proves possession of the one key.
    pub(crate) fn request(&self) -> CertificateRequest {
        crate::enrolment::proving(&self.key)
    }

    pub(crate) fn order(&self, name: &str) -> Order {
        order(name, self.public_key())
    }

    pub(crate) fn order_with_new_key(&self, name: &str) -> Order {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        Order { public_key: key.public_key().unwrap(), ..self.order(name) }
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.open().issue(&Actor::Home, self.order(name)).unwrap()
    }

    /// What the journal says.
    pub(crate) fn records(&self) -> Vec<Record> {
        let text = fs::read_to_string(self.path("journal.jsonl")).unwrap();
        text.lines().map(|line| Record::from_line(line).unwrap().0).collect()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.records().into_iter().map(|record| record.event).collect()
    }

    /// The published list of the first issuing CA.
    pub(crate) fn published(&self) -> RevocationList {
        let der = CertificateDer::from_pem_file(self.path("issuing.pem")).unwrap();
        self.published_by(&CaCertificate::from_der(&der).unwrap())
    }

    /// The published list of a CA.
    pub(crate) fn published_by(&self, issuer: &CaCertificate) -> RevocationList {
        let text = fs::read(self.path("crl.pem")).unwrap();
        let issuers = std::slice::from_ref(issuer);
        let (mut complete, mut delta) = (None, None);
        for der in CertificateRevocationListDer::pem_slice_iter(&text) {
            match SignedList::by_one_of(issuers, &der.unwrap()) {
                Ok(SignedList::Complete(list)) => complete = Some(list),
                Ok(SignedList::Delta(list)) => delta = Some(list),
                _ => {}
            }
        }
        let complete = complete.unwrap();
        delta.map_or_else(|| complete.clone(), |delta| complete.with(&delta).unwrap())
    }

    /// Everything that must hold after every step, whatever has failed before it.
    pub(crate) fn check(&self) {
        let authority = self.open();
        let path = authority.home().journal_path();
        let whole =
            authority.look_up(|ledger| verify(&path, ledger.store()).map_err(Error::from)).unwrap();
        let whole = whole.unwrap_or_else(|finding| panic!("{finding}"));
        assert!(!whole.interrupted, "opening has completed the journal");
        let certificates = authority.look_up(Ledger::certificates).unwrap();
        for record in &certificates {
            let read = Certificate::from_der(&record.certificate).unwrap();
            assert_eq!(read.serial, record.planned.serial);
            assert_eq!(read.principal, record.planned.principal);
            assert_eq!(read.permissions, record.planned.permissions);
            assert_eq!(read.not_after, record.planned.not_after);
        }
        let now = self.clock.now();
        let mut lists = HashMap::new();
        for (serial, record) in authority.look_up(Ledger::cas).unwrap() {
            let issuer = CaCertificate::from_der(&record.certificate).unwrap();
            let list = self.published_by(&issuer);
            assert!(!list.is_stale(now), "the list of {serial} is stale");
            lists.insert(serial, list);
        }
        drop(authority);
        check_lineages(&certificates);
        self.check_events();
        let revoked: HashSet<Serial> = certificates
            .iter()
            .filter(|record| record.revoked.is_some())
            .map(|record| record.planned.serial)
            .collect();
        for record in &certificates {
            let serial = &record.planned.serial;
            let listed = lists[&record.planned.issuer].revokes(serial);
            assert!(!listed || revoked.contains(serial), "{serial} is listed and not revoked");
            let must_be_listed = revoked.contains(serial) && record.planned.not_after >= now;
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

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("acme.example").unwrap()
}

pub(crate) fn principal(name: &str) -> Principal {
    trust_domain().principal(name).unwrap()
}

pub(crate) fn is_active(authority: &Authority, serial: &Serial) -> bool {
    let record = authority.look_up(|ledger| ledger.certificate(serial)).unwrap().unwrap();
    record.revoked.is_none()
}

/// Reasons in turn.
pub(crate) fn reason(nth: usize) -> Reason {
    Reason::ALL[nth % Reason::ALL.len()]
}

pub(crate) fn order(name: &str, public_key: PublicKey) -> Order {
    Order {
        principal: principal(name),
        kind: Kind::Agent,
        permissions: [Permission::parse("tools:search").unwrap()].into_iter().collect(),
        lifetime: None,
        public_key,
    }
}

pub(crate) fn open_at(path: &Path, clock: Arc<TestClock>) -> Result<Authority, Error> {
    let home = Home::open(path, "test", clock.now())?;
    let ledger = home.open_ledger()?;
    Authority::open(home, ledger, None, clock)
}
