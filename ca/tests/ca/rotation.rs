//! CAs come and go, and nobody is turned away or let in because of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{
    Actor, Authority, Error, Event, Founding, Home, HomeError, Issued, Ledger, Reason, Refusal,
    RootOut, Rotated, Rotation, Tier, keys, pem,
};
use vouchsafe_certs::{CaCertificate, KeyError, KeyType, PrivateKey, RevocationList, Serial};

use crate::faulty::{Fault, REMAINS};
use crate::openssl::{has_openssl, openssl, written};
use crate::world::{DAY, World, principal, trust_domain};

const MINUTE: u64 = 60;
const NOTICE: u64 = 5 * MINUTE;

fn gently() -> Rotation {
    Rotation { key_type: KeyType::P256, at_once: false }
}

fn at_once() -> Rotation {
    Rotation { at_once: true, ..gently() }
}

/// The key of the root that `init` has made.
fn root_key(world: &World) -> PrivateKey {
    keys::read(&world.path("root.key"), None).unwrap()
}

fn rotate(world: &World, rotation: Rotation) -> Rotated {
    world.open().rotate_issuer(&Actor::Home, None, rotation).unwrap()
}

/// The CA whose certificate comes with an issued one.
fn issuer_of(issued: &Issued) -> Serial {
    CaCertificate::from_der(&issued.chain[1]).unwrap().serial
}

fn first(world: &World) -> CaCertificate {
    let der = CertificateDer::from_pem_file(world.path("issuing.pem")).unwrap();
    CaCertificate::from_der(&der).unwrap()
}

/// What OpenSSL says to somebody who trusts `roots` and has nothing else but `crl.pem`.
fn verdict(world: &World, certificate: &Path, roots: &Path) -> Result<String, String> {
    let lists = world.path("crl.pem").display().to_string();
    let now = world.clock.now().as_secs().to_string();
    openssl(&[
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-attime",
        &now,
        "-CAfile",
        &roots.display().to_string(),
        // The issuing CAs' certificates are in the bundle of lists.
        "-untrusted",
        &lists,
        "-CRLfile",
        &lists,
        &certificate.display().to_string(),
    ])
}

#[test]
fn a_new_issuing_ca_is_known_before_it_issues_and_the_old_one_is_accepted_to_its_end() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let roots = world.path("roots.pem");
    let before = world.issue("before");
    let Rotated { certificate: new, begins, .. } = rotate(&world, gently());
    assert_eq!(begins.as_secs(), world.clock.now().as_secs() + NOTICE);
    // Its list is there at once, its certificates come when everybody has that.
    assert!(world.published_by(&new).serials().is_empty());
    let meanwhile = world.issue("meanwhile");
    assert_eq!(issuer_of(&meanwhile), first(&world).serial);
    world.clock.advance(NOTICE);
    let after = world.issue("after");
    assert_eq!(issuer_of(&after), new.serial);
    assert_eq!(after.roots.len(), 1);
    for (name, issued) in [("before", &before), ("meanwhile", &meanwhile), ("after", &after)] {
        let verified = verdict(&world, &written(&world, name, issued), &roots);
        assert!(verified.is_ok(), "{name}: {verified:?}");
    }
    world.check();

    // Each revocation is told by the list of the CA that it concerns, and by no other.
    let number = |issuer: &CaCertificate| world.published_by(issuer).number;
    let (old_number, new_number) = (number(&first(&world)), number(&new));
    world.open().revoke(&Actor::Home, &before.certificate.serial, Reason::Superseded).unwrap();
    assert_eq!((number(&first(&world)), number(&new)), (old_number + 1, new_number));
    world.open().revoke(&Actor::Home, &after.certificate.serial, Reason::Superseded).unwrap();
    assert_eq!((number(&first(&world)), number(&new)), (old_number + 1, new_number + 1));
    let named = |issuer: &CaCertificate| world.published_by(issuer).serials().to_vec();
    assert_eq!(named(&first(&world)), [before.certificate.serial]);
    assert_eq!(named(&new), [after.certificate.serial]);
    for (name, issued) in [("before", &before), ("after", &after)] {
        let refused = verdict(&world, &written(&world, name, issued), &roots).unwrap_err();
        assert!(refused.contains("certificate revoked"), "{name}: {refused}");
    }
    // A device may hold certificates of both.
    world.open().issue(&Actor::Home, world.order_with_new_key("meanwhile")).unwrap();
    let device = &meanwhile.certificate.principal;
    let outcome = world.open().revoke_device(&Actor::Home, device, Reason::Unspecified).unwrap();
    assert_eq!(outcome.certificates.len(), 2);
    assert_eq!((number(&first(&world)), number(&new)), (old_number + 2, new_number + 2));
    world.check();

    // Both lists are kept up.
    world.clock.advance(4 * DAY);
    world.check();
    assert_eq!((number(&first(&world)), number(&new)), (old_number + 3, new_number + 3));
}

