//! Issue, revoke, reinstate, publish: what the CA does when nothing goes wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{DAY, World, founding, is_active, principal};
use vouchsafe_ca::{Actor, Error, HomeError, Order, ProfileError, Reason, Refusal, Tier};
use vouchsafe_certs::{KeyError, KeyType, Principal, PrivateKey};

#[test]
fn what_was_issued_is_remembered_as_it_was_handed_out() {
    let world = World::new();
    let issued = world.issue("team-a/build-7");
    let serial = issued.certificate.serial;
    let authority = world.open();
    let record = authority.look_up(|ledger| ledger.certificate(&serial)).unwrap().unwrap();
    assert_eq!(record.certificate, issued.chain[0].as_ref());
    assert_eq!(record.planned.principal.name(), "team-a/build-7");
    let found = authority.look_up(|ledger| ledger.serial_of(&issued.certificate.fingerprint));
    assert_eq!(found.unwrap(), Some(serial));
    assert_eq!(issued.chain[1], authority.certificate(Tier::Issuing).unwrap().der);
    assert_eq!(issued.roots, [authority.certificate(Tier::Root).unwrap().der]);
    drop(authority);
    world.check();
}

#[test]
fn one_certificate_is_revoked_and_the_others_of_its_device_are_not() {
    let world = World::new();
    let (one, two) = (world.issue("a"), world.issue("a"));
    let before = world.published().number;
    let outcome =
        world.open().revoke(&Actor::Home, &one.certificate.serial, Reason::Superseded).unwrap();
    assert!(outcome.changed);
    assert_eq!(outcome.certificates.len(), 1);
    assert_eq!(outcome.list.number, before + 1);
    let list = world.published();
    assert_eq!(list.number, outcome.list.number);
    assert!(list.revokes(&one.certificate.serial));
    assert!(!list.revokes(&two.certificate.serial));
    world.issue("a");
    world.check();
}

#[test]
fn a_device_is_revoked_with_everything_it_holds_and_gets_nothing_new() {
    let world = World::new();
    let old = world.issue("a");
    world.clock.advance(DAY + 1);
    let held = [world.issue("a"), world.issue("a")];
    let bystander = world.issue("ab");
    let authority = world.open();
    let events = world.events().len();
    let outcome = authority
        .revoke_device(&Actor::Home, &principal("a"), Reason::CessationOfOperation)
        .unwrap();
    // One act, in one record, and one list.
    assert_eq!(world.events().len(), events + 2);
    assert_eq!(outcome.certificates.len(), 2);
    assert!(held.iter().all(|issued| !is_active(&authority, &issued.certificate.serial)));
    // Its time was over, by a clock that may be wrong.
    assert!(!is_active(&authority, &old.certificate.serial));
    assert!(is_active(&authority, &bystander.certificate.serial));
    let refused = authority.issue(&Actor::Home, world.order("a"));
    assert!(matches!(refused, Err(Error::Refused(Refusal::DeviceRevoked { .. }))));
    authority.issue(&Actor::Home, world.order("ab")).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn a_clock_that_ran_ahead_makes_the_ca_forget_nothing() {
    let world = World::new();
    let (one, two) = (world.issue("one"), world.issue("two"));
    world.open().revoke(&Actor::Home, &one.certificate.serial, Reason::KeyCompromise).unwrap();
    world.clock.advance(30 * DAY);
    let authority = world.open();
    authority.publish(&Actor::Home).unwrap();
    authority.revoke_device(&Actor::Home, &principal("two"), Reason::KeyCompromise).unwrap();
    drop(authority);
    world.clock.go_back(30 * DAY);
    world.open().publish(&Actor::Home).unwrap();
    let list = world.published();
    assert!(list.revokes(&one.certificate.serial) && list.revokes(&two.certificate.serial));
}

#[test]
fn a_reinstated_device_gets_new_certificates_but_none_back() {
    let world = World::new();
    let held = world.issue("a");
    let authority = world.open();
    authority.revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified).unwrap();
    assert!(authority.reinstate(&Actor::Home, &principal("a")).unwrap().changed);
    assert!(!authority.reinstate(&Actor::Home, &principal("a")).unwrap().changed);
    let new = authority.issue(&Actor::Home, world.order("a")).unwrap();
    assert!(!is_active(&authority, &held.certificate.serial));
    assert!(is_active(&authority, &new.certificate.serial));
    // And can be revoked once more.
    assert!(
        authority
            .revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified)
            .unwrap()
            .changed
    );
    assert!(!is_active(&authority, &new.certificate.serial));
    drop(authority);
    world.check();
}

