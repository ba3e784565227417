//! Renewal: what it grants, when the same answer is given again, and what is taken for theft.

use std::sync::Barrier;
use std::thread;

use crate::enrolment::{offer, permissions, redeem, refusal, request};
use crate::faulty::REMAINS;
use crate::world::{DAY, World, is_active, principal};
use vouchsafe_ca::{
    Actor, Authority, CertificateRecord, Error, Event, Inviter, Issued, Kind, Offer, Order, Reason,
    Refusal, Rotation,
};
use vouchsafe_certs::{Certificate, KeyType};

const HOUR: u64 = 3_600;

fn record(authority: &Authority, certificate: &Certificate) -> CertificateRecord {
    let serial = &certificate.serial;
    authority.look_up(|ledger| ledger.certificate(serial)).unwrap().unwrap()
}

fn order(world: &World, name: &str, may: &[&str]) -> Order {
    Order { permissions: permissions(may), ..world.order_with_new_key(name) }
}

#[test]
fn a_renewal_is_the_next_generation_with_the_same_or_another_key() {
    let world = World::new();
    let authority = world.open();
    let invited = authority.invite(&Inviter::Home, offer("a")).unwrap();
    let first = redeem(&authority, &invited, &world.request()).unwrap();
    world.clock.advance(16 * HOUR);
    let second = authority.renew(&first.certificate, &world.request()).unwrap();
    assert_eq!(second.certificate.public_key, first.certificate.public_key);
    assert_eq!(second.certificate.permissions, first.certificate.permissions);
    // As long as the first one, from now on.
    let end = world.clock.now().as_secs() + DAY;
    assert_eq!(second.certificate.not_after.as_secs(), end);
    world.clock.advance(16 * HOUR);
    let other = request();
    let third = authority.renew(&second.certificate, &other).unwrap();
    assert_eq!(third.certificate.public_key, other.public_key);
    for (generation, issued) in (0..).zip([&first, &second, &third]) {
        let record = record(&authority, &issued.certificate);
        assert_eq!((record.lineage, record.generation), (first.certificate.serial, generation));
        assert!(record.revoked.is_none());
    }
    drop(authority);
    world.check();
}

#[test]
fn a_certificate_that_was_ordered_is_renewed_just_so() {
    let world = World::new();
    let kind = Kind::Server { dns_names: vec!["gw.example".into()], ip_addresses: Vec::new() };
    let authority = world.open();
    let first = authority.issue(&Actor::Home, Order { kind, ..world.order("gw") }).unwrap();
    let second = authority.renew(&first.certificate, &request()).unwrap();
    assert_eq!(second.certificate.dns_names, ["gw.example"]);
    assert_eq!(second.certificate.usage, first.certificate.usage);
    drop(authority);
    world.check();
}

#[test]
fn a_lost_answer_is_given_again_and_not_taken_for_theft() {
    let world = World::new();
    let authority = world.open();
    let first = authority.issue(&Actor::Home, world.order("a")).unwrap();
    let fresh = request();
    let second = authority.renew(&first.certificate, &fresh).unwrap();
    let events = world.events().len();
    for _ in 0..3 {
        let again = authority.renew(&first.certificate, &fresh).unwrap();
        assert_eq!(again.chain, second.chain);
    }
    assert_eq!(world.events().len(), events);
    // And it goes on from there.
    world.clock.advance(3 * HOUR);
    let third = authority.renew(&second.certificate, &fresh).unwrap();
    assert_ne!(third.certificate.serial, second.certificate.serial);
    assert_eq!(authority.renew(&first.certificate, &fresh).unwrap().chain, third.chain);
    drop(authority);
    world.check();
}

