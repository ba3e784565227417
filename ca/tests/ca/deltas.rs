//! Long revocation lists: what was revoked lately is told beside them, and nobody who follows ever
//! needs the whole list again.

use std::fs;

use der::asn1::BitString;
use der::{Any, Decode, Encode};
use rcgen::SigningKey;
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{Actor, Authority, Event, Reason, Tier};
use vouchsafe_certs::{
    CaCertificate, PrivateKey, RevocationError, RevocationList, Serial, SignedList,
};

use crate::openssl::{has_openssl, verdict, written};
use crate::world::{DAY, World};

/// More than a list of 16 KiB holds.
const MANY: usize = 460;

/// Octets.
const LONG: usize = 16 * 1024;

/// A CA that has revoked so many that its list is long.
fn long_list() -> (World, Authority) {
    let world = World::new();
    let authority = world.open();
    issue(&world, &authority, MANY);
    world.clock.advance(1);
    let before = world.clock.now();
    authority.revoke_issued_before(&Actor::Home, None, before, Reason::Superseded).unwrap();
    (world, authority)
}

fn issue(world: &World, authority: &Authority, count: usize) -> Vec<Serial> {
    std::thread::scope(|scope| {
        let issue = || authority.issue(&Actor::Home, world.order("a")).unwrap().certificate.serial;
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(issue)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn revoke(authority: &Authority, serial: &Serial) {
    authority.revoke(&Actor::Home, serial, Reason::Superseded).unwrap();
}

/// A relying party that has read everything once, and hears only of changes since.
struct Follower {
    issuer: CaCertificate,
    list: RevocationList,
}

impl Follower {
    fn new(world: &World, authority: &Authority) -> Self {
        let issuer = authority.certificate(Tier::Issuing).unwrap();
        Self { list: world.published_by(&issuer), issuer }
    }

    /// Reads what changed, and says how many octets that took.
    fn hears(&mut self, authority: &Authority) -> usize {
        let pem = authority.lists().changes_to_pem();
        let ders = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes());
        let read = |der: &[u8]| SignedList::by_one_of(std::slice::from_ref(&self.issuer), der);
        let lists: Vec<_> = ders.filter_map(|der| read(&der.unwrap()).ok()).collect();
        self.list = match &lists[..] {
            [SignedList::Complete(list)] => list.clone(),
            [SignedList::Delta(delta)] => self.list.with(delta).unwrap(),
            other => panic!("{other:?}"),
        };
        pem.len()
    }
}

fn complete_lists(world: &World) -> usize {
    let is_complete = |event: &Event| matches!(event, Event::ListSigned { base: None, .. });
    world.events().iter().filter(|event| is_complete(event)).count()
}

#[test]
fn a_change_to_a_long_list_is_short_and_reaches_whoever_follows() {
    let (world, authority) = long_list();
    let mut follower = Follower::new(&world, &authority);
    assert_eq!(follower.list.serials().len(), MANY);
    let whole = authority.lists().to_pem().len();
    let before = complete_lists(&world);
    let revoked = issue(&world, &authority, 100);
    for serial in &revoked {
        revoke(&authority, serial);
        let octets = follower.hears(&authority);
        assert!(octets < whole / 4, "{octets} of {whole}");
        assert!(follower.list.revokes(serial));
    }
    assert_eq!(follower.list.serials().len(), MANY + revoked.len());
    // The whole list was signed a few times on the way, for those who come anew.
    let signed = complete_lists(&world) - before;
    assert!((2..6).contains(&signed), "{signed}");
    let newcomer = Follower::new(&world, &authority);
    assert_eq!(newcomer.list, follower.list);
    drop(authority);
    world.check();
}

#[test]
fn a_ca_that_starts_anew_goes_on_where_it_was() {
    let (world, authority) = long_list();
    let revoked = issue(&world, &authority, 2);
    revoke(&authority, &revoked[0]);
    let (published, signed) = (authority.lists().changes_to_pem(), complete_lists(&world));
    drop(authority);
    let authority = world.open();
    assert_eq!(authority.lists().changes_to_pem(), published);
    let mut follower = Follower::new(&world, &authority);
    assert!(follower.list.revokes(&revoked[0]));
    revoke(&authority, &revoked[1]);
    follower.hears(&authority);
    assert!(follower.list.revokes(&revoked[0]) && follower.list.revokes(&revoked[1]));
    assert_eq!(complete_lists(&world), signed);
    drop(authority);
    // What was damaged is signed anew, whole.
    let text = fs::read_to_string(world.path("crl.pem")).unwrap();
    let damaged = text.replacen("CRL-----\nM", "CRL-----\nN", 2);
    file::replace(&world.path("crl.pem"), damaged.as_bytes(), Access::Public).unwrap();
    drop(world.open());
    assert_eq!(complete_lists(&world), signed + 1);
    world.check();
}

#[test]
fn whoever_reads_whole_lists_alone_is_an_hour_behind_at_most() {
    let (world, authority) = long_list();
    let issuer = authority.certificate(Tier::Issuing).unwrap();
    let whole = |authority: &Authority| {
        let der = authority.lists().of(&issuer.serial).unwrap().to_vec();
        RevocationList::from_der(&der, &issuer).unwrap()
    };
    let revoked = issue(&world, &authority, 1);
    revoke(&authority, &revoked[0]);
    assert!(!whole(&authority).revokes(&revoked[0]));
    world.clock.advance(3_600);
    drop(authority);
    let authority = world.open();
    assert!(whole(&authority).revokes(&revoked[0]));
    // Where it lacks nothing it need not be signed anew.
    let signed = complete_lists(&world);
    world.clock.advance(2 * 3_600);
    drop(authority);
    drop(world.open());
    assert_eq!(complete_lists(&world), signed);
    world.check();
}

#[test]
fn a_long_list_is_signed_whole_at_half_its_life_and_on_demand() {
    let (world, authority) = long_list();
    let mut follower = Follower::new(&world, &authority);
    let revoked = issue(&world, &authority, 1);
    revoke(&authority, &revoked[0]);
    follower.hears(&authority);
    drop(authority);
    let signed = complete_lists(&world);
    world.clock.advance(4 * 86_400);
    let authority = world.open();
    assert_eq!(complete_lists(&world), signed + 1);
    // Whoever follows learns of the new dates by a short list as well.
    assert!(follower.hears(&authority) < 4_000);
    let day = 86_400;
    assert!(follower.list.next_update.as_secs() > world.clock.now().as_secs() + 6 * day);
    authority.publish(&Actor::Home).unwrap();
    assert_eq!(complete_lists(&world), signed + 2);
    follower.hears(&authority);
    assert_eq!(follower.list.number, world.published().number);
    drop(authority);
    world.check();
}

#[test]
fn what_ended_before_the_list_began_is_no_change() {
    let (world, authority) = long_list();
    issue(&world, &authority, 300);
    // By the next list they are over, and the one after that names none of them.
    world.clock.advance(100 * DAY);
    authority.publish(&Actor::Home).unwrap();
    let mut follower = Follower::new(&world, &authority);
    assert!(authority.lists().to_pem().len() > LONG);
    follower.hears(&authority);
    let live = issue(&world, &authority, 1);
    world.clock.advance(1);
    let (before, signed) = (world.clock.now(), complete_lists(&world));
    authority.revoke_issued_before(&Actor::Home, None, before, Reason::KeyCompromise).unwrap();
    // Of all that is revoked at once, the one that could still be used.
    let octets = follower.hears(&authority);
    assert!(octets < 4_000, "{octets}");
    assert_eq!((follower.list.revokes(&live[0]), complete_lists(&world)), (true, signed));
    drop(authority);
    world.check();
}

#[test]
fn changes_as_long_as_half_the_list_are_told_by_the_list_alone() {
    let (world, authority) = long_list();
    let mut follower = Follower::new(&world, &authority);
    let all = issue(&world, &authority, MANY + 10);
    world.clock.advance(1);
    let before = world.clock.now();
    authority.revoke_issued_before(&Actor::Home, None, before, Reason::KeyCompromise).unwrap();
    assert_eq!(authority.lists().to_pem().matches("BEGIN X509 CRL").count(), 2);
    follower.hears(&authority);
    assert!(all.iter().all(|serial| follower.list.revokes(serial)));
    drop(authority);
    world.check();
}

#[test]
fn who_knows_nothing_of_deltas_reads_the_list_beside_them() {
    if !has_openssl() {
        return;
    }
    let (world, authority) = long_list();
    let good = authority.issue(&Actor::Home, world.order("b")).unwrap();
    let early = authority.issue(&Actor::Home, world.order("c")).unwrap();
    let late = authority.issue(&Actor::Home, world.order("d")).unwrap();
    revoke(&authority, &early.certificate.serial);
    authority.publish(&Actor::Home).unwrap();
    revoke(&authority, &late.certificate.serial);
    drop(authority);
    let [good, early, late] = [("good.pem", &good), ("early.pem", &early), ("late.pem", &late)]
        .map(|(name, issued)| written(&world, name, issued));
    verdict(&world, &good, &[]).unwrap();
    let revoked = verdict(&world, &early, &[]).unwrap_err();
    assert!(revoked.contains("certificate revoked"), "{revoked}");
    // An hour later at the latest.
    verdict(&world, &late, &[]).unwrap();
    world.clock.advance(3_600);
    drop(world.open());
    let revoked = verdict(&world, &late, &[]).unwrap_err();
    assert!(revoked.contains("certificate revoked"), "{revoked}");
}

#[test]
fn what_a_list_says_and_nobody_here_understands_makes_it_unusable() {
    let (world, authority) = long_list();
    let issuer = authority.certificate(Tier::Issuing).unwrap();
    let revoked = issue(&world, &authority, 1);
    revoke(&authority, &revoked[0]);
    let pem = authority.lists().changes_to_pem();
    let ders = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes());
    let read = |der: &[u8]| SignedList::by_one_of(std::slice::from_ref(&issuer), der);
    let is_delta = |der: &Vec<u8>| matches!(read(der), Ok(SignedList::Delta(_)));
    let delta = ders.map(|der| der.unwrap().to_vec()).find(is_delta).unwrap();
    let changed = |from: &[u8], to: &[u8]| {
        let at = delta.windows(from.len()).rposition(|octets| octets == from).unwrap();
        [&delta[..at], to, &delta[at + to.len()..]].concat()
    };
    // Critical: as a part of a list it would be taken for one that says everything.
    let [number, indicator, unknown] = [b"\x55\x1d\x14", b"\x55\x1d\x1b", b"\x55\x1d\x63"];
    let error = read(&changed(indicator, unknown)).unwrap_err();
    assert_eq!(error, RevocationError::CriticalExtension);
    // Two numbers, of which a reader might take either.
    let der = changed(indicator, number);
    assert_eq!(read(&der).unwrap_err(), RevocationError::Malformed);
    // Signed with SHA-256, as its outside says, while what is signed names SHA-384 (RFC 5280 §5.1.1.2).
    let key = fs::read_to_string(world.path("issuing.key")).unwrap();
    let key = PrivateKey::from_pem(&key).unwrap();
    let signed_anew = |last_of_oid: u8| {
        let mut parts = Vec::<Any>::from_der(&delta).unwrap();
        let mut signed = parts[0].to_der().unwrap();
        let at = signed.windows(5).position(|octets| octets == b"\xce\x3d\x04\x03\x02").unwrap();
        signed[at + 4] = last_of_oid;
        let signature = BitString::from_bytes(&key.sign(&signed).unwrap()).unwrap();
        parts[0] = Any::from_der(&signed).unwrap();
        parts[2] = Any::encode_from(&signature).unwrap();
        parts.to_der().unwrap()
    };
    assert!(is_delta(&signed_anew(2)));
    assert_eq!(read(&signed_anew(3)).unwrap_err(), RevocationError::Signature);
}
