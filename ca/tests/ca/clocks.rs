//! A clock that is wrong by a day, and is put right: nothing is forgotten, and no list goes back.

use vouchsafe_ca::{Actor, Error, Inviter, Reason, Refusal};

use crate::enrolment::{offer, redeem, request};
use crate::faults::{chapters, is_fault};
use crate::story::{Act, STORY, perform};
use crate::world::{DAY, World, is_active};

/// Which way a clock is wrong.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ahead,
    Behind,
}

const STEPS: [Step; 2] = [Step::Ahead, Step::Behind];

impl Step {
    /// Puts the clock wrong.
    fn take(self, world: &World) {
        match self {
            Self::Ahead => world.clock.advance(DAY),
            Self::Behind => world.clock.go_back(DAY),
        }
    }

    /// Puts it right.
    fn take_back(self, world: &World) {
        match self {
            Self::Ahead => Self::Behind.take(world),
            Self::Behind => Self::Ahead.take(world),
        }
    }
}

/// A CA that has been there for longer than a clock is wrong here.
fn old_world() -> World {
    let world = World::new();
    world.clock.advance(3 * DAY);
    world
}

/// Does it, or is refused; nothing fails.
fn ask(world: &World, act: Act) {
    let done = perform(act, &world.open(), world);
    assert!(done.as_ref().err().is_none_or(|error| !is_fault(error)), "{act:?}: {done:?}");
}

#[test]
fn a_clock_may_be_wrong_during_any_act_of_a_story() {
    for (before, act) in chapters(old_world()).iter().zip(STORY) {
        for step in STEPS {
            let world = before.twin();
            step.take(&world);
            ask(&world, act);
            world.check();
            step.take_back(&world);
            ask(&world, Act::Issue(1));
            world.check();
            world.check_restored();
        }
    }
}

/// RFC 5280 §3.3: an entry leaves the list once the certificate has ended; but the clock that said so
/// was wrong.
#[test]
fn an_expiry_that_a_wrong_clock_decided_takes_back_no_revocation() {
    let world = old_world();
    let serial = world.issue("a").certificate.serial;
    world.open().revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
    world.clock.advance(3_600);
    Step::Ahead.take(&world);
    for _ in 0..2 {
        world.open().publish(&Actor::Home).unwrap();
        world.clock.advance(1);
    }
    assert!(!world.published().revokes(&serial), "two lists beyond its end, as far as the CA knew");
    let ahead = world.published().number;
    Step::Ahead.take_back(&world);
    // Whoever opens the CA for anything sees to it that this is told again.
    world.issue("b");
    assert!(world.published().revokes(&serial) && world.published().number > ahead);
    assert!(!is_active(&world.open(), &serial));
    world.check();
    // That costs one list, not one every time; and none where a clock is off by what clocks are.
    for (back, lists) in [(DAY, 1), (2, 0)] {
        let number = world.published().number;
        world.clock.go_back(back);
        for name in ["c", "d", "e"] {
            world.issue(name);
        }
        assert_eq!(world.published().number, number + lists);
    }
    world.check();
}

#[test]
fn an_invitation_ends_when_the_clock_says_so_and_is_redeemed_once() {
    for step in STEPS {
        let world = old_world();
        let invited = world.open().invite(&Inviter::Home, offer("a")).unwrap();
        step.take(&world);
        let key = request();
        let at_the_wrong_time = redeem(&world.open(), &invited, &key);
        if matches!(step, Step::Ahead) {
            let expired = at_the_wrong_time.as_ref().unwrap_err();
            assert!(matches!(expired, Error::Refused(_)), "{expired}");
        }
        step.take_back(&world);
        let again = redeem(&world.open(), &invited, &key).unwrap();
        if let Ok(first) = at_the_wrong_time {
            assert_eq!(first.certificate.serial, again.certificate.serial);
        }
        let other = redeem(&world.open(), &invited, &request()).unwrap_err();
        assert!(matches!(other, Error::Refused(_)), "{other}");
        world.check();
        world.check_restored();
    }
}

/// A lineage is a lineage, whatever the clock said when it was renewed.
#[test]
fn a_copied_key_is_caught_whatever_the_clock_says() {
    for step in STEPS {
        let world = old_world();
        let first = world.issue("a").certificate;
        world.clock.advance(DAY / 2);
        let second = world.open().renew(&first, &request()).unwrap().certificate;
        step.take(&world);
        let caught = world.open().renew(&first, &request()).unwrap_err();
        assert!(matches!(caught, Error::Refused(_)), "{caught}");
        step.take_back(&world);
        let caught = world.open().renew(&first, &request()).unwrap_err();
        assert!(matches!(caught, Error::Refused(_)), "{caught}");
        assert!(!is_active(&world.open(), &second.serial), "{step:?}");
        let refused = world.open().renew(&second, &request()).unwrap_err();
        assert!(!matches!(refused, Error::Refused(Refusal::TooYoung { .. })), "{refused}");
        world.check();
    }
}