#[test]
fn an_older_generation_with_another_key_is_theft_and_ends_the_lineage() {
    let world = World::new();
    let authority = world.open();
    let first = authority.issue(&Actor::Home, order(&world, "a", &["tools:search"])).unwrap();
    let second = authority.renew(&first.certificate, &request()).unwrap();
    world.clock.advance(3 * HOUR);
    let own = request();
    let third = authority.renew(&second.certificate, &own).unwrap();
    // Another lineage of the same device, and another device.
    let beside = authority.issue(&Actor::Home, order(&world, "a", &["tools:search"])).unwrap();
    let bystander = authority.issue(&Actor::Home, order(&world, "b", &[])).unwrap();

    let thief = request();
    let refused = authority.renew(&second.certificate, &thief).unwrap_err();
    assert!(refused.to_string().contains("somebody holds a copy"), "{refused}");
    let shown = second.certificate.serial;
    let stolen = Refusal::Stolen { principal: principal("a"), shown };
    assert!(matches!(refused, Error::Refused(refusal) if refusal == stolen));
    // It was said only after the list was out.
    let list = world.published();
    for issued in [&first, &second, &third] {
        let revoked = record(&authority, &issued.certificate).revoked.unwrap();
        assert_eq!(revoked.reason, Reason::KeyCompromise);
        assert!(list.revokes(&issued.certificate.serial));
    }
    assert!(is_active(&authority, &beside.certificate.serial));
    assert!(is_active(&authority, &bystander.certificate.serial));
    // In the journal it is an event of its own, of the CA itself.
    let theft = world.events().into_iter().find_map(|event| match event {
        Event::LineageRevoked { lineage, newest, shown, .. } => Some((lineage, newest, shown)),
        _ => None,
    });
    let serial = |issued: &Issued| issued.certificate.serial;
    assert_eq!(theft.unwrap(), (serial(&first), serial(&third), shown));

    // Nobody goes on: neither the thief nor the one who was robbed, with whatever key.
    for (held, request) in [(&third, &own), (&third, &thief), (&second, &thief), (&first, &own)] {
        let refused = refusal(authority.renew(&held.certificate, request));
        assert!(matches!(refused, Refusal::CertificateRevoked { .. }));
    }
    // The keys that both may have are never certified again; a new one is.
    let invited = authority.invite(&Inviter::Home, offer("a")).unwrap();
    let refused = refusal(redeem(&authority, &invited, &own));
    assert!(matches!(refused, Refusal::KeyCompromised { .. }));
    redeem(&authority, &invited, &request()).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn whoever_renews_all_the_time_has_a_new_certificate_once_in_a_tenth_of_its_life() {
    let world = World::new();
    let authority = world.open();
    let first = authority.issue(&Actor::Home, world.order("a")).unwrap();
    // Whoever sets a device up sees at once whether a renewal works.
    let own = request();
    let mut newest = authority.renew(&first.certificate, &own).unwrap();
    let issued_at = world.clock.now();
    let early = authority.renew(&newest.certificate, &request()).unwrap_err();
    let serial = newest.certificate.serial;
    assert_eq!(
        early.to_string(),
        format!(
            "certificate {serial} was issued only at 2027-01-15T08:00:00Z, and is not renewed before 2027-01-15T10:24:00Z"
        )
    );
    world.clock.advance(DAY / 10 - 1);
    let Refusal::TooYoung { again_in, again_at, .. } =
        refusal(authority.renew(&newest.certificate, &request()))
    else {
        panic!("not refused for its age")
    };
    assert_eq!((again_in.as_secs(), again_at.as_secs()), (1, issued_at.as_secs() + DAY / 10));
    // The key that it has been renewed for gets what it got, whichever of the two is shown.
    let events = world.events().len();
    for shown in [&first, &newest] {
        assert_eq!(authority.renew(&shown.certificate, &own).unwrap().chain, newest.chain);
    }
    assert_eq!(world.events().len(), events);

    let mut renewed = 0;
    for _ in 0..DAY / 600 {
        world.clock.advance(600);
        match authority.renew(&newest.certificate, &request()) {
            Ok(next) => (newest, renewed) = (next, renewed + 1),
            Err(early) => assert!(matches!(early, Error::Refused(Refusal::TooYoung { .. }))),
        }
    }
    assert!((9..=10).contains(&renewed), "{renewed}");
    drop(authority);
    world.check();
}

#[test]
fn youth_protects_neither_a_thief_nor_what_an_operator_has_changed() {
    let world = World::new();
    let authority = world.open();
    let granted = ["tools:delete", "tools:search"];
    let first = authority.issue(&Actor::Home, order(&world, "a", &granted)).unwrap();
    let second = authority.renew(&first.certificate, &request()).unwrap();
    let is_early = |held: &Issued| {
        let refused = refusal(authority.renew(&held.certificate, &request()));
        assert!(matches!(refused, Refusal::TooYoung { .. }));
    };
    is_early(&second);
    // What a renewal grants was narrowed, and granted again.
    let limit = |texts: Option<&[&str]>| {
        authority.limit(&Actor::Home, &principal("a"), texts.map(permissions)).unwrap()
    };
    limit(Some(&["tools:search"]));
    let narrow = authority.renew(&second.certificate, &request()).unwrap();
    assert_eq!(narrow.certificate.permissions, permissions(&["tools:search"]));
    is_early(&narrow);
    limit(None);
    let wide = authority.renew(&narrow.certificate, &request()).unwrap();
    is_early(&wide);
    // The CA that has issued it is replaced, perhaps because it was lost: everybody may leave it.
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    authority.rotate_issuer(&Actor::Home, None, rotation).unwrap();
    let newest = authority.renew(&wide.certificate, &request()).unwrap();
    is_early(&newest);
    // An older one with another key is theft, in the very same second.
    let refused = refusal(authority.renew(&wide.certificate, &request()));
    assert!(matches!(refused, Refusal::Stolen { .. }));
    let refused = refusal(authority.renew(&newest.certificate, &request()));
    assert!(matches!(refused, Refusal::CertificateRevoked { .. }));
    drop(authority);
    world.check();
}

#[test]
fn two_renewals_at_once_with_the_same_key_are_one() {
    let world = World::new();
    let authority = world.open();
    let first = authority.issue(&Actor::Home, world.order("a")).unwrap();
    let fresh = request();
    let start = Barrier::new(8);
    let chains: Vec<_> = thread::scope(|scope| {
        let one = |_| {
            scope.spawn(|| {
                start.wait();
                authority.renew(&first.certificate, &fresh).unwrap().chain
            })
        };
        let threads: Vec<_> = (0..8).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(chains.iter().all(|chain| *chain == chains[0]));
    drop(authority);
    world.check();
}

#[test]
fn a_renewal_whose_answer_is_lost_in_a_crash_is_answered_alike_after_it() {
    for remains in REMAINS {
        let world = World::new();
        let first = world.issue("a");
        let fresh = request();
        let faulty = world.open_faulty(0, remains.store).unwrap();
        assert!(matches!(faulty.renew(&first.certificate, &fresh), Err(Error::Store(_))));
        world.crash(faulty, remains);
        world.check();
        let authority = world.open();
        let recorded = authority.look_up(|ledger| ledger.certificates_of(&principal("a"))).unwrap();
        assert_eq!(recorded.len(), if remains.are_enough() { 2 } else { 1 });
        let second = authority.renew(&first.certificate, &fresh).unwrap();
        assert_eq!(authority.renew(&first.certificate, &fresh).unwrap().chain, second.chain);
        assert_eq!(record(&authority, &second.certificate).generation, 1);
        assert!(is_active(&authority, &second.certificate.serial));
        drop(authority);
        world.check();
    }
}

#[test]
fn what_does_not_count_is_not_renewed() {
    let world = World::new();
    let authority = world.open();
    let issue = |name| authority.issue(&Actor::Home, order(&world, name, &[])).unwrap();
    let (revoked, device, kept) = (issue("a"), issue("b"), issue("c"));
    authority.revoke(&Actor::Home, &revoked.certificate.serial, Reason::Superseded).unwrap();
    let refused = refusal(authority.renew(&revoked.certificate, &request()));
    assert!(matches!(refused, Refusal::CertificateRevoked { reason: Reason::Superseded, .. }));

    authority.revoke_device(&Actor::Home, &principal("b"), Reason::Unspecified).unwrap();
    let refused = refusal(authority.renew(&device.certificate, &request()));
    assert!(matches!(refused, Refusal::DeviceRevoked { .. }));
    // Reinstating brings no lineage back.
    authority.reinstate(&Actor::Home, &principal("b")).unwrap();
    let refused = refusal(authority.renew(&device.certificate, &request()));
    assert!(matches!(refused, Refusal::CertificateRevoked { .. }));

    // Somebody else's certificate, even if it has the same number.
    let elsewhere = World::new().issue("c");
    let refused = refusal(authority.renew(&elsewhere.certificate, &request()));
    assert!(matches!(refused, Refusal::NoSuchCertificate(_)));
    let mut disguised = elsewhere.certificate.clone();
    disguised.serial = kept.certificate.serial;
    let refused = refusal(authority.renew(&disguised, &request()));
    assert!(matches!(refused, Refusal::NoSuchCertificate(_)));

    // The last second counts, the next one does not.
    world.clock.advance(DAY);
    let renewed = authority.renew(&kept.certificate, &request()).unwrap();
    world.clock.advance(DAY + 1);
    let refused = refusal(authority.renew(&renewed.certificate, &request()));
    assert!(matches!(refused, Refusal::CertificateExpired { .. }));
    drop(authority);
    world.check();
}

#[test]
fn a_lineage_goes_on_under_a_new_issuing_ca_unless_the_old_one_is_revoked() {
    let world = World::new();
    let authority = world.open();
    let invited = authority.invite(&Inviter::Home, offer("a")).unwrap();
    let enrolling = request();
    let first = redeem(&authority, &invited, &enrolling).unwrap();
    let beside = authority.issue(&Actor::Home, order(&world, "b", &[])).unwrap();
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    authority.rotate_issuer(&Actor::Home, None, rotation).unwrap();

    // A repeated answer comes with the chain it had; the successor with the new one.
    assert_eq!(redeem(&authority, &invited, &enrolling).unwrap().chain, first.chain);
    let own = request();
    let second = authority.renew(&first.certificate, &own).unwrap();
    assert_ne!(second.chain[1], first.chain[1]);

    let old = record(&authority, &first.certificate).planned.issuer;
    authority.revoke_issuer(&Actor::Home, &old, Reason::KeyCompromise, None).unwrap();
    for held in [&first, &beside] {
        let refused = refusal(authority.renew(&held.certificate, &own));
        let expected = Refusal::CertificateRevoked {
            serial: held.certificate.serial,
            reason: Reason::KeyCompromise,
        };
        assert_eq!(refused, expected);
    }
    let refused = refusal(redeem(&authority, &invited, &enrolling));
    assert!(matches!(refused, Refusal::CertificateRevoked { .. }));
    // Who had renewed by then goes on.
    world.clock.advance(3 * HOUR);
    authority.renew(&second.certificate, &request()).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn a_limit_narrows_what_comes_after_it_and_nothing_widens_a_lineage() {
    let world = World::new();
    let authority = world.open();
    let limit = |texts: Option<&[&str]>| {
        authority.limit(&Actor::Home, &principal("a"), texts.map(permissions)).unwrap()
    };
    let granted = ["resources:file:///docs/*", "tools:search"];
    let first = authority.issue(&Actor::Home, order(&world, "a", &granted)).unwrap();
    let offered = Offer { permissions: permissions(&granted), ..offer("a") };
    let invited = authority.invite(&Inviter::Home, offered).unwrap();

    assert!(limit(Some(&["tools:*", "resources:file:///docs/a/*"])));
    assert!(!limit(Some(&["tools:*", "resources:file:///docs/a/*"])));
    let narrow = permissions(&["resources:file:///docs/a/*", "tools:search"]);
    let second = authority.renew(&first.certificate, &request()).unwrap();
    assert_eq!(second.certificate.permissions, narrow);
    // An older invitation does not get around it, and neither does an operator who forgot it.
    let enrolled = redeem(&authority, &invited, &request()).unwrap();
    assert_eq!(enrolled.certificate.permissions, narrow);
    let refused = refusal(authority.issue(&Actor::Home, order(&world, "a", &granted)));
    assert!(matches!(&refused, Refusal::BeyondLimit { permission, .. }
        if permission.as_str() == "resources:file:///docs/*"));
    let offered = Offer { permissions: permissions(&granted), ..offer("a") };
    let refused = refusal(authority.invite(&Inviter::Home, offered));
    assert!(matches!(refused, Refusal::BeyondLimit { .. }));

    // Everything is allowed now, and still the lineage gets no more than it began with.
    assert!(limit(Some(&["*:*"])));
    let third = authority.renew(&second.certificate, &request()).unwrap();
    assert_eq!(third.certificate.permissions, permissions(&granted));
    assert!(limit(None));
    assert!(!limit(None));
    let wide = authority.issue(&Actor::Home, order(&world, "a", &["*:*"])).unwrap();
    world.clock.advance(3 * HOUR);
    let fourth = authority.renew(&third.certificate, &request()).unwrap();
    assert_eq!(fourth.certificate.permissions, permissions(&granted));
    assert!(wide.certificate.permissions.allows("tools", "delete"));

    // A limit survives a revocation of the device and its end.
    assert!(limit(Some(&[])));
    authority.revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified).unwrap();
    authority.reinstate(&Actor::Home, &principal("a")).unwrap();
    let refused = refusal(authority.issue(&Actor::Home, order(&world, "a", &["tools:search"])));
    assert!(matches!(refused, Refusal::BeyondLimit { .. }));
    drop(authority);
    world.check();
}

#[test]
fn everything_issued_before_a_moment_is_revoked_and_nothing_after_it() {
    let world = World::new();
    let authority = world.open();
    let issue = |name| authority.issue(&Actor::Home, order(&world, name, &[])).unwrap();
    let old = [issue("a"), issue("a"), issue("b")];
    let already = issue("c");
    authority.revoke(&Actor::Home, &already.certificate.serial, Reason::Superseded).unwrap();
    let invited = authority.invite(&Inviter::Home, offer("d")).unwrap();
    world.clock.advance(MINUTE);
    let moment = world.clock.now();
    let new = issue("a");
    let renewed = authority.renew(&old[1].certificate, &request()).unwrap();
    let anew = authority.invite(&Inviter::Home, offer("d")).unwrap();
    world.clock.advance(MINUTE);

    let sweep =
        |scope, before, reason| authority.revoke_issued_before(&Actor::Home, scope, before, reason);
    let before = world.published().number;
    let b = principal("b");
    let of_b = sweep(Some(&b), moment, Reason::PrivilegeWithdrawn).unwrap();
    assert_eq!((of_b.certificates, of_b.invitations, of_b.list.number), (1, 0, before + 1));
    let events = world.events().len();
    let all = sweep(None, moment, Reason::CessationOfOperation).unwrap();
    assert_eq!((all.certificates, all.invitations), (2, 1));
    assert_eq!(world.events().len(), events + 2, "one act and one list");
    let list = world.published();
    assert!(old.iter().all(|issued| list.revokes(&issued.certificate.serial)));
    assert!(!list.revokes(&new.certificate.serial) && !list.revokes(&renewed.certificate.serial));
    // What was revoked for another reason keeps it.
    let kept = record(&authority, &already.certificate).revoked.unwrap();
    assert_eq!(kept.reason, Reason::Superseded);
    let refused = refusal(redeem(&authority, &invited, &request()));
    assert!(matches!(refused, Refusal::InvitationWithdrawn { .. }));
    redeem(&authority, &anew, &request()).unwrap();

    // Twice is no news; the devices are not revoked.
    let events = world.events().len();
    assert_eq!(sweep(None, moment, Reason::Unspecified).unwrap().certificates, 0);
    assert_eq!(world.events().len(), events);
    issue("b");
    // Everything so far, this very second included; but not what is still to come.
    let now = world.clock.now().as_secs();
    let at = |seconds| {
        rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    };
    let refused = refusal(sweep(None, at(now + 2), Reason::Unspecified));
    assert!(matches!(refused, Refusal::NotYet { .. }));
    // A graver reason is news for all eight.
    assert_eq!(sweep(None, at(now + 1), Reason::KeyCompromise).unwrap().certificates, 8);
    let certificates = authority.look_up(|ledger| ledger.certificates()).unwrap();
    assert!(certificates.iter().all(|record| record.revoked.is_some()));
    drop(authority);
    world.check();
}

const MINUTE: u64 = 60;