#[test]
fn an_issuing_ca_retires_when_its_last_certificate_has_ended_and_leaves_a_list_that_lasts() {
    let world = World::new();
    let issued = world.issue("a");
    let retire = || world.open().retire(&Actor::Home).unwrap();
    // The one at work does not retire, nor does one that somebody needs.
    assert!(retire().ended.is_empty() && retire().still_needed.is_empty());
    rotate(&world, at_once());
    let old = first(&world);
    let needed = retire().still_needed;
    let last = issued.certificate.not_after;
    assert_eq!(needed.len(), 1);
    assert_eq!(needed[0].0, old.serial);
    assert!((last.as_secs()..last.as_secs() + 3_600).contains(&needed[0].1.as_secs()));

    world.clock.advance(DAY + 3_600);
    let retired = world.open().retire(&Actor::Home).unwrap();
    assert_eq!(retired.ended, [old.serial]);
    assert!(!world.path("issuing.key").exists());
    // Nobody who follows the lists misses one, until the CA's own certificate ends.
    let list = world.published_by(&old);
    assert_eq!(list.next_update, old.not_after);
    world.check();
    fs::remove_file(world.path("crl.pem")).unwrap();
    world.open();
    assert_eq!(world.published_by(&old), list);
    world.clock.advance(100 * DAY);
    world.open();
    assert_eq!(world.published_by(&old), list);
    assert!(retire().ended.is_empty() && retire().still_needed.is_empty());
    let authority = world.open();
    assert_eq!(authority.lists().issuing().count(), 1);
    authority.issue(&Actor::Home, world.order("b")).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn a_new_root_signs_when_everybody_knows_it_and_the_old_one_goes_when_nothing_hangs_on_it() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let before = world.issue("before");
    let old_root = world.open().certificate(Tier::Root).unwrap();
    let new_root = world.open().rotate_root(&Actor::Home, gently(), None).unwrap();
    let new_key = || {
        let name = format!("root-{}.key", new_root.certificate.serial);
        keys::read(&world.path(&name), None).unwrap()
    };
    let count = |path: &Path| CertificateDer::pem_file_iter(path).unwrap().count();
    assert_eq!(count(&world.path("roots.pem")), 2);
    // Whoever gets a certificate from now on gets both; whoever has one knows the old root alone.
    let meanwhile = world.issue("meanwhile");
    assert_eq!(meanwhile.roots.len(), 2);
    assert!(new_root.begins >= before.certificate.not_after);
    let early = world.open().rotate_issuer(&Actor::Home, Some(new_key()), gently());
    assert!(
        matches!(early, Err(Error::Refused(Refusal::NotTheRoot(root))) if root == old_root.serial)
    );
    world.check();

    world.clock.advance(DAY + 3_600);
    let outdated = world.open().rotate_issuer(&Actor::Home, Some(root_key(&world)), gently());
    assert!(matches!(outdated, Err(Error::Refused(Refusal::NotTheRoot(_)))));
    world.issue("late");
    world.open().rotate_issuer(&Actor::Home, Some(new_key()), gently()).unwrap();
    world.clock.advance(NOTICE);
    let after = world.issue("after");
    let only = |name: &str, roots: &[CertificateDer<'static>]| {
        let path = world.folder().join(name);
        let text = pem::certificates(roots);
        file::replace(&path, text.as_bytes(), Access::Public).unwrap();
        path
    };
    let new_only = only("new.pem", std::slice::from_ref(&new_root.certificate.der));
    let old_only = only("old.pem", std::slice::from_ref(&old_root.der));
    let path = written(&world, "after", &after);
    assert!(verdict(&world, &path, &new_only).is_ok());
    assert!(verdict(&world, &path, &world.path("roots.pem")).is_ok());
    assert!(verdict(&world, &path, &old_only).is_err());

    // First the old issuing CA, and then the root above it.
    let needed = world.open().retire(&Actor::Home).unwrap();
    assert!(needed.ended.is_empty());
    let needed: Vec<Serial> = needed.still_needed.iter().map(|(serial, _)| *serial).collect();
    assert_eq!(needed, [first(&world).serial, old_root.serial]);
    world.clock.advance(DAY + 3_600);
    let retired = world.open().retire(&Actor::Home).unwrap();
    assert_eq!(retired.ended, [first(&world).serial, old_root.serial]);
    assert_eq!(count(&world.path("roots.pem")), 1);
    assert!(!world.path("root.key").exists());
    assert_eq!(world.issue("b").roots, std::slice::from_ref(&new_root.certificate.der));
    world.check();
}

