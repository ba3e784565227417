//! A model of revoke ∥ connect ∥ renew ∥ crash, checked exhaustively. See the README beside this file.
#![expect(clippy::print_stdout, reason = "how many states there are is what one wants to know")]

mod ca;
mod gateway;
mod protocol;

use std::time::Instant;

use protocol::{
    Bounds, Flaw, NOT_FORGOTTEN, NOT_LET_THROUGH, NOT_OUTLIVED, NOT_SHUT_OUT, Protocol,
};
use stateright::{Checker, HasDiscoveries, Model};

/// What goes wrong in each of the small runs: everything once, but not everything together.
const SMALL: [Bounds; 4] = [
    Bounds { ca_crashes: 1, gateway_crashes: 0, ages: 0, renewals: 1, other: false },
    Bounds { ca_crashes: 0, gateway_crashes: 1, ages: 0, renewals: 0, other: false },
    Bounds { ca_crashes: 0, gateway_crashes: 0, ages: 1, renewals: 0, other: false },
    Bounds { ca_crashes: 0, gateway_crashes: 0, ages: 0, renewals: 0, other: true },
];

fn check(bounds: Bounds) {
    let begun = Instant::now();
    let model = Protocol { bounds, flaw: None };
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!(
        "{bounds:?}: {} states, {} ways to them, {} steps deep, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    checker.assert_properties();
}

#[test]
fn in_no_order_of_steps_and_crashes_is_a_property_broken() {
    SMALL.into_iter().for_each(check);
}

/// As much as is asked for: how often the CA and the gateway crash, lists go stale and the lineage is
/// renewed, and whether another device is revoked at the same time.
#[test]
#[ignore = "takes minutes, and gigabytes: VOUCHSAFE_TEST_MODEL=1,1,0,1,0"]
fn nor_in_a_longer_one() {
    let asked = std::env::var("VOUCHSAFE_TEST_MODEL").unwrap_or_else(|_| "1,1,0,1,0".into());
    let numbers: Vec<u8> = asked.split(',').map(|number| number.parse().unwrap()).collect();
    let [ca_crashes, gateway_crashes, ages, renewals, other] = numbers[..] else {
        panic!("{asked} is not five numbers")
    };
    check(Bounds { ca_crashes, gateway_crashes, ages, renewals, other: other > 0 });
}

/// A property that cannot fail says nothing.
#[test]
fn each_flaw_breaks_the_property_that_is_about_it() {
    let [ca_crashes, gateway_crashes, ages, other] = SMALL;
    for (flaw, bounds, property) in [
        (Flaw::AnswersEarly, ca_crashes, NOT_FORGOTTEN),
        (Flaw::GoesByTheJournal, ca_crashes, NOT_FORGOTTEN),
        (Flaw::CoversTooMuch, other, NOT_FORGOTTEN),
        (Flaw::CountsInMemory, Bounds { ca_crashes: 1, ..other }, NOT_SHUT_OUT),
        (Flaw::LetsListsAge, ages, NOT_SHUT_OUT),
        (Flaw::NamesDevices, other, NOT_SHUT_OUT),
        (Flaw::JudgesRenewalsOnce, ca_crashes, NOT_OUTLIVED),
        (Flaw::AsksForTheDevice, ca_crashes, NOT_OUTLIVED),
        (Flaw::TakesOlderLists, other, NOT_LET_THROUGH),
        (Flaw::KeepsNothing, gateway_crashes, NOT_LET_THROUGH),
        (Flaw::SaysBeforeItKeeps, gateway_crashes, NOT_LET_THROUGH),
        (Flaw::RegistersAfterTheCheck, ages, NOT_LET_THROUGH),
        (Flaw::DoesNotLook, other, NOT_LET_THROUGH),
    ] {
        let begun = Instant::now();
        let wanted = HasDiscoveries::AnyOf([property].into());
        let model = Protocol { bounds, flaw: Some(flaw) }.checker();
        let checker = model.threads(2).finish_when(wanted).spawn_bfs().join();
        let path = checker.discovery(property);
        assert!(path.is_some(), "{flaw:?} goes unnoticed");
        println!(
            "{flaw:?}: not {property:?}, after {} steps ({} states, {:?})",
            path.unwrap().into_actions().len(),
            checker.unique_state_count(),
            begun.elapsed()
        );
    }
}
