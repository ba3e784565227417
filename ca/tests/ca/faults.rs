//! Nothing acknowledged is lost, whatever fails: each write of each act, in each way a write can fail.

use proptest::prelude::*;
use vouchsafe_ca::{Actor, Error, Reason};
use vouchsafe_certs::Certificate;

use crate::faulty::{Fault, Left, REMAINS, Remains};
use crate::story::{Act, STORY, perform};
use crate::world::{DAY, World, principal};

pub(crate) fn is_fault(error: &Error) -> bool {
    matches!(error, Error::Store(_) | Error::Journal(_) | Error::Stopped)
}

/// The world before each act of the story, and after the last.
pub(crate) fn chapters(beginning: World) -> Vec<World> {
    let mut chapters = vec![beginning];
    for act in STORY {
        let world = chapters.last().unwrap().twin();
        perform(act, &world.open(), &world).unwrap();
        world.check();
        chapters.push(world);
    }
    chapters
}

/// One write of an act fails; says whether the act has so many.
fn fails(before: &World, act: Act, nth: usize, remains: Remains) -> bool {
    let world = before.twin();
    let authority = world.open_faulty(nth, remains.store).unwrap();
    let done = perform(act, &authority, &world);
    let Err(error) = done else { return false };
    assert!(is_fault(&error), "{act:?}: {error}");
    // Fail-stop: nothing more is recorded, whoever asks.
    let refused = authority.issue(&Actor::Home, world.order("other")).unwrap_err();
    assert!(matches!(refused, Error::Stopped), "{refused}");
    world.crash(authority, remains);
    world.check();
    world.check_restored();
    // It goes on, with whatever has or has not happened.
    let authority = world.open();
    for act in [act, Act::Issue(1), Act::RevokeLast(0)] {
        let done = perform(act, &authority, &world);
        assert!(done.as_ref().err().is_none_or(|error| !is_fault(error)), "{act:?}: {done:?}");
    }
    drop(authority);
    world.check();
    true
}

#[test]
fn every_write_of_a_story_may_fail_in_every_way() {
    let chapters = chapters(World::new());
    let mut tried = 0;
    for (before, act) in chapters.iter().zip(STORY) {
        for remains in REMAINS {
            let writes = (0..).take_while(|nth| fails(before, act, *nth, remains)).count();
            let has_none = matches!(act, Act::Wait(_));
            assert_eq!(writes == 0, has_none, "{act:?}");
            tried += writes;
        }
    }
    eprintln!("{tried} writes failed");
    assert!(tried > STORY.len() * REMAINS.len(), "{tried}");
}

/// A disk that lies: what it said was written is gone from one of the two files. The other has it.
#[test]
fn what_one_of_the_two_loses_after_all_the_other_gives_back() {
    let chapters = chapters(World::new());
    let last = chapters.last().unwrap();
    for earlier in &chapters {
        for lost in ["store", "journal.jsonl"] {
            let world = last.twin();
            world.take_from(earlier, lost);
            world.check();
            world.check_restored();
        }
    }
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
        let store = if lost { Fault::Lost } else { Fault::ReplyLost };
        if let Ok(authority) = world.open_faulty(nth, store) {
            let mut remains = Remains { store, journal: Left::All };
            for act in before {
                let done = perform(act, &authority, &world);
                if done.is_err_and(|error| is_fault(&error)) {
                    // Fail-stop: nothing more is recorded, whoever asks.
                    let refused = authority.issue(&Actor::Home, world.order("other")).unwrap_err();
                    prop_assert!(matches!(refused, Error::Stopped), "{refused}");
                    remains.journal = kept.map_or(Left::All, Left::Octets);
                    break;
                }
            }
            world.crash(authority, remains);
        }
        world.check();
        let authority = world.open();
        for act in after {
            let done = perform(act, &authority, &world);
            prop_assert!(done.as_ref().err().is_none_or(|error| !is_fault(error)), "{done:?}");
        }
        drop(authority);
        world.check();
        world.check_restored();
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