#[test]
fn a_revoked_issuing_ca_takes_everything_it_has_issued_with_it() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let issued = world.issue("a");
    let old = first(&world);
    let revoke = |serial: &Serial, key: Option<PrivateKey>| {
        world.open().revoke_issuer(&Actor::Home, serial, Reason::KeyCompromise, key)
    };
    // Somebody must be there to issue.
    let alone = revoke(&old.serial, None);
    assert!(matches!(alone, Err(Error::Refused(Refusal::CaAtWork(_)))));
    let new = rotate(&world, at_once()).certificate;
    let strange = PrivateKey::generate(KeyType::P256).unwrap();
    let refused = revoke(&old.serial, Some(strange));
    assert!(matches!(refused, Err(Error::Refused(Refusal::NotARoot))));
    let root = world.open().certificate(Tier::Root).unwrap();
    let no_issuing_ca = revoke(&root.serial, None);
    assert!(matches!(no_issuing_ca, Err(Error::Refused(Refusal::NoSuchCa(_)))));

    let number = world.published_by(&root).number;
    assert!(revoke(&old.serial, None).unwrap());
    let list = world.published_by(&root);
    assert_eq!(list.number, number + 1);
    assert!(list.revokes(&old.serial) && !list.revokes(&new.serial));
    let path = written(&world, "a", &issued);
    let refused = verdict(&world, &path, &world.path("roots.pem")).unwrap_err();
    assert!(refused.contains("certificate revoked"), "{refused}");
    let again = world.issue("a");
    assert_eq!(issuer_of(&again), new.serial);
    let path = written(&world, "again", &again);
    assert!(verdict(&world, &path, &world.path("roots.pem")).is_ok());
    // Twice is no error, and no news.
    assert!(!revoke(&old.serial, None).unwrap());
    assert_eq!(world.published_by(&root).number, number + 1);
    // Its own list is kept up for as long as its certificates live, and it never issues again.
    world.clock.advance(6 * DAY);
    world.check();
    assert_eq!(world.open().retire(&Actor::Home).unwrap().ended, [old.serial]);
    world.check();
}

#[test]
fn a_stolen_issuing_ca_stays_revoked_when_its_root_retires() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    world.issue("a");
    let stolen = first(&world);
    let old_root = world.open().certificate(Tier::Root).unwrap();
    rotate(&world, at_once());
    let reason = Reason::KeyCompromise;
    world.open().revoke_issuer(&Actor::Home, &stolen.serial, reason, None).unwrap();
    let new_root = world.open().rotate_root(&Actor::Home, at_once(), None).unwrap().certificate;
    let name = format!("root-{}.key", new_root.serial);
    let key = keys::read(&world.path(&name), None).unwrap();
    world.open().rotate_issuer(&Actor::Home, Some(key), at_once()).unwrap();
    // Whoever still trusts the old root is told for as long as the root lives.
    let trusting = world.folder().join("old.pem");
    fs::copy(world.path("root.pem"), &trusting).unwrap();
    let refused = || verdict(&world, &world.path("issuing.pem"), &trusting).unwrap_err();
    assert!(refused().contains("certificate revoked"));

    world.clock.advance(DAY + 3_600);
    let ended = world.open().retire(&Actor::Home).unwrap().ended;
    assert!(ended.contains(&stolen.serial) && ended.contains(&old_root.serial));
    assert!(!world.path("root.key").exists());
    let last = world.published_by(&old_root);
    assert_eq!((last.next_update, last.serials()), (old_root.not_after, &[stolen.serial][..]));
    assert!(refused().contains("certificate revoked"));
    world.clock.advance(400 * DAY);
    world.open();
    assert!(world.published_by(&old_root).revokes(&stolen.serial));
    assert!(refused().contains("certificate revoked"));
}

