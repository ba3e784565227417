//! A CA in a folder that goes when the test does, a clock that the test moves, and what people were told.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use tempfile::TempDir;
use vouchsafe_ca::{
    Actor, Authority, Error, Event, Founding, Home, Issued, Kind, Order, Reason, Record,
};
use vouchsafe_certs::{
    CaCertificate, CertificateRequest, KeyType, Permission, Principal, PrivateKey, PublicKey,
    RevocationList, Serial, SignedList, TrustDomain,
};

use crate::check::Acknowledged;

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

/// A CA's folder and its clock. The CA itself is opened by each step.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) clock: Arc<TestClock>,
    /// One key for all, because making keys is not what is tested.
    key: Arc<PrivateKey>,
    acknowledged: Mutex<Acknowledged>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(KeyType::P256, None)
    }

    pub(crate) fn with(key_type: KeyType, passphrase: Option<&[u8]>) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            clock: TestClock::new(),
            key: Arc::new(PrivateKey::generate(key_type).unwrap()),
            acknowledged: Mutex::default(),
        };
        let founding = founding(key_type, passphrase);
        let (home, ledger) =
            Home::create(&world.home_path(), founding, "test", world.clock.now()).unwrap();
        Authority::open(home, ledger, passphrase, world.clock()).unwrap();
        world
    }

    /// A folder beside this one, in which nothing is yet, with a clock of its own that shows the same.
    pub(crate) fn beside(&self) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(TestClock(AtomicU64::new(self.clock.now().as_secs()))),
            key: Arc::clone(&self.key),
            acknowledged: Mutex::new(self.note(|noted| noted.clone())),
        }
    }

    /// Looks at what people were told, or adds to it.
    pub(crate) fn note<T>(&self, note: impl FnOnce(&mut Acknowledged) -> T) -> T {
        note(&mut self.acknowledged.lock().unwrap())
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
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("acme.example").unwrap()
}

pub(crate) fn founding(key_type: KeyType, passphrase: Option<&[u8]>) -> Founding<'_> {
    let trust_domain = trust_domain();
    Founding { trust_domain, key_type, store: crate::STORE, passphrase, root_out: None }
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
