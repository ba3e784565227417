//! Who has a say, by what is on record and not by what the lists have told.

use vouchsafe_ca::{Actor, Authority, Issued, Reason, Refusal, Rotation};
use vouchsafe_certs::{CaCertificate, Fingerprint, KeyType};

use crate::enrolment::{refusal, request};
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
