//! What only whoever has the CA's home may say.

use std::fmt::Debug;

use vouchsafe_ca::{Actor, Error, Inviter, Order, Reason, Refusal, SERVICE_NAME};

use crate::enrolment::{offer, permissions, refusal};
use crate::world::{World, principal};

fn somebody() -> Actor {
    Actor::Principal(principal("operator"))
}

fn is_reserved<T: Debug>(answer: Result<T, Error>) {
    assert_eq!(refusal(answer), Refusal::Reserved(principal(SERVICE_NAME)));
}

#[test]
fn nobody_but_the_home_says_who_is_the_ca_and_who_is_it_no_longer() {
    let world = World::new();
    let authority = world.open();
    let operator = authority.issue(&Actor::Home, world.order_with_new_key("operator")).unwrap();
    let (by, ca, reason) = (somebody(), principal(SERVICE_NAME), Reason::KeyCompromise);
    let own = authority.issue(&Actor::Itself, world.order_with_new_key(SERVICE_NAME)).unwrap();
    let (serial, events) = (&own.certificate.serial, world.events().len());

    is_reserved(authority.issue(&by, world.order_with_new_key(SERVICE_NAME)));
    let inviter = Inviter::Holder(operator.certificate.fingerprint);
    is_reserved(authority.invite(&inviter, offer(SERVICE_NAME)));
    is_reserved(authority.revoke(&by, serial, reason));
    is_reserved(authority.revoke_device(&by, &ca, reason));
    is_reserved(authority.reinstate(&by, &ca));
    is_reserved(authority.limit(&by, &ca, Some(permissions(&[]))));
    is_reserved(authority.revoke_issued_before(&by, Some(&ca), world.clock.now(), reason));
    assert_eq!(world.events().len(), events);
    // What only looks like it is anybody's.
    for name in ["CA", "ca/x", "ca2", "team-a/ca"] {
        authority.issue(&by, world.order_with_new_key(name)).unwrap();
    }
    // Everything of an age is everything: the service issues itself another.
    world.clock.advance(1);
    authority.revoke_issued_before(&by, None, world.clock.now(), reason).unwrap();
    authority.issue(&Actor::Itself, world.order_with_new_key(SERVICE_NAME)).unwrap();

    // At the home it is said, and the CA itself is held to it.
    authority.revoke_device(&Actor::Home, &ca, reason).unwrap();
    let refused = refusal(authority.issue(&Actor::Itself, world.order_with_new_key(SERVICE_NAME)));
    assert!(matches!(refused, Refusal::DeviceRevoked { .. }));
    authority.reinstate(&Actor::Home, &ca).unwrap();
    authority.issue(&Actor::Itself, world.order_with_new_key(SERVICE_NAME)).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn nobody_says_what_they_may_do_themselves() {
    let world = World::new();
    let authority = world.open();
    let own = principal("operator");
    let narrow = Some(permissions(&["tools:search"]));
    authority.limit(&Actor::Home, &own, narrow.clone()).unwrap();
    for limit in [None, Some(permissions(&["*:*"])), narrow] {
        let refused = refusal(authority.limit(&somebody(), &own, limit));
        assert_eq!(refused, Refusal::OwnLimit(own.clone()));
    }
    // Of others it is said as ever.
    assert!(authority.limit(&somebody(), &principal("a"), Some(permissions(&[]))).unwrap());
    let more = Order { permissions: permissions(&["tools:delete"]), ..world.order("operator") };
    let refused = refusal(authority.issue(&Actor::Home, more));
    assert!(matches!(refused, Refusal::BeyondLimit { .. }));
    drop(authority);
    world.check();
}
