//! An invitation is worth as much as whoever made it is trusted on the day it is redeemed.

use vouchsafe_ca::{
    Actor, Authority, CertificateProfile, Config, Error, Event, Invited, Inviter, Issued, Issuer,
    Lifetime, Offer, Order, Reason, Refusal, Rotation, keys,
};
use vouchsafe_certs::{CaCertificate, Certificate, KeyType};

use crate::enrolment::{offer, redeem, refusal, request};
use crate::world::{DAY, World, principal};

const HOUR: u64 = 3_600;

/// Somebody who invites, and with what.
fn operator(world: &World, authority: &Authority) -> Issued {
    authority.issue(&Actor::Home, world.order_with_new_key("operator")).unwrap()
}

fn invite(authority: &Authority, by: &Issued, name: &str) -> Result<Invited, Error> {
    let offer = Offer { expires_in: Lifetime::days(2), ..offer(name) };
    authority.invite(&Inviter::Holder(by.certificate.fingerprint), offer)
}

/// Redeeming is refused because of the operator.
fn is_void(authority: &Authority, invited: &Invited) {
    let refused = refusal(redeem(authority, invited, &request()));
    let Refusal::InviterRevoked { inviter, .. } = refused else { panic!("{refused}") };
    assert_eq!(inviter, principal("operator"));
    let void =
        authority.look_up(|ledger| ledger.is_void(&ledger.invitation(&invited.id)?.unwrap()));
    assert!(void.unwrap());
}