#[test]
fn whatever_fails_in_a_rotation_the_ca_goes_on_and_the_history_is_whole() {
    for fault in [Fault::Lost, Fault::ReplyLost] {
        for remains in REMAINS {
            for after in 0..3 {
                let world = World::new();
                let issued = world.issue("a");
                let authority = world.open_faulty(after, fault).unwrap();
                let failed =
                    authority.rotate_issuer(&Actor::Home, Some(root_key(&world)), at_once());
                let acknowledged = failed.is_ok();
                world.crash(authority, remains);
                world.check();
                let next = world.issue("b");
                let has_come = world.open().look_up(Ledger::cas).unwrap().len() == 3;
                assert_eq!(issuer_of(&next) != issuer_of(&issued), has_come, "{after}");
                assert!(has_come || !acknowledged);
                // And the next attempt succeeds.
                rotate(&world, at_once());
                assert_ne!(issuer_of(&world.issue("c")), issuer_of(&next));
                world.check();
            }
        }
    }
}

#[test]
fn a_retirement_that_was_interrupted_is_completed() {
    let world = World::new();
    world.issue("a");
    rotate(&world, at_once());
    world.clock.advance(DAY + 3_600);
    let key = fs::read(world.path("issuing.key")).unwrap();
    world.open().retire(&Actor::Home).unwrap();
    // As if it had been interrupted before it removed the key.
    file::create(&world.path("issuing.key"), &key, Access::Private).unwrap();
    world.open();
    assert!(!world.path("issuing.key").exists());
}

