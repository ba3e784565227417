//! Nothing acknowledged is lost, whatever fails: each write of each act, in both ways a write can fail.

use std::time::Duration;

use crate::enrolment::{offer, redeem, request};
use crate::world::{DAY, Fault, REMAINS, Remains, World, is_active, principal, reason};
use proptest::prelude::*;
use rustls_pki_types::UnixTime;
use vouchsafe_ca::{Actor, Authority, Error, Inviter, Reason, Refusal};
use vouchsafe_certs::{Certificate, Serial};

/// Something that somebody asks of the CA.
#[derive(Clone, Copy, Debug)]
enum Act {
    Issue(u8),
    RevokeLast(u8),
    RevokeDevice(u8),
    Reinstate(u8),
    /// Invite, and redeem at once.
    Enroll(u8),
    /// Renew the latest certificate that was handed out.
    RenewLast,
    /// The same, and once more by somebody with a copy.
    StealLast,
    RevokeEverything(u8),
    Publish,
    Wait(u8),
}

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    issued: Vec<Serial>,
    revoked: Vec<Serial>,
    /// The highest number of a list that somebody was told.
    list: u64,
}

impl Acknowledged {
    /// The latest certificate that was handed out.
    fn last(&self, authority: &Authority) -> Result<Option<Certificate>, Error> {
        let Some(serial) = self.issued.last() else { return Ok(None) };
        let record = authority.look_up(|ledger| ledger.certificate(serial))?;
        Ok(record.map(|record| Certificate::from_der(&record.certificate).unwrap()))
    }

    /// Renews it, for another key.
    fn renew(&mut self, authority: &Authority) -> Result<Option<Serial>, Error> {
        let Some(last) = self.last(authority)? else { return Ok(None) };
        let renewed = authority.renew(&last, &request())?.certificate.serial;
        self.issued.push(renewed);
        Ok(Some(renewed))
    }

    fn check(&self, world: &World) {
        let authority = world.open();
        for serial in &self.issued {
            let record = authority.look_up(|ledger| ledger.certificate(serial)).unwrap();
            assert!(record.is_some(), "{serial} was handed out and is not on record");
        }
        drop(authority);
        let list = world.published();
        for serial in &self.revoked {
            let authority = world.open();
            assert!(!is_active(&authority, serial), "{serial} was revoked and is active");
            let record = authority.look_up(|ledger| ledger.certificate(serial)).unwrap().unwrap();
            assert!(list.revokes(serial) || record.planned.not_after < world.clock.now());
        }
        assert!(list.number >= self.list, "an older list is published than somebody was told");
    }
}

fn device(nth: u8) -> vouchsafe_certs::Principal {
    principal(&format!("device-{nth}"))
}

/// Does it, and notes what was acknowledged.
fn perform(
    act: Act,
    authority: &Authority,
    world: &World,
    noted: &mut Acknowledged,
) -> Result<(), Error> {
    let outcome = match act {
        Act::Issue(nth) => {
            let issued = authority.issue(&Actor::Home, world.order(&format!("device-{nth}")))?;
            noted.issued.push(issued.certificate.serial);
            return Ok(());
        }
        Act::Enroll(nth) => {
            let invited = authority.invite(&Inviter::Home, offer(&format!("device-{nth}")))?;
            let issued = redeem(authority, &invited, &request())?;
            noted.issued.push(issued.certificate.serial);
            return Ok(());
        }
        Act::RenewLast => {
            noted.renew(authority)?;
            return Ok(());
        }
        Act::StealLast => {
            let Some(copied) = noted.last(authority)? else { return Ok(()) };
            let Some(renewed) = noted.renew(authority)? else { return Ok(()) };
            let caught = authority.renew(&copied, &request()).unwrap_err();
            if matches!(caught, Error::Refused(Refusal::Stolen { .. })) {
                noted.revoked.extend([copied.serial, renewed]);
                return Ok(());
            }
            return Err(caught);
        }
        Act::RevokeEverything(nth) => {
            let soon = Duration::from_secs(world.clock.now().as_secs() + 1);
            let soon = UnixTime::since_unix_epoch(soon);
            let sweep = authority.revoke_issued_before(&Actor::Home, None, soon, tame(nth))?;
            noted.revoked.clone_from(&noted.issued);
            noted.list = sweep.list.number;
            return Ok(());
        }
        Act::RevokeLast(nth) => {
            let Some(serial) = noted.issued.last().copied() else { return Ok(()) };
            let outcome = authority.revoke(&Actor::Home, &serial, tame(nth))?;
            noted.revoked.push(serial);
            outcome
        }
        Act::RevokeDevice(nth) => authority.revoke_device(&Actor::Home, &device(nth), tame(nth))?,
        Act::Reinstate(nth) => authority.reinstate(&Actor::Home, &device(nth))?,
        Act::Publish => {
            noted.list = authority.publish(&Actor::Home)?.number;
            return Ok(());
        }
        Act::Wait(hours) => {
            world.clock.advance(u64::from(hours) * 3_600);
            return Ok(());
        }
    };
    noted.revoked.extend(outcome.certificates.iter().map(|record| record.planned.serial));
    noted.list = outcome.list.number;
    Ok(())
}

