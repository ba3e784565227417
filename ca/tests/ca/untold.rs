//! A revocation that nobody can be told of is not acknowledged, however it came about.

use std::fs;

use vouchsafe_ca::{Actor, Authority, Error, Issued, Reason, Refusal, Rotation, Tier};
use vouchsafe_certs::{CaCertificate, KeyType, Serial};

use crate::enrolment::request;
use crate::world::{DAY, World, is_active, principal};

/// A CA whose first issuing CA has issued certificates, was replaced, and has its key elsewhere.
struct Silenced {
    world: World,
    /// Two certificates of the first issuing CA, and one of another device.
    first: [Issued; 2],
    other: Issued,
    silent: CaCertificate,
}

fn serial(issued: &Issued) -> Serial {
    issued.certificate.serial
}

fn silenced() -> Silenced {
    let world = World::new();
    let issue = |name| world.open().issue(&Actor::Home, world.order_with_new_key(name)).unwrap();
    let (first, other) = ([issue("a"), issue("a")], issue("b"));
    let silent = CaCertificate::from_der(&other.chain[1]).unwrap();
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    world.open().rotate_issuer(&Actor::Home, None, rotation).unwrap();
    fs::rename(world.path("issuing.key"), world.folder().join("away")).unwrap();
    Silenced { world, first, other, silent }
}

impl Silenced {
    /// What was asked for is on record, and whoever asked for it learns that nobody heard of it.
    fn is_untold<T: std::fmt::Debug>(&self, answer: Result<T, Error>) {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Untold { issuer } if issuer == self.silent.serial));
        assert!(error.to_string().contains("on record but on no published list"), "{error}");
        assert!(error.hint().unwrap().contains("revoke --issuer"));
    }

    fn revoke(&self, authority: &Authority, issued: &Issued) -> Result<bool, Error> {
        let outcome = authority.revoke(&Actor::Home, &serial(issued), Reason::KeyCompromise);
        outcome.map(|outcome| outcome.changed)
    }

    fn puts_the_key_back(&self) {
        fs::rename(self.world.folder().join("away"), self.world.path("issuing.key")).unwrap();
    }
}

#[test]
fn a_revocation_that_no_list_can_tell_is_no_success_until_one_does() {
    let silenced = silenced();
    let world = &silenced.world;
    let before = world.published().number;
    let authority = world.open();
    assert_eq!(authority.silent_issuer().unwrap(), None);
    let own = authority.issue(&Actor::Home, world.order_with_new_key("c")).unwrap();
    silenced.is_untold(silenced.revoke(&authority, &silenced.first[0]));
    assert!(!is_active(&authority, &serial(&silenced.first[0])), "on record it is");
    assert_eq!(authority.silent_issuer().unwrap(), Some(silenced.silent.serial));
    assert_eq!(world.published().number, before);
    // Whoever asks once more is not told that it was done before.
    silenced.is_untold(silenced.revoke(&authority, &silenced.first[0]));
    // What the CA at work has issued is not concerned.
    assert!(silenced.revoke(&authority, &own).unwrap());
    drop(authority);

    silenced.puts_the_key_back();
    assert!(!silenced.revoke(&world.open(), &silenced.first[0]).unwrap(), "no news, and told");
    assert!(world.published().revokes(&serial(&silenced.first[0])));
    world.check();
}

#[test]
fn a_device_with_certificates_of_several_cas_is_revoked_when_all_of_them_say_so() {
    let silenced = silenced();
    let world = &silenced.world;
    let authority = world.open();
    let own = authority.issue(&Actor::Home, world.order_with_new_key("a")).unwrap();
    let revoke = |authority: &Authority| {
        authority.revoke_device(&Actor::Home, &principal("a"), Reason::KeyCompromise)
    };
    silenced.is_untold(revoke(&authority));
    // Those who can say so have.
    let by = CaCertificate::from_der(&own.chain[1]).unwrap();
    assert!(world.published_by(&by).revokes(&serial(&own)));
    // A device that is not concerned is reinstated and revoked as ever.
    let bystander = authority.issue(&Actor::Home, world.order_with_new_key("c")).unwrap();
    let device = &bystander.certificate.principal;
    authority.revoke_device(&Actor::Home, device, Reason::Unspecified).unwrap();
    authority.reinstate(&Actor::Home, device).unwrap();
    drop(authority);
    silenced.puts_the_key_back();
    assert!(!revoke(&world.open()).unwrap().changed);
    let list = world.published();
    assert!(silenced.first.iter().all(|issued| list.revokes(&serial(issued))));
    world.check();
}