#[test]
fn revoking_twice_says_so_and_records_nothing() {
    let world = World::new();
    let serial = world.issue("a").certificate.serial;
    let authority = world.open();
    let first = authority.revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
    let events = world.events().len();
    let again = authority.revoke(&Actor::Home, &serial, Reason::Unspecified).unwrap();
    assert!(!again.changed && again.certificates.is_empty());
    assert_eq!(again.list.number, first.list.number);
    assert_eq!(world.events().len(), events);
    authority.revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified).unwrap();
    let events = world.events().len();
    assert!(
        !authority
            .revoke_device(&Actor::Home, &principal("a"), Reason::Superseded)
            .unwrap()
            .changed
    );
    assert_eq!(world.events().len(), events);
}

#[test]
fn a_compromised_key_is_never_certified_again_whenever_that_is_learnt() {
    let world = World::new();
    let serial = world.issue("a").certificate.serial;
    let authority = world.open();
    authority.revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
    authority.issue(&Actor::Home, world.order("a")).unwrap();
    // The same certificate once more, for a reason that is news.
    assert!(authority.revoke(&Actor::Home, &serial, Reason::KeyCompromise).unwrap().changed);
    let refused = authority.issue(&Actor::Home, world.order("b")).unwrap_err();
    assert!(
        matches!(refused, Error::Refused(Refusal::KeyCompromised { serial: by }) if by == serial)
    );
    authority.issue(&Actor::Home, world.order_with_new_key("b")).unwrap();
    // Also through the device, when two certificates share the key.
    authority.revoke_device(&Actor::Home, &principal("a"), Reason::KeyCompromise).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn what_was_never_issued_cannot_be_revoked() {
    let world = World::new();
    let stranger = World::new().issue("a").certificate.serial;
    let authority = world.open();
    let events = world.events().len();
    let refused = authority.revoke(&Actor::Home, &stranger, Reason::Unspecified);
    assert!(matches!(refused, Err(Error::Refused(Refusal::NoSuchCertificate(_)))));
    let refused = authority.revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified);
    assert!(matches!(refused, Err(Error::Refused(Refusal::NoSuchDevice(_)))));
    assert!(authority.reinstate(&Actor::Home, &principal("a")).is_err());
    assert_eq!(world.events().len(), events);
}

#[test]
fn limits_are_the_profiles_and_refusals_leave_no_trace() {
    let world = World::new();
    let authority = world.open();
    let events = world.events().len();
    let foreign = Principal::parse("spiffe://other.example/a").unwrap();
    let refused = authority.issue(&Actor::Home, Order { principal: foreign, ..world.order("a") });
    assert!(matches!(refused, Err(Error::Profile(ProfileError::ForeignTrustDomain { .. }))));
    let long = Order { lifetime: Some("91d".parse().unwrap()), ..world.order("a") };
    assert!(matches!(
        authority.issue(&Actor::Home, long),
        Err(Error::Profile(ProfileError::TooLong { .. }))
    ));
    assert_eq!(world.events().len(), events);
    authority.issue(&Actor::Home, world.order("a")).unwrap();
}