/// All devices here share one key, which must stay usable.
fn tame(nth: u8) -> Reason {
    match reason(usize::from(nth)) {
        Reason::KeyCompromise => Reason::Superseded,
        reason => reason,
    }
}

fn is_fault(error: &Error) -> bool {
    matches!(error, Error::Store(_) | Error::Stopped)
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..3_u8).prop_map(Act::Issue),
        2 => any::<u8>().prop_map(Act::RevokeLast),
        2 => (0..3_u8).prop_map(Act::RevokeDevice),
        1 => (0..3_u8).prop_map(Act::Reinstate),
        3 => (0..3_u8).prop_map(Act::Enroll),
        3 => Just(Act::RenewLast),
        1 => Just(Act::StealLast),
        1 => any::<u8>().prop_map(Act::RevokeEverything),
        1 => Just(Act::Publish),
        1 => (0..30_u8).prop_map(Act::Wait),
    ];
    prop::collection::vec(act, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_history_survives_a_failing_write(
        before in acts(),
        after in acts(),
        nth in 0..10_usize,
        lost in any::<bool>(),
        kept in prop::option::of(0..3_usize),
    ) {
        let world = World::new();
        let mut noted = Acknowledged::default();
        let store = if lost { Fault::Lost } else { Fault::ReplyLost };
        if let Ok(authority) = world.open_faulty(nth, store) {
            let mut remains = Remains { store, journal: None };
            for act in before {
                let done = perform(act, &authority, &world, &mut noted);
                if done.is_err_and(|error| is_fault(&error)) {
                    // Fail-stop: nothing more is recorded, whoever asks.
                    let refused = authority.issue(&Actor::Home, world.order("other")).unwrap_err();
                    prop_assert!(matches!(refused, Error::Stopped), "{refused}");
                    remains.journal = kept;
                    break;
                }
            }
            world.crash(authority, remains);
        }
        noted.check(&world);
        world.check();
        let authority = world.open();
        for act in after {
            let done = perform(act, &authority, &world, &mut noted);
            prop_assert!(done.as_ref().err().is_none_or(|error| !is_fault(error)), "{done:?}");
        }
        drop(authority);
        noted.check(&world);
        world.check();
    }
}

#[test]
fn an_issue_without_an_answer_is_on_record_or_was_never_anywhere() {
    for remains in REMAINS {
        let world = World::new();
        let authority = world.open_faulty(0, remains.store).unwrap();
        let unanswered = authority.issue(&Actor::Home, world.order("a"));
        assert!(matches!(unanswered, Err(Error::Store(_))));
        world.crash(authority, remains);
        let authority = world.open();
        let records = authority.look_up(|ledger| ledger.certificates_of(&principal("a"))).unwrap();
        let known = usize::from(remains.are_enough());
        assert_eq!(records.len(), known);
        for record in records {
            // It can be handed out again, or taken back.
            Certificate::from_der(&record.certificate).unwrap();
            let serial = record.planned.serial;
            let outcome = authority.revoke(&Actor::Home, &serial, Reason::Unspecified).unwrap();
            assert!(outcome.changed);
        }
        drop(authority);
        assert_eq!(world.published().serials().len(), known);
        world.check();
    }
}

/// RFC 5280 §5.2.3: two lists of one number would have to be the same list.
#[test]
fn a_number_never_comes_with_two_contents() {
    for remains in REMAINS {
        for writes_before in [0, 1] {
            let world = World::new();
            let serial = world.issue("a").certificate.serial;
            // The revocation's record is interrupted, or the list's; the answer never comes.
            let authority = world.open_faulty(writes_before, remains.store).unwrap();
            assert!(authority.revoke(&Actor::Home, &serial, Reason::Unspecified).is_err());
            world.crash(authority, remains);
            assert!(!world.published().revokes(&serial), "nothing was published");
            world.clock.advance(1);
            // The next command that writes says what must be said, whatever it was called for.
            world.issue("b");
            let revoked = writes_before == 1 || remains.are_enough();
            assert_eq!(world.published().revokes(&serial), revoked);
            let skipped = u64::from(writes_before == 1 && remains.are_enough());
            assert_eq!(world.published().number, 1 + u64::from(revoked) + skipped);
            world.check();
        }
    }
}

#[test]
fn an_interrupted_revocation_is_completed_by_asking_again() {
    let world = World::new();
    world.issue("a");
    world.clock.advance(DAY / 2);
    let authority = world.open_faulty(1, Fault::Lost).unwrap();
    assert!(authority.revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified).is_err());
    drop(authority);
    let again =
        world.open().revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified).unwrap();
    assert!(!again.changed);
    assert_eq!(world.published().serials().len(), 1);
    world.check();
}
