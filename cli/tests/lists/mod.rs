//! Every revocation list that a reader of `crl.pem` could have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use vouchsafe_certs::{CaCertificate, IssuerId, RevocationList};

use crate::home::Home;

/// How often the file is read.
const PAUSE: Duration = Duration::from_millis(1);

struct Seen {
    file: PathBuf,
    issuers: Vec<CaCertificate>,
    /// What the file held, one after the other.
    contents: Mutex<Vec<Vec<u8>>>,
    enough: AtomicBool,
}

/// A reader that never tires.
pub(crate) struct Lists {
    seen: Arc<Seen>,
    reader: JoinHandle<()>,
}

impl Lists {
    pub(crate) fn watch(home: &Home) -> Self {
        let issuers = ["home/issuing.pem", "home/root.pem"].map(|name| {
            let der = CertificateDer::from_pem_file(home.path(name)).unwrap();
            CaCertificate::from_der(&der).unwrap()
        });
        let seen = Arc::new(Seen {
            file: home.path("home/crl.pem"),
            issuers: issuers.into(),
            contents: Mutex::default(),
            enough: AtomicBool::new(false),
        });
        let eyes = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            while !eyes.enough.load(Ordering::Relaxed) {
                eyes.look();
                sleep(PAUSE);
            }
        });
        Self { seen, reader }
    }

    /// Reads once more, now.
    pub(crate) fn look(&self) {
        self.seen.look();
    }

    /// The serial numbers that the CA has revoked, as the file says.
    pub(crate) fn last(&self) -> BTreeSet<String> {
        self.look();
        let contents = self.seen.contents.lock().unwrap();
        let lists = self.seen.lists(contents.last().unwrap());
        let serials = lists.iter().flat_map(|(list, _)| list.serials());
        serials.map(ToString::to_string).collect()
    }

    /// How many lists there were. No number had two contents, and none was followed by a lower one.
    pub(crate) fn finish(self) -> usize {
        self.seen.enough.store(true, Ordering::Relaxed);
        self.reader.join().unwrap();
        let mut by_number: BTreeMap<(IssuerId, u64), Vec<u8>> = BTreeMap::new();
        let mut latest: BTreeMap<IssuerId, u64> = BTreeMap::new();
        for contents in self.seen.contents.lock().unwrap().iter() {
            let lists = self.seen.lists(contents);
            assert_eq!(lists.len(), 2, "the issuing CA's list and the root's, always");
            for (list, der) in lists {
                let number = latest.entry(list.issuer).or_default();
                assert!(*number <= list.number, "{} after {number}", list.number);
                *number = list.number;
                let known =
                    by_number.entry((list.issuer, list.number)).or_insert_with(|| der.clone());
                assert!(*known == der, "number {} has two contents", list.number);
            }
        }
        by_number.len()
    }
}

impl Seen {
    fn look(&self) {
        // Locked while it reads, so that two readers do not mix up the order.
        let mut contents = self.contents.lock().unwrap();
        let now = fs::read(&self.file).unwrap();
        if contents.last() != Some(&now) {
            contents.push(now);
        }
    }

    fn lists(&self, pem: &[u8]) -> Vec<(RevocationList, Vec<u8>)> {
        let ders = CertificateRevocationListDer::pem_slice_iter(pem);
        let read = |der: CertificateRevocationListDer<'static>| {
            let mut issuers = self.issuers.iter();
            let list = issuers.find_map(|issuer| RevocationList::from_der(&der, issuer).ok());
            (list.unwrap(), der.to_vec())
        };
        ders.map(|der| read(der.unwrap())).collect()
    }
}
