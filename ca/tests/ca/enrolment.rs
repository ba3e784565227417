//! Invitations: made, redeemed once, refused for the right reason, forgotten in the end.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Barrier;
use std::thread;

use crate::faulty::REMAINS;
use crate::world::{DAY, World, is_active, principal};
use vouchsafe_ca::{
    Actor, Authority, Error, InvitationRecord, InvitationState, Invited, Inviter, Issued, Kind,
    Lifetime, Offer, OfferError, ProfileError, Reason, Refusal,
};
use vouchsafe_certs::{CertificateRequest, KeyType, Permission, PermissionSet, PrivateKey};

const MINUTE: u64 = 60;

pub(crate) fn permissions(texts: &[&str]) -> PermissionSet {
    texts.iter().map(|text| Permission::parse(text).unwrap()).collect()
}

pub(crate) fn request() -> CertificateRequest {
    let key = PrivateKey::generate(KeyType::P256).unwrap();
    proving(&key)
}

/// A request that proves possession of `key`.
pub(crate) fn proving(key: &PrivateKey) -> CertificateRequest {
    CertificateRequest::from_der(&CertificateRequest::prove(key).unwrap()).unwrap()
}

pub(crate) fn offer(name: &str) -> Offer {
    Offer {
        principal: principal(name),
        kind: Kind::Agent,
        permissions: permissions(&["tools:search"]),
        lifetime: None,
        uses: 1,
        expires_in: "10m".parse().unwrap(),
    }
}

pub(crate) fn redeem(
    authority: &Authority,
    invited: &Invited,
    request: &CertificateRequest,
) -> Result<Issued, Error> {
    authority.enroll(&invited.id, invited.secret.expose(), request)
}

fn invitations(authority: &Authority) -> Vec<InvitationRecord> {
    let mut all = Vec::new();
    let mut visit = |record| {
        all.push(record);
        ControlFlow::Continue(())
    };
    authority.look_up(|ledger| ledger.each_invitation(None, &mut visit)).unwrap();
    all
}

pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> Refusal {
    match answer.unwrap_err() {
        Error::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

#[test]
fn an_invitation_becomes_a_certificate_that_says_what_was_offered() {
    let world = World::new();
    let authority = world.open();
    let kind = Kind::Server {
        dns_names: vec!["gw.example".into()],
        ip_addresses: vec!["127.0.0.1".parse().unwrap()],
    };
    let lifetime = Some(Lifetime::hours(2));
    let invited = authority
        .invite(&Inviter::Home, Offer { kind: kind.clone(), lifetime, ..offer("team-a/gw") })
        .unwrap();
    assert_eq!(invited.expires_at.as_secs(), world.clock.now().as_secs() + 10 * MINUTE);
    let request = request();
    let issued = redeem(&authority, &invited, &request).unwrap();
    let certificate = &issued.certificate;
    assert_eq!(certificate.principal, principal("team-a/gw"));
    assert_eq!(certificate.permissions, permissions(&["tools:search"]));
    assert_eq!(certificate.public_key, request.public_key);
    assert_eq!(certificate.dns_names, ["gw.example"]);
    assert_eq!(certificate.not_after.as_secs(), world.clock.now().as_secs() + 7_200);
    let record = authority.look_up(|ledger| ledger.certificate(&certificate.serial)).unwrap();
    let record = record.unwrap();
    assert_eq!((record.lineage, record.generation), (certificate.serial, 0));
    let invitation = &invitations(&authority)[0];
    assert_eq!(invitation.state(world.clock.now()), InvitationState::Used);
    drop(authority);
    world.check();
}

#[test]
fn the_secret_is_nowhere_to_be_found() {
    let world = World::new();
    let authority = world.open();
    let invited = authority.invite(&Inviter::Home, offer("a")).unwrap();
    let secret = invited.secret.expose().to_owned();
    assert!(!format!("{invited:?} {:?}", invitations(&authority)).contains(&secret));
    redeem(&authority, &invited, &request()).unwrap();
    drop(authority);
    for file in ["journal.jsonl", crate::STORE_FILE] {
        let octets = fs::read(world.path(file)).unwrap();
        let found = octets.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{file} holds the secret");
    }
}

#[test]
fn who_does_not_know_the_secret_learns_nothing_and_changes_nothing() {
    let world = World::new();
    let authority = world.open();
    let invited = authority.invite(&Inviter::Home, offer("a")).unwrap();
    let other = authority.invite(&Inviter::Home, offer("b")).unwrap();
    let events = world.events().len();
    let request = request();
    let (id, secret) = (invited.id.as_str(), invited.secret.expose());
    let long = "A".repeat(1_000_000);
    for (id, secret) in [
        (id, ""),
        (id, "wrong"),
        (id, &secret[1..]),
        (id, other.secret.expose()),
        (id, &long),
        ("0000000000000000", secret),
        ("", secret),
        ("../certificate", secret),
        (&long, secret),
    ] {
        let refused = refusal(authority.enroll(id, secret, &request));
        assert_eq!(refused, Refusal::UnknownInvitation, "{:.40}", format!("{id} {secret}"));
    }
    assert_eq!(world.events().len(), events);
    redeem(&authority, &invited, &request).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn an_invitation_serves_as_many_keys_as_it_says_and_each_of_them_again() {
    let world = World::new();
    let authority = world.open();
    let invited = authority.invite(&Inviter::Home, Offer { uses: 2, ..offer("a") }).unwrap();
    let (one, two, three) = (request(), request(), request());
    let first = redeem(&authority, &invited, &one).unwrap();
    let second = redeem(&authority, &invited, &two).unwrap();
    assert_ne!(first.certificate.serial, second.certificate.serial);
    let refused = refusal(redeem(&authority, &invited, &three));
    assert_eq!(refused, Refusal::InvitationUsed { uses: 2 });
    // The answer was lost; the same key asks once more, also when the time is over.
    world.clock.advance(11 * MINUTE);
    let again = redeem(&authority, &invited, &one).unwrap();
    assert_eq!(again.chain, first.chain);
    // What was revoked since is not handed out again.
    authority.revoke(&Actor::Home, &first.certificate.serial, Reason::Superseded).unwrap();
    let refused = refusal(redeem(&authority, &invited, &one));
    assert!(matches!(refused, Refusal::CertificateRevoked { .. }));
    drop(authority);
    world.check();
}

#[test]
fn every_refusal_says_why_and_spends_nothing() {
    let world = World::new();
    let authority = world.open();
    let expired = authority.invite(&Inviter::Home, offer("a")).unwrap();
    world.clock.advance(10 * MINUTE);
    // Its last second still counts.
    let ended = world.clock.now();
    assert_eq!(expired.expires_at, ended);
    world.clock.advance(1);
    let refused = redeem(&authority, &expired, &request()).unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::InvitationExpired { at }) if at == ended));
    assert_eq!(refused.to_string(), "the invitation expired at 2027-01-15T08:10:00Z");

    let withdrawn = authority.invite(&Inviter::Home, offer("a")).unwrap();
    authority.withdraw(&Actor::Home, &withdrawn.id).unwrap();
    let refused = refusal(redeem(&authority, &withdrawn, &request()));
    assert!(matches!(refused, Refusal::InvitationWithdrawn { .. }));
    let events = world.events().len();
    authority.withdraw(&Actor::Home, &withdrawn.id).unwrap();
    assert_eq!(world.events().len(), events, "withdrawing twice is no news");
    let refused = refusal(authority.withdraw(&Actor::Home, "0123456789abcdef"));
    assert_eq!(refused, Refusal::NoSuchInvitation("0123456789abcdef".into()));

    // A key that is known to be compromised is refused, and the invitation is still good.
    let serial = world_key_is_compromised(&world, &authority);
    let invited = authority.invite(&Inviter::Home, offer("c")).unwrap();
    let refused = refusal(redeem(&authority, &invited, &world.request()));
    assert_eq!(refused, Refusal::KeyCompromised { serial });
    redeem(&authority, &invited, &request()).unwrap();
    drop(authority);
    world.check();
}

fn world_key_is_compromised(world: &World, authority: &Authority) -> vouchsafe_certs::Serial {
    let issued = authority.issue(&Actor::Home, world.order("b")).unwrap();
    let serial = issued.certificate.serial;
    authority.revoke(&Actor::Home, &serial, Reason::KeyCompromise).unwrap();
    serial
}

#[test]
fn a_revoked_device_loses_its_invitations_for_good() {
    let world = World::new();
    let authority = world.open();
    let invited = authority.invite(&Inviter::Home, offer("a")).unwrap();
    let bystander = authority.invite(&Inviter::Home, offer("ab")).unwrap();
    // It has no certificate yet; an invitation is enough to be revoked.
    let outcome = authority.revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified);
    assert!(outcome.unwrap().changed);
    let refused = refusal(redeem(&authority, &invited, &request()));
    assert!(matches!(refused, Refusal::DeviceRevoked { .. }));
    let refused = refusal(authority.invite(&Inviter::Home, offer("a")));
    assert!(matches!(refused, Refusal::DeviceRevoked { .. }));
    authority.reinstate(&Actor::Home, &principal("a")).unwrap();
    let refused = refusal(redeem(&authority, &invited, &request()));
    assert!(matches!(refused, Refusal::InvitationWithdrawn { .. }));
    let anew = authority.invite(&Inviter::Home, offer("a")).unwrap();
    redeem(&authority, &anew, &request()).unwrap();
    redeem(&authority, &bystander, &request()).unwrap();
    drop(authority);
    world.check();
}

