//! The model: every step of the CA, of the gateway and of a peer, in every order.

use stateright::{Model, Property};

use crate::ca::{self, AGAIN, Ca, HONEST, LINEAGE, Ledger, Set, WHOLE_LINEAGE};
use crate::gateway::{self, Gateway};

/// What could be wrong, so that each property is seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A revocation is answered when the store has it.
    AnswersEarly,
    /// What the store has counts as recorded, and after a crash what the journal has.
    GoesByTheJournal,
    /// What a list covers is settled after its entries were read.
    CoversTooMuch,
    /// The numbers of lists begin anew with each start.
    CountsInMemory,
    /// A list is signed only where something was revoked.
    LetsListsAge,
    /// A list names the device, and with it whatever it is issued later.
    NamesDevices,
    /// A renewal is judged when it is asked for, and not when it is recorded.
    JudgesRenewalsOnce,
    /// A renewal asks whether the device is revoked, and not whether the certificate is.
    AsksForTheDevice,
    /// A gateway takes any list that is another.
    TakesOlderLists,
    /// A gateway begins without a list.
    KeepsNothing,
    /// A gateway says that a list is in force before it is kept.
    SaysBeforeItKeeps,
    /// A session hears of lists only after it was judged.
    RegistersAfterTheCheck,
    /// A session is judged when its task is polled, and at no other time.
    DoesNotLook,
}

/// How often what may go wrong does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) ca_crashes: u8,
    pub(crate) gateway_crashes: u8,
    /// How often lists go stale.
    pub(crate) ages: u8,
    /// How often the lineage is renewed.
    pub(crate) renewals: u8,
    /// Whether another device is revoked at the same time.
    pub(crate) other: bool,
}

/// The protocol, sound or with a flaw.
#[derive(Clone, Debug)]
pub(crate) struct Protocol {
    pub(crate) bounds: Bounds,
    pub(crate) flaw: Option<Flaw>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) ca: Ca,
    pub(crate) gateway: Gateway,
    /// Certificates that their devices have got.
    pub(crate) held: Set,
    /// Revocations of which somebody was told that they are done.
    pub(crate) acknowledged: Set,
    /// Lists up to this number are past their nextUpdate.
    pub(crate) stale: u8,
    /// Whether a request was forwarded that must not be.
    pub(crate) let_through: bool,
    pub(crate) ca_crashes: u8,
    pub(crate) gateway_crashes: u8,
    ages: u8,
    pub(crate) renewals: u8,
    /// Whether the other device is still to be revoked.
    pub(crate) other: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Ca(ca::Step),
    Gateway(gateway::Step),
    /// Time passes: every list that there is goes stale.
    Age,
}

impl Protocol {
    fn after(&self, state: State, action: Action) -> Option<State> {
        match action {
            Action::Ca(step) => step.after(state, self.flaw),
            Action::Gateway(step) => step.after(state, self.flaw),
            Action::Age => {
                let ages = state.ages.checked_sub(1)?;
                let stale = state.ca.file.number;
                (stale > state.stale).then_some(State { ages, stale, ..state })
            }
        }
    }

    /// Where nothing more goes wrong: whether every peer that is not revoked comes in, and every
    /// revocation that was acknowledged has arrived.
    fn recovers(&self, state: &State) -> bool {
        let mut state = *state;
        let step = |state: &mut State, action| {
            let after = self.after(*state, action);
            after.map(|after| *state = after).is_some()
        };
        step(&mut state, Action::Ca(ca::Step::Open));
        while ca::UPKEEP.into_iter().any(|upkeep| step(&mut state, Action::Ca(upkeep))) {}
        step(&mut state, Action::Gateway(gateway::Step::Start));
        step(&mut state, Action::Gateway(gateway::Step::Follow));
        let Some(process) = state.gateway.process else { return false };
        let named = process.in_force.named;
        state.gateway.process = Some(process.without_session());
        let mut peers = [LINEAGE[0], LINEAGE[1], LINEAGE[2], AGAIN, HONEST].into_iter();
        let comes_in = |serial| {
            let (mut state, mut visit) = (state, gateway::visit(serial).into_iter());
            visit.all(|visit| step(&mut state, Action::Gateway(visit)))
        };
        let is_revoked = |serial| WHOLE_LINEAGE & serial & state.ca.store.revoked != 0;
        state.acknowledged & !named == 0
            && peers
                .all(|serial| state.held & serial == 0 || is_revoked(serial) || comes_in(serial))
    }
}

pub(crate) const NOT_LET_THROUGH: &str = "what a revoked peer sends later is not let through";
pub(crate) const NOT_FORGOTTEN: &str = "no list lacks a revocation that was acknowledged";
pub(crate) const NOT_OUTLIVED: &str = "no renewal outlives the revocation of its lineage";
pub(crate) const NOT_SHUT_OUT: &str = "whoever is not revoked can always come in";

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let Bounds { ca_crashes, gateway_crashes, ages, renewals, other } = self.bounds;
        let ca = Ca::founded();
        vec![State {
            gateway: Gateway::following(ca.file),
            ca,
            held: Ledger::founded().issued,
            acknowledged: 0,
            stale: 0,
            let_through: false,
            ca_crashes,
            gateway_crashes,
            ages,
            renewals,
            other,
        }]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        actions.extend(ca::UPKEEP.into_iter().chain(ca::ASKED).map(Action::Ca));
        actions.extend(gateway::STEPS.map(Action::Gateway));
        actions.push(Action::Age);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.after(*state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOT_LET_THROUGH, |_, state: &State| !state.let_through),
            Property::always(NOT_FORGOTTEN, |_, state: &State| {
                state.acknowledged & !state.ca.file.named == 0
            }),
            Property::always(NOT_OUTLIVED, |_, State { ca, acknowledged, .. }: &State| {
                let lineage = ca.store.issued & WHOLE_LINEAGE;
                let is_over = ca.store.ended || acknowledged & WHOLE_LINEAGE != 0;
                !is_over || lineage & !ca.store.revoked == 0
            }),
            Property::always(NOT_SHUT_OUT, |protocol: &Self, state: &State| {
                protocol.recovers(state)
            }),
            Property::sometimes(
                "everybody is revoked, and the device is back",
                |_, state: &State| {
                    let is_told = state.acknowledged & WHOLE_LINEAGE != 0 && !state.other;
                    is_told && state.renewals == 0 && state.held & AGAIN != 0
                },
            ),
        ]
    }
}