#[test]
fn the_roots_key_may_be_elsewhere_from_the_first_minute() {
    let world = World::new();
    let (elsewhere, home) = (world.folder().join("stick"), world.folder().join("other"));
    let founding = Founding {
        trust_domain: trust_domain(),
        key_type: KeyType::P256,
        store: crate::STORE,
        passphrase: Some(b"battery staple"),
        root_out: Some(RootOut { directory: &elsewhere, passphrase: Some(b"correct horse") }),
    };
    let (home, ledger) = Home::create(&home, founding, "test", world.clock.now()).unwrap();
    let path = elsewhere.join("root.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!home.path().join("root.key").exists());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1, "the key, and nothing else");
    let clock = world.clock.clone();
    let authority = Authority::open(home, ledger, Some(b"battery staple"), clock).unwrap();
    let closed = keys::read(&path, None).unwrap_err();
    assert!(matches!(closed, Error::Key(KeyError::PassphraseNeeded)));
    let key = || keys::read(&path, Some(b"correct horse")).unwrap();
    let root = authority.certificate(Tier::Root).unwrap();
    assert!(authority.lists().of(&root.serial).is_none(), "nobody could sign it yet");
    let away = authority.rotate_issuer(&Actor::Home, None, at_once());
    assert!(matches!(away, Err(Error::Home(HomeError::RootElsewhere(_)))));
    authority.publish_root(&Actor::Home, key()).unwrap();
    assert!(authority.lists().of(&root.serial).is_some());
    let new = authority.rotate_issuer(&Actor::Home, Some(key()), at_once()).unwrap().certificate;
    let sealed = authority.home().path().join(format!("issuing-{}.key", new.serial));
    assert!(keys::read(&sealed, Some(b"battery staple")).is_ok());
    let issued = authority.issue(&Actor::Home, world.order("a")).unwrap();
    assert_eq!(issuer_of(&issued), new.serial);
}

#[test]
fn a_roots_key_that_does_not_open_keeps_nobody_from_revoking() {
    let world = World::new();
    let issued = world.issue("a");
    let root = world.open().certificate(Tier::Root).unwrap();
    let list = world.published_by(&root).number;
    let key = keys::read(&world.path("root.key"), None).unwrap();
    let sealed = key.to_encrypted_pem(b"correct horse").unwrap();
    file::replace(&world.path("root.key"), sealed.as_bytes(), Access::Private).unwrap();
    world.clock.advance(200 * DAY);
    let issued_later = world.issue("b");
    for serial in [issued.certificate.serial, issued_later.certificate.serial] {
        world.open().revoke(&Actor::Home, &serial, Reason::KeyCompromise).unwrap();
    }
    assert!(world.published().revokes(&issued_later.certificate.serial));
    assert_eq!(world.published_by(&root).number, list);
    // It signs when somebody opens it.
    world.open().publish_root(&Actor::Home, key).unwrap();
    assert_eq!(world.published_by(&root).number, list + 1);
    world.check();
}

#[test]
fn the_key_that_issues_must_be_there_and_the_others_may_be_lost() {
    let world = World::new();
    let issued = world.issue("a");
    let new = rotate(&world, at_once()).certificate;
    let new_key = world.path(&format!("issuing-{}.key", new.serial));
    fs::rename(&new_key, world.folder().join("away")).unwrap();
    let refused = world.try_open(None).unwrap_err();
    assert!(matches!(refused, Error::Home(HomeError::NoKey(path)) if path == new_key));
    fs::rename(world.folder().join("away"), &new_key).unwrap();

    // Without the old key its list goes stale, and its certificates with it: fail closed.
    fs::remove_file(world.path("issuing.key")).unwrap();
    let number = world.published().number;
    let serial = &issued.certificate.serial;
    let untold = world.open().revoke(&Actor::Home, serial, Reason::Superseded).unwrap_err();
    assert!(matches!(untold, Error::Untold { issuer } if issuer == first(&world).serial));
    assert_eq!(world.published().number, number);
    world.issue("b");
    // It cannot be hidden that it told no more: its latest list is its last.
    world.clock.advance(DAY + 3_600);
    let ended = world.open().retire(&Actor::Home).unwrap().ended;
    assert_eq!(ended, [first(&world).serial]);
    assert_eq!(world.published().number, number);
}

#[test]
fn a_home_remembers_who_rotated_and_when() {
    let world = World::new();
    rotate(&world, gently());
    world.open().rotate_root(&Actor::Home, gently(), None).unwrap();
    let cas = world.records().into_iter().filter(|record| {
        assert!(record.by == Actor::Home || matches!(record.event, Event::ListSigned { .. }));
        matches!(record.event, Event::CaAdded { .. })
    });
    assert_eq!(cas.count(), 2);
    let authority = world.open();
    for (serial, record) in authority.look_up(Ledger::cas).unwrap() {
        let text = fs::read(authority.home().certificate_path(&serial, &record)).unwrap();
        assert_eq!(*CertificateDer::from_pem_slice(&text).unwrap(), record.certificate[..]);
        let list = authority.lists().of(&serial).unwrap().to_vec();
        let issuer = CaCertificate::from_der(&record.certificate).unwrap();
        assert_eq!(RevocationList::from_der(&list, &issuer).unwrap().number, 1);
    }
}

#[test]
fn a_ca_that_is_never_closed_keeps_up_the_roots_list_as_well() {
    let world = World::new();
    let authority = world.open();
    let root = authority.certificate(Tier::Root).unwrap();
    let number = |authority: &Authority| {
        let list = authority.lists().of(&root.serial).unwrap().to_vec();
        RevocationList::from_der(&list, &root).unwrap().number
    };
    world.clock.advance(182 * DAY);
    authority.keep_up().unwrap();
    assert_eq!(number(&authority), 1);
    world.clock.advance(DAY);
    authority.keep_up().unwrap();
    assert_eq!(number(&authority), 2);
    // Elsewhere it is not touched.
    fs::rename(world.path("root.key"), world.folder().join("away")).unwrap();
    world.clock.advance(183 * DAY);
    authority.keep_up().unwrap();
    assert_eq!(number(&authority), 2);
}

#[test]
fn operators_do_not_fill_the_bundle_of_lists_and_the_home_can_always_go_on() {
    let world = World::new();
    let authority = world.open();
    let operator = Actor::Principal(principal("operator"));
    for _ in 2..128 {
        authority.rotate_issuer(&operator, None, gently()).unwrap();
    }
    let refused = authority.rotate_issuer(&operator, None, gently()).unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::TooManyCas(128))));
    assert!(refused.hint().unwrap().contains("rotate status"));
    // Those who read the bundle take 512 lists; each CA has two of them when they are long.
    let bundle = fs::read_to_string(world.path("crl.pem")).unwrap();
    assert!(2 * bundle.matches("BEGIN X509 CRL").count() <= 512);
    authority.rotate_issuer(&Actor::Home, None, at_once()).unwrap();
    authority.rotate_root(&Actor::Home, gently(), None).unwrap();
    // When their certificates have ended, there is room again.
    world.clock.advance(6 * 366 * DAY);
    drop(authority);
    let authority = world.open();
    assert_eq!(authority.lists().iter().count(), 2);
    let key = Some(root_key(&world));
    let again = authority.rotate_issuer(&operator, key, at_once());
    assert!(!matches!(again, Err(Error::Refused(Refusal::TooManyCas(_)))));
}
