//! Who has a say, by what is on record and not by what the lists have told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use vouchsafe_ca::{
    Actor, Authority, Error, Event, Inviter, Issued, Reason, Record, Refusal, Rotation,
};
use vouchsafe_certs::{CaCertificate, Fingerprint, KeyType};

use crate::enrolment::{offer, permissions, refusal, request};
use crate::world::{World, principal};

fn issue(world: &World, authority: &Authority, name: &str) -> Issued {
    authority.issue(&Actor::Home, world.order_with_new_key(name)).unwrap()
}

fn has_a_say(authority: &Authority, issued: &Issued) -> bool {
    match authority.demand_caller(&issued.certificate.fingerprint) {
        Ok(()) => true,
        refused => {
            let Refusal::CallerRevoked { caller, .. } = refusal(refused) else { panic!() };
            assert_eq!(caller, issued.certificate.principal);
            false
        }
    }
}

#[test]
fn whoever_is_revoked_in_whatever_way_has_no_say() {
    let world = World::new();
    let authority = world.open();
    let [one, beside] = [(); 2].map(|()| issue(&world, &authority, "operator"));
    assert!(has_a_say(&authority, &one) && has_a_say(&authority, &beside));
    let (serial, reason) = (one.certificate.serial, Reason::KeyCompromise);
    authority.revoke(&Actor::Home, &serial, reason).unwrap();
    assert!(!has_a_say(&authority, &one) && has_a_say(&authority, &beside));

    // With the device, all its certificates; a reinstatement gives none of them back.
    let (device, other) = (principal("operator"), issue(&world, &authority, "other"));
    authority.revoke_device(&Actor::Home, &device, reason).unwrap();
    assert!(!has_a_say(&authority, &beside) && has_a_say(&authority, &other));
    authority.reinstate(&Actor::Home, &device).unwrap();
    assert!(!has_a_say(&authority, &beside));
    let anew = issue(&world, &authority, "operator");
    assert!(has_a_say(&authority, &anew));

    // What is older than a date, and what was stolen.
    world.clock.advance(1);
    let now = world.clock.now();
    authority.revoke_issued_before(&Actor::Home, Some(&device), now, reason).unwrap();
    assert!(!has_a_say(&authority, &anew) && has_a_say(&authority, &other));
    let renewed = authority.renew(&other.certificate, &request()).unwrap();
    assert!(has_a_say(&authority, &other) && has_a_say(&authority, &renewed));
    let theft = refusal(authority.renew(&other.certificate, &request()));
    assert!(matches!(theft, Refusal::Stolen { .. }));
    assert!(!has_a_say(&authority, &other) && !has_a_say(&authority, &renewed));
    drop(authority);
    world.check();
}

#[test]
fn nobody_has_a_say_by_a_ca_that_is_revoked_or_by_a_certificate_that_is_not_on_record() {
    let world = World::new();
    let authority = world.open();
    let first = issue(&world, &authority, "first");
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    authority.rotate_issuer(&Actor::Home, None, rotation).unwrap();
    let second = issue(&world, &authority, "second");
    let issuer = CaCertificate::from_der(&first.chain[1]).unwrap().serial;
    authority.revoke_issuer(&Actor::Home, &issuer, Reason::KeyCompromise, None).unwrap();
    assert!(!has_a_say(&authority, &first) && has_a_say(&authority, &second));

    let elsewhere = World::new();
    let strange = issue(&elsewhere, &elsewhere.open(), "second").certificate.fingerprint;
    for unknown in [strange, Fingerprint::of(b"")] {
        let refused = refusal(authority.demand_caller(&unknown));
        assert_eq!(refused, Refusal::CallerUnknown(unknown));
    }
}

/// Who acts by a certificate.
fn acting(issued: &Issued) -> Actor {
    Actor::Holder(issued.certificate.principal.clone(), issued.certificate.fingerprint)
}

#[test]
fn nothing_is_recorded_of_an_operator_after_their_revocation() {
    let world = World::new();
    let authority = world.open();
    let operator = acting(&issue(&world, &authority, "operator"));
    let answered = AtomicUsize::new(0);
    // A flood of orders, each of which may have been let in long before it is recorded.
    let flood = || loop {
        match authority.issue(&operator, world.order("agent")) {
            Ok(_) => answered.fetch_add(1, Ordering::SeqCst),
            Err(Error::Refused(Refusal::CallerRevoked { .. })) => return,
            Err(other) => panic!("{other}"),
        };
        // Or this would not end.
        assert!(answered.load(Ordering::SeqCst) < 10_000);
    };
    thread::scope(|scope| {
        let crowd = [(); 4].map(|()| scope.spawn(flood));
        while answered.load(Ordering::SeqCst) < 8 && !crowd.iter().any(|one| one.is_finished()) {
            thread::yield_now();
        }
        let reason = Reason::KeyCompromise;
        authority.revoke_device(&Actor::Home, &principal("operator"), reason).unwrap();
    });
    let records = world.records();
    let is_revocation = |record: &Record| matches!(record.event, Event::DeviceRevoked { .. });
    let at = records.iter().position(is_revocation).unwrap();
    let by_operator = |record: &Record| record.by == Actor::Principal(principal("operator"));
    assert!(records[..at].iter().filter(|record| by_operator(record)).count() >= 8);
    assert!(!records[at..].iter().any(by_operator));
    drop(authority);
    world.check();
}

#[test]
fn whatever_a_revoked_operator_does_is_refused_where_it_would_be_recorded() {
    let world = World::new();
    let authority = world.open();
    let [one, agent] = ["operator", "agent"].map(|name| issue(&world, &authority, name));
    let (operator, agent) = (acting(&one), agent.certificate);
    authority.limit(&operator, &agent.principal, Some(permissions(&["tools:*"]))).unwrap();
    let invited = authority.invite(&Inviter::Home, offer("b")).unwrap();
    authority.revoke(&Actor::Home, &one.certificate.serial, Reason::PrivilegeWithdrawn).unwrap();
    let events = world.events().len();
    let reason = Reason::KeyCompromise;
    world.clock.advance(1);
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    for refused in [
        authority.issue(&operator, world.order_with_new_key("c")).map(drop),
        authority.withdraw(&operator, &invited.id).map(drop),
        authority.limit(&operator, &agent.principal, None).map(drop),
        authority.revoke(&operator, &agent.serial, reason).map(drop),
        authority.revoke_device(&operator, &agent.principal, reason).map(drop),
        authority.revoke_issued_before(&operator, None, world.clock.now(), reason).map(drop),
        authority.rotate_issuer(&operator, None, rotation).map(drop),
        authority.publish(&operator).map(drop),
    ] {
        assert!(matches!(refusal(refused), Refusal::CallerRevoked { .. }));
    }
    assert_eq!(world.events().len(), events);
    // Whoever has the home does it instead.
    authority.revoke(&Actor::Home, &agent.serial, reason).unwrap();
    drop(authority);
    world.check();
}
