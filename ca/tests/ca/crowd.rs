//! Many at once: they share writes and lists, and nobody's answer is wrong for it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::world::{World, is_active, principal};
use vouchsafe_ca::{
    Actor, Authority, Change, Error, Ledger, Reason, Refusal, Store, StoreError, Tier,
};
use vouchsafe_certs::{RevocationList, Serial};

/// A store on a disk that takes its time.
#[derive(Debug)]
struct SlowStore {
    inner: Arc<dyn Store>,
    writes: AtomicUsize,
}

impl Store for SlowStore {
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
        self.writes.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(20));
        self.inner.replace(changes)
    }
}

/// A store in which something is revoked just after what is revoked was read for a list.
#[derive(Debug)]
struct BusyStore {
    inner: Arc<dyn Store>,
    /// Whom to tell, and the key that they will write.
    meanwhile: Mutex<Option<(mpsc::Sender<()>, String)>>,
}

impl Store for BusyStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.scan_after(prefix, after, visit)?;
        if prefix == "revoked/"
            && let Some((other, key)) = self.meanwhile.lock().unwrap().take()
        {
            other.send(()).unwrap();
            while self.inner.get(&key)?.is_none() {
                thread::yield_now();
            }
        }
        Ok(())
    }

    fn replace(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.inner.replace(changes)
    }
}

#[test]
fn what_is_revoked_while_a_list_is_made_is_on_the_next_before_anybody_is_answered() {
    let world = World::new();
    let (one, other) = (world.issue("a"), world.issue("b"));
    let [one, other] = [one, other].map(|issued| issued.certificate.serial);
    let home = world.home();
    let inner = home.open_store().unwrap();
    let store = Arc::new(BusyStore { inner, meanwhile: Mutex::default() });
    let shared: Arc<dyn Store> = store.clone();
    let ledger = Ledger::open(shared, &home.journal_path()).unwrap();
    let authority = Authority::open(home, ledger, None, world.clock()).unwrap();
    let (tell, told) = mpsc::channel();
    *store.meanwhile.lock().unwrap() = Some((tell, format!("revoked/{other}")));
    thread::scope(|scope| {
        let authority = &authority;
        scope.spawn(move || {
            told.recv().unwrap();
            authority.revoke(&Actor::Home, &other, Reason::Superseded).unwrap();
            assert!(listed(authority, &other), "answered, and not listed");
        });
        authority.revoke(&Actor::Home, &one, Reason::Superseded).unwrap();
        assert!(listed(authority, &one));
    });
    drop((authority, store));
    world.check();
}

/// Does something on so many threads at once.
pub(crate) fn crowd<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(count);
    thread::scope(|scope| {
        let one = |nth| {
            let (start, act) = (&start, &act);
            scope.spawn(move || {
                start.wait();
                act(nth)
            })
        };
        let threads: Vec<_> = (0..count).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn whoever_comes_while_the_disk_is_busy_shares_the_next_write() {
    let world = World::new();
    let home = world.home();
    let inner = home.open_store().unwrap();
    let store = Arc::new(SlowStore { inner, writes: AtomicUsize::new(0) });
    let shared: Arc<dyn Store> = store.clone();
    let ledger = Ledger::open(shared, &home.journal_path()).unwrap();
    let authority = Authority::open(home, ledger, None, world.clock()).unwrap();
    let issued = crowd(60, |nth| {
        let issue = |again| {
            let order = world.order(&format!("device-{nth}/{again}"));
            authority.issue(&Actor::Home, order).unwrap().certificate.serial
        };
        [issue(1), issue(2)]
    });
    assert!(issued.as_flattened().iter().all(|serial| is_active(&authority, serial)));
    let writes = store.writes.load(Ordering::SeqCst);
    assert!(writes < 40, "{writes} writes for 120 certificates");
    drop((authority, store));
    world.check();
}

#[test]
fn a_device_that_is_revoked_while_it_is_issued_to_keeps_nothing() {
    let world = World::new();
    world.issue("a");
    let authority = world.open();
    let issued = crowd(9, |nth| {
        if nth == 0 {
            authority.revoke_device(&Actor::Home, &principal("a"), Reason::Superseded).unwrap();
        }
        let issued = authority.issue(&Actor::Home, world.order("a"));
        let elsewhere = authority.issue(&Actor::Home, world.order("b")).unwrap();
        assert!(is_active(&authority, &elsewhere.certificate.serial));
        issued
    });
    for answer in issued {
        match answer {
            Ok(issued) => assert!(!is_active(&authority, &issued.certificate.serial)),
            Err(Error::Refused(Refusal::DeviceRevoked { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let held = authority.look_up(|ledger| ledger.certificates_of(&principal("a"))).unwrap();
    assert!(held.iter().all(|record| record.revoked.is_some()));
    drop(authority);
    world.check();
}

fn listed(authority: &Authority, serial: &Serial) -> bool {
    let lists = authority.lists();
    let issuer = authority.certificate(Tier::Issuing).unwrap();
    let list = RevocationList::from_der(lists.of(&issuer.serial).unwrap(), &issuer).unwrap();
    list.revokes(serial)
}

#[test]
fn many_revocations_share_a_list_that_holds_them_all_before_anybody_is_answered() {
    const COUNT: usize = 48;
    let world = World::new();
    let authority = world.open();
    let serials: Vec<Serial> = (0..COUNT)
        .map(|nth| authority.issue(&Actor::Home, world.order(&format!("d{nth}"))).unwrap())
        .map(|issued| issued.certificate.serial)
        .collect();
    let number = world.published().number;
    crowd(COUNT, |nth| {
        let outcome = authority.revoke(&Actor::Home, &serials[nth], Reason::Superseded).unwrap();
        assert!(outcome.changed && listed(&authority, &serials[nth]));
        let file = world.published();
        assert!(file.revokes(&serials[nth]) && file.number >= outcome.list.number);
    });
    let lists = world.published().number - number;
    assert!(lists < u64::try_from(COUNT).unwrap(), "{lists} lists for {COUNT} revocations");
    drop(authority);
    world.check();
}

#[test]
fn who_waits_for_lists_sees_each_that_is_published() {
    let world = World::new();
    let serial = world.issue("a").certificate.serial;
    let authority = world.open();
    let mut lists = authority.subscribe();
    assert!(!lists.has_changed().unwrap());
    authority.issue(&Actor::Home, world.order("b")).unwrap();
    assert!(!lists.has_changed().unwrap());
    authority.revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
    assert!(lists.has_changed().unwrap());
    let seen = lists.borrow_and_update().clone();
    assert!(Arc::ptr_eq(&seen, &authority.lists()));
    assert_eq!(seen.to_pem(), std::fs::read_to_string(world.path("crl.pem")).unwrap());
    // Nothing new, nothing to see; and whoever comes late sees the latest.
    authority.revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
    assert!(!lists.has_changed().unwrap());
    assert!(Arc::ptr_eq(&seen, &authority.subscribe().borrow()));
}

#[test]
fn an_authority_can_be_shared() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Authority>();
}