#[test]
fn the_largest_certificate_is_remembered_in_full() {
    let world = World::new();
    let many = (0..60).map(|n| format!("tools:{n:0>255}").parse().unwrap()).collect();
    let name = vec!["segment"; 200].join("/");
    let order = Order { permissions: many, ..world.order(&name) };
    let issued = world.open().issue(&Actor::Home, order).unwrap();
    assert_eq!(issued.certificate.permissions.len(), 60);
    world.open().revoke_device(&Actor::Home, &principal(&name), Reason::Unspecified).unwrap();
    world.check();
    // Where sled puts what is too long for it, and nobody syncs it.
    let blobs = fs::read_dir(world.path("store/blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0);
}

/// RFC 5280 §3.3: an entry stays until one list beyond the certificate's validity has had it.
#[test]
fn expired_certificates_leave_the_list() {
    let world = World::new();
    let serial = world.issue("a").certificate.serial;
    world.open().revoke(&Actor::Home, &serial, Reason::Unspecified).unwrap();
    world.clock.advance(DAY + 1);
    world.open().publish(&Actor::Home).unwrap();
    assert!(world.published().revokes(&serial));
    world.open().publish(&Actor::Home).unwrap();
    assert!(!world.published().revokes(&serial));
    world.check();
}

#[test]
fn lists_are_signed_anew_at_half_their_life() {
    let world = World::new();
    let number = |world: &World| world.published().number;
    assert_eq!(number(&world), 1);
    world.clock.advance(7 * DAY / 2 - 1);
    world.open();
    assert_eq!(number(&world), 1);
    world.clock.advance(1);
    world.open();
    assert_eq!(number(&world), 2);
    world.clock.advance(183 * DAY);
    world.open();
    let authority = world.open();
    let root = authority.certificate(Tier::Root).unwrap().serial;
    let root = authority.look_up(|ledger| ledger.list(&root)).unwrap().unwrap();
    drop(authority);
    assert_eq!((root.number, number(&world)), (2, 3));
    world.check();
}

/// What is on record is not yet published.
#[test]
fn a_list_that_could_not_be_published_is_tried_again() {
    let world = World::new();
    let authority = world.open();
    let lists = world.path("crl.pem");
    let root = authority.certificate(Tier::Root).unwrap();
    let recorded = || authority.look_up(|ledger| ledger.list(&root.serial)).unwrap().unwrap();
    let is_out = || {
        let published = authority.lists();
        let mut published = published.iter().filter(|list| list.issuer.serial == root.serial);
        published.next().unwrap().is_out(&recorded())
    };
    let before = recorded();
    assert!(is_out());
    world.clock.advance(183 * DAY);
    // No file can take the place of a folder.
    fs::remove_file(&lists).unwrap();
    fs::create_dir(&lists).unwrap();
    authority.keep_up().unwrap_err();
    assert!(recorded().number > before.number && !is_out());
    fs::remove_dir(&lists).unwrap();
    authority.keep_up().unwrap();
    assert!(is_out());
    assert_eq!(world.published_by(&root).number, recorded().number);
    drop(authority);
    world.check();
}

#[test]
fn without_the_roots_key_its_list_stays_and_everything_else_goes_on() {
    let world = World::new();
    let key = world.path("root.key");
    let away = world.folder().join("root.key");
    fs::rename(&key, &away).unwrap();
    let root_list = |world: &World| {
        let authority = world.open();
        let root = authority.certificate(Tier::Root).unwrap().serial;
        authority.lists().of(&root).unwrap().to_vec()
    };
    let before = root_list(&world);
    world.clock.advance(300 * DAY);
    let serial = world.issue("a").certificate.serial;
    world.open().revoke(&Actor::Home, &serial, Reason::Unspecified).unwrap();
    assert_eq!(root_list(&world), before);
    world.check();
    fs::rename(&away, &key).unwrap();
    assert_ne!(root_list(&world), before);
    world.check();
}

#[test]
fn a_lost_or_meddled_list_is_published_anew_under_a_new_number() {
    let world = World::new();
    let old = fs::read(world.path("crl.pem")).unwrap();
    let serial = world.issue("a").certificate.serial;
    world.open().revoke(&Actor::Home, &serial, Reason::Unspecified).unwrap();
    for replaced in [None, Some(old.as_slice()), Some(b"\xff".as_slice()), Some(b"junk".as_slice())]
    {
        let number = world.published().number;
        match replaced {
            None => fs::remove_file(world.path("crl.pem")).unwrap(),
            Some(octets) => {
                vouchsafe_ca::file::replace(
                    &world.path("crl.pem"),
                    octets,
                    vouchsafe_ca::file::Access::Public,
                )
                .unwrap();
            }
        }
        world.open();
        assert_eq!(world.published().number, number + 1);
        assert!(world.published().revokes(&serial));
        assert!(world.open().lists().iter().all(|list| list.der.is_some()));
        world.check();
    }
}

#[test]
fn keys_at_rest_are_protected() {
    let world = World::with(KeyType::P256, Some(b"correct horse"));
    for name in ["root.key", "issuing.key"] {
        let text = fs::read_to_string(world.path(name)).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        let mode = fs::metadata(world.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(world.home_path()).unwrap().permissions().mode() & 0o777, 0o700);
    let home = world.home();
    assert!(home.needs_passphrase(&home.open_ledger().unwrap()).unwrap());
    drop(home);
    let refused = |passphrase| world.try_open(passphrase).unwrap_err();
    assert!(matches!(refused(None), Error::Key(KeyError::PassphraseNeeded)));
    assert!(matches!(refused(Some(b"wrong".as_slice())), Error::Key(KeyError::WrongPassphrase)));
    world.try_open(Some(b"correct horse")).unwrap().issue(&Actor::Home, world.order("a")).unwrap();
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let world = World::new();
    fs::set_permissions(world.path("issuing.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let refused = world.try_open(None).unwrap_err();
    assert!(matches!(refused, Error::Home(HomeError::KeyExposed { mode: 0o640, .. })), "{refused}");
}

#[test]
fn a_home_that_is_there_is_never_made_anew() {
    let world = World::new();
    let create = || {
        let founding = founding(KeyType::P256, None);
        vouchsafe_ca::Home::create(&world.home_path(), founding, "test", world.clock.now())
    };
    assert!(matches!(create(), Err(Error::Home(HomeError::Exists(_)))));
    fs::remove_file(world.path("ca.toml")).unwrap();
    assert!(matches!(create(), Err(Error::Home(HomeError::Incomplete { .. }))));
    let opened = vouchsafe_ca::Home::open(&world.home_path(), "test", world.clock.now());
    assert!(matches!(opened, Err(Error::Home(HomeError::Incomplete { .. }))));
}

#[test]
fn no_ca_is_made_or_opened_where_others_can_put_files() {
    let world = World::new();
    let folder = world.folder().join("other");
    let make = || {
        let founding = founding(KeyType::P256, None);
        vouchsafe_ca::Home::create(&folder, founding, "test", world.clock.now()).map(drop)
    };
    let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    let mode = || fs::metadata(&folder).unwrap().permissions().mode() & 0o7777;
    fs::create_dir_all(folder.join("of somebody")).unwrap();
    for shared in [0o775, 0o757, 0o1777] {
        set(shared);
        let refused = make().unwrap_err();
        assert!(refused.to_string().contains(&format!("mode {shared:04o})")), "{refused}");
        assert!(matches!(refused, Error::Home(HomeError::Shared { .. })));
        // Nothing was put there.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
    // Only root gives files away.
    if std::os::unix::fs::chown(&folder, Some(65_534), None).is_ok() {
        set(0o700);
        assert!(matches!(
            make(),
            Err(Error::Home(HomeError::Shared { owner: 65_534, mode: 0o700, .. }))
        ));
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
    }
    // What is empty was made for it, and is closed.
    drop(fs::remove_dir(folder.join("of somebody")));
    set(0o755);
    make().unwrap();
    assert_eq!(mode(), 0o700);

    // Opened later: others may look, but not write.
    let open = || vouchsafe_ca::Home::open(&folder, "test", world.clock.now()).map(drop);
    set(0o755);
    open().unwrap();
    set(0o770);
    assert!(matches!(open(), Err(Error::Home(HomeError::Shared { mode: 0o770, .. }))));
}

#[test]
fn files_of_another_ca_are_noticed() {
    let (world, other) = (World::new(), World::new());
    fs::copy(other.path("root.pem"), world.path("root.pem")).unwrap();
    let refused = world.try_open(None).unwrap_err();
    assert!(matches!(refused, Error::Home(HomeError::OtherCertificate(_))));
    let world = World::new();
    fs::copy(other.path("issuing.key"), world.path("issuing.key")).unwrap();
    assert!(matches!(world.try_open(None), Err(Error::Signing(_))));
    let world = World::new();
    let text = fs::read_to_string(world.path("ca.toml")).unwrap();
    let text = text.replace("acme.example", "other.example");
    vouchsafe_ca::file::replace(
        &world.path("ca.toml"),
        text.as_bytes(),
        vouchsafe_ca::file::Access::Private,
    )
    .unwrap();
    assert!(matches!(world.try_open(None), Err(Error::Config(_))));
}

#[test]
fn debug_shows_no_secret() {
    let world = World::new();
    let issued = world.issue("a");
    let authority = world.open();
    let shown = format!("{authority:?} {authority:#?} {issued:?}");
    for name in ["root.key", "issuing.key"] {
        let pem = fs::read_to_string(world.path(name)).unwrap();
        let key = PrivateKey::from_pem(&pem).unwrap();
        let secret = key.to_tls();
        for window in secret.secret_der().windows(16) {
            let numbers = format!("{window:?}");
            let public = key.public_key().unwrap().to_der();
            let is_public = public.windows(16).any(|public| public == window);
            assert!(is_public || !shown.contains(numbers.trim_matches(['[', ']'])), "{name}");
        }
        assert!(pem.lines().all(|line| line.starts_with('-') || !shown.contains(line)));
    }
}