#[test]
fn what_a_revoked_operator_has_promised_nobody_keeps() {
    let world = World::new();
    let authority = world.open();
    let own = operator(&world, &authority);
    let (early, late) =
        (invite(&authority, &own, "a").unwrap(), invite(&authority, &own, "b").unwrap());
    let by = world.records().pop().unwrap().by;
    assert_eq!(by, Actor::Principal(principal("operator")));
    let (first, home) = (request(), authority.invite(&Inviter::Home, offer("c")).unwrap());
    let redeemed = redeem(&authority, &early, &first).unwrap();

    let serial = &own.certificate.serial;
    authority.revoke(&Actor::Home, serial, Reason::PrivilegeWithdrawn).unwrap();
    let refused = redeem(&authority, &late, &request()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the invitation was made by spiffe://acme.example/operator, who was revoked since (privilegeWithdrawn)"
    );
    // Nor does whoever is revoked invite anybody while the session goes on for a moment.
    let refused = refusal(invite(&authority, &own, "d"));
    assert!(matches!(refused, Refusal::CallerRevoked { .. }));
    // What was redeemed by then stays, and so does what others have promised.
    assert_eq!(redeem(&authority, &early, &first).unwrap().chain, redeemed.chain);
    redeem(&authority, &home, &request()).unwrap();

    // With the device all that it promised goes for good.
    let anew = operator(&world, &authority);
    let invited = invite(&authority, &anew, "e").unwrap();
    let device = principal("operator");
    authority.revoke_device(&Actor::Home, &device, Reason::Unspecified).unwrap();
    is_void(&authority, &invited);
    authority.reinstate(&Actor::Home, &device).unwrap();
    is_void(&authority, &invited);
    let invited = invite(&authority, &operator(&world, &authority), "e").unwrap();
    redeem(&authority, &invited, &request()).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn an_invitation_stands_and_falls_with_the_lineage_of_the_certificate_that_was_shown() {
    let world = World::new();
    let authority = world.open();
    let mut own = operator(&world, &authority);
    let invited = invite(&authority, &own, "a").unwrap();
    let other = invite(&authority, &own, "b").unwrap();
    // That the certificate has ended by itself says nothing against its holder.
    for _ in 0..2 {
        world.clock.advance(16 * HOUR);
        own = authority.renew(&own.certificate, &request()).unwrap();
    }
    assert!(world.clock.now().as_secs() > invited.expires_at.as_secs() - DAY);
    redeem(&authority, &invited, &request()).unwrap();
    // Another certificate of the same operator is another matter; what this one was renewed to is not.
    let beside = operator(&world, &authority);
    let reason = Reason::KeyCompromise;
    authority.revoke(&Actor::Home, &beside.certificate.serial, reason).unwrap();
    let third = invite(&authority, &own, "c").unwrap();
    redeem(&authority, &third, &request()).unwrap();
    authority.revoke(&Actor::Home, &own.certificate.serial, reason).unwrap();
    is_void(&authority, &other);
    drop(authority);
    world.check();
}

#[test]
fn an_operator_whose_key_was_stolen_or_whose_ca_was_has_promised_nothing() {
    let world = World::new();
    let authority = world.open();
    let own = operator(&world, &authority);
    let invited = invite(&authority, &own, "a").unwrap();
    authority.renew(&own.certificate, &request()).unwrap();
    let theft = refusal(authority.renew(&own.certificate, &request()));
    assert!(matches!(theft, Refusal::Stolen { .. }));
    is_void(&authority, &invited);

    let own = operator(&world, &authority);
    let invited = invite(&authority, &own, "b").unwrap();
    let issued = world.events().into_iter().rev().find_map(|event| match event {
        Event::Issued { planned, .. } => Some(planned.issuer),
        _ => None,
    });
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    authority.rotate_issuer(&Actor::Home, None, rotation).unwrap();
    let reason = Reason::KeyCompromise;
    authority.revoke_issuer(&Actor::Home, &issued.unwrap(), reason, None).unwrap();
    is_void(&authority, &invited);
    drop(authority);
    world.check();
}

#[test]
fn an_invitation_falls_with_the_ca_of_the_certificate_that_was_shown_whatever_came_after() {
    let world = World::new();
    let authority = world.open();
    let own = operator(&world, &authority);
    let [early, late] = ["a", "b"].map(|name| invite(&authority, &own, name).unwrap());
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    authority.rotate_issuer(&Actor::Home, None, rotation).unwrap();
    let renewed = authority.renew(&own.certificate, &request()).unwrap();
    assert_ne!(renewed.chain[1], own.chain[1]);
    let (device, anew) = (request(), invite(&authority, &renewed, "c").unwrap());
    let redeemed = redeem(&authority, &early, &device).unwrap();

    let first = CaCertificate::from_der(&own.chain[1]).unwrap().serial;
    authority.revoke_issuer(&Actor::Home, &first, Reason::KeyCompromise, None).unwrap();
    is_void(&authority, &late);
    let refused = refusal(invite(&authority, &own, "d"));
    assert!(matches!(refused, Refusal::CallerRevoked { .. }));
    // What was redeemed by then stays, and so does what was promised under the CA that is at work.
    assert_eq!(redeem(&authority, &early, &device).unwrap().chain, redeemed.chain);
    redeem(&authority, &anew, &request()).unwrap();
    drop(authority);
    world.check();
}

/// What a thief signs with an issuing CA's key: another certificate with the number of one on record.
fn forged(world: &World, known: &Issued) -> Certificate {
    let (home, issuer) = (world.home(), CaCertificate::from_der(&known.chain[1]).unwrap());
    let Config { trust_domain, lifetimes, .. } = home.config().clone();
    let profile = CertificateProfile::new(trust_domain, lifetimes, &issuer);
    let order = world.order_with_new_key("operator");
    let plan = profile.plan(order, known.certificate.serial, world.clock.now()).unwrap();
    let key = keys::read(&world.path("issuing.key"), None).unwrap();
    Issuer::new(issuer, key).unwrap().sign(plan).unwrap().certificate
}

#[test]
fn nobody_invites_by_the_number_of_somebody_elses_certificate() {
    let world = World::new();
    let authority = world.open();
    let own = operator(&world, &authority);
    drop(authority);
    let forged = forged(&world, &own);
    assert_eq!(forged.serial, own.certificate.serial);
    let refused = refusal(world.open().invite(&Inviter::Holder(forged.fingerprint), offer("a")));
    assert_eq!(refused, Refusal::CallerUnknown(forged.fingerprint));
    invite(&world.open(), &own, "a").unwrap();
}

#[test]
fn whoever_is_not_known_invites_nobody() {
    let world = World::new();
    let elsewhere = World::new();
    let strange = elsewhere.open().issue(&Actor::Home, Order { ..elsewhere.order("operator") });
    let refused = refusal(invite(&world.open(), &strange.unwrap(), "a"));
    assert!(matches!(refused, Refusal::CallerUnknown(_)));
}