#[test]
fn what_could_not_be_kept_is_not_offered() {
    let world = World::new();
    let authority = world.open();
    let invite = |offer| authority.invite(&Inviter::Home, offer).unwrap_err();
    let never = invite(Offer { uses: 0, ..offer("a") });
    assert!(matches!(never, Error::Offer(OfferError::Uses(0))));
    let crowd = invite(Offer { uses: 1_001, ..offer("a") });
    assert!(matches!(crowd, Error::Offer(OfferError::Uses(1_001))));
    let forever = invite(Offer { expires_in: Lifetime::days(31), ..offer("a") });
    assert!(matches!(forever, Error::Offer(OfferError::ExpiresIn(_))));
    let long = invite(Offer { lifetime: Some(Lifetime::days(91)), ..offer("a") });
    assert!(matches!(long, Error::Profile(ProfileError::TooLong { .. })));
    let nobody = Kind::Server { dns_names: Vec::new(), ip_addresses: Vec::new() };
    let unreachable = invite(Offer { kind: nobody, ..offer("a") });
    assert!(matches!(unreachable, Error::Profile(ProfileError::NoServerName)));
    let elsewhere = vouchsafe_certs::Principal::parse("spiffe://other.example/a").unwrap();
    let foreign = invite(Offer { principal: elsewhere, ..offer("a") });
    assert!(matches!(foreign, Error::Profile(ProfileError::ForeignTrustDomain { .. })));
    assert!(invitations(&authority).is_empty());
}

#[test]
fn invitations_that_are_over_are_forgotten_in_time() {
    let world = World::new();
    let authority = world.open();
    let many = 40;
    let over: Vec<Invited> =
        (0..many).map(|_| authority.invite(&Inviter::Home, offer("a")).unwrap()).collect();
    redeem(&authority, &over[0], &request()).unwrap();
    // For a week there is an answer that says why.
    world.clock.advance(7 * DAY);
    authority.invite(&Inviter::Home, offer("b")).unwrap();
    assert_eq!(invitations(&authority).len(), many + 1);
    let refused = refusal(redeem(&authority, &over[1], &request()));
    assert!(matches!(refused, Refusal::InvitationExpired { .. }));
    // Then each new one takes some of the old with it.
    world.clock.advance(11 * MINUTE);
    for _ in 0..3 {
        authority.invite(&Inviter::Home, offer("b")).unwrap();
    }
    assert_eq!(invitations(&authority).len(), 4);
    let refused = refusal(redeem(&authority, &over[1], &request()));
    assert_eq!(refused, Refusal::UnknownInvitation);
    let leftovers = authority.look_up(|ledger| {
        let mut keys = 0;
        for prefix in ["redeemed/", "expiring/", "invited/"] {
            ledger.store().scan(prefix, &mut |_, _| {
                keys += 1;
                ControlFlow::Continue(())
            })?;
        }
        Ok(keys)
    });
    assert_eq!(leftovers.unwrap(), 2 * 4);
    drop(authority);
    world.check();
}

#[test]
fn of_many_who_redeem_at_once_one_wins_and_the_same_key_always_gets_the_same() {
    let world = World::new();
    let authority = world.open();
    let single = authority.invite(&Inviter::Home, offer("a")).unwrap();
    let rivals: Vec<_> = (0..8).map(|_| request()).collect();
    let start = Barrier::new(rivals.len());
    let answers: Vec<_> = thread::scope(|scope| {
        let one = |request| {
            let (authority, single, start) = (&authority, &single, &start);
            scope.spawn(move || {
                start.wait();
                redeem(authority, single, request)
            })
        };
        let threads: Vec<_> = rivals.iter().map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    for answer in lost {
        assert_eq!(refusal(answer), Refusal::InvitationUsed { uses: 1 });
    }

    let shared = authority.invite(&Inviter::Home, offer("b")).unwrap();
    let same = request();
    let start = Barrier::new(8);
    let chains: Vec<_> = thread::scope(|scope| {
        let one = |_| {
            scope.spawn(|| {
                start.wait();
                redeem(&authority, &shared, &same).unwrap().chain
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
fn an_enrolment_whose_answer_is_lost_in_a_crash_is_answered_alike_after_it() {
    for remains in REMAINS {
        let world = World::new();
        let invited = world.open().invite(&Inviter::Home, offer("a")).unwrap();
        let request = request();
        let faulty = world.open_faulty(0, remains.store).unwrap();
        assert!(matches!(redeem(&faulty, &invited, &request), Err(Error::Store(_))));
        assert!(matches!(redeem(&faulty, &invited, &request), Err(Error::Stopped)));
        world.crash(faulty, remains);
        world.check();
        let authority = world.open();
        let recorded = authority.look_up(|ledger| ledger.certificates_of(&principal("a"))).unwrap();
        let one = redeem(&authority, &invited, &request).unwrap();
        let two = redeem(&authority, &invited, &request).unwrap();
        assert_eq!(one.chain, two.chain);
        assert_eq!(recorded.is_empty(), !remains.are_enough());
        assert!(recorded.iter().all(|record| record.certificate == one.chain[0].as_ref()));
        assert!(is_active(&authority, &one.certificate.serial));
        let certificates = authority.look_up(|ledger| ledger.certificates()).unwrap();
        assert_eq!(certificates.len(), 1);
        drop(authority);
        world.check();
    }
}