#[test]
fn neither_an_epoch_nor_a_theft_is_said_to_be_over_while_nobody_heard_of_it() {
    let silenced = silenced();
    let world = &silenced.world;
    let authority = world.open();
    let [first, _] = &silenced.first;
    authority.renew(&first.certificate, &request()).unwrap();
    silenced.is_untold(authority.renew(&first.certificate, &request()));
    // The lineage is over, and that is what is heard from now on.
    let again = authority.renew(&first.certificate, &request());
    assert!(matches!(again, Err(Error::Refused(Refusal::CertificateRevoked { .. }))));

    world.clock.advance(1);
    let before = world.clock.now();
    let nobody = principal("nobody");
    let revoke = |authority: &Authority, scope| {
        authority.revoke_issued_before(&Actor::Home, scope, before, Reason::Superseded)
    };
    silenced.is_untold(revoke(&authority, Some(&silenced.other.certificate.principal)));
    assert_eq!(revoke(&authority, Some(&nobody)).unwrap().certificates, 0);
    silenced.is_untold(revoke(&authority, None));
    drop(authority);
    silenced.puts_the_key_back();
    assert_eq!(revoke(&world.open(), None).unwrap().certificates, 0);
    assert!(world.published().revokes(&serial(&silenced.other)));
    world.check();
}

#[test]
fn the_end_of_the_ca_or_of_the_certificate_tells_as_well() {
    let silenced = silenced();
    let world = &silenced.world;
    silenced.is_untold(silenced.revoke(&world.open(), &silenced.other));
    // The root's list names the CA, and with it whatever it has issued.
    let issuer = silenced.silent.serial;
    world.open().revoke_issuer(&Actor::Home, &issuer, Reason::KeyCompromise, None).unwrap();
    assert!(!silenced.revoke(&world.open(), &silenced.other).unwrap());
    assert!(silenced.revoke(&world.open(), &silenced.first[0]).unwrap());

    // Of what is over nobody needs to hear.
    let silenced = self::silenced();
    let world = &silenced.world;
    silenced.is_untold(silenced.revoke(&world.open(), &silenced.other));
    world.clock.advance(DAY + 1);
    assert!(!silenced.revoke(&world.open(), &silenced.other).unwrap());
}

#[test]
fn a_list_that_is_lost_with_its_key_tells_nothing() {
    let silenced = silenced();
    let world = &silenced.world;
    silenced.puts_the_key_back();
    assert!(silenced.revoke(&world.open(), &silenced.other).unwrap());
    fs::remove_file(world.path("issuing.key")).unwrap();
    assert!(!silenced.revoke(&world.open(), &silenced.other).unwrap(), "told before");
    fs::remove_file(world.path("crl.pem")).unwrap();
    silenced.is_untold(silenced.revoke(&world.open(), &silenced.other));
}

/// The key of a CA was removed when its last certificate had ended, and that was said by a clock that ran
/// ahead.
#[test]
fn what_a_ca_has_revoked_after_its_last_list_is_told_by_its_root_or_not_at_all() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.issue(name).certificate);
    let old = world.open().certificate(Tier::Issuing).unwrap();
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    world.open().rotate_issuer(&Actor::Home, None, rotation).unwrap();
    let revoke = |serial| world.open().revoke(&Actor::Home, serial, Reason::KeyCompromise);
    revoke(&a.serial).unwrap();
    world.clock.advance(2 * DAY);
    assert_eq!(world.open().retire(&Actor::Home).unwrap().ended, [old.serial]);
    world.clock.go_back(2 * DAY);
    let untold = revoke(&b.serial).unwrap_err();
    assert!(matches!(untold, Error::Untold { issuer } if issuer == old.serial), "{untold}");
    assert_eq!(world.open().silent_issuer().unwrap(), Some(old.serial));
    // What its last list names needs no other.
    assert!(!revoke(&a.serial).unwrap().changed);
    world.open().revoke_issuer(&Actor::Home, &old.serial, Reason::KeyCompromise, None).unwrap();
    assert!(!revoke(&b.serial).unwrap().changed, "no news, and told");
    assert_eq!(world.open().silent_issuer().unwrap(), None);
}
