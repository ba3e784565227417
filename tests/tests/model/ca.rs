//! The CA of the model: what is on disk, and what is under way.

use crate::protocol::{Flaw, State};

/// Certificates, one bit each.
pub(crate) type Set = u8;

/// A device's first certificate and its renewals.
pub(crate) const LINEAGE: [Set; 3] = [1, 2, 4];
pub(crate) const WHOLE_LINEAGE: Set = 7;
/// What the same device gets after it was reinstated: a lineage of its own.
pub(crate) const AGAIN: Set = 8;
/// Of another device, which is revoked at the same time.
pub(crate) const OTHER: Set = 16;
/// Of one that nobody ever revokes.
pub(crate) const HONEST: Set = 32;

/// A revocation list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct List {
    pub(crate) number: u8,
    pub(crate) named: Set,
    /// What it is said to cover, in the record of it.
    covers: Set,
}

/// What is recorded in one act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Renewed(Set),
    DeviceRevoked,
    OtherRevoked,
    Reinstated,
    ListSigned(List),
}

/// What follows from the events so far. Store and journal hold one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    events: u8,
    pub(crate) issued: Set,
    pub(crate) revoked: Set,
    /// Whether the device was revoked, ever.
    pub(crate) ended: bool,
    reinstated: bool,
    list: List,
}

impl Ledger {
    pub(crate) fn founded() -> Self {
        let list = List { number: 1, ..List::default() };
        let issued = LINEAGE[0] | OTHER | HONEST;
        Self { events: 0, issued, revoked: 0, ended: false, reinstated: false, list }
    }

    fn with(mut self, event: Event, flaw: Option<Flaw>) -> Self {
        self.events += 1;
        match event {
            Event::Renewed(next) => self.issued |= next,
            Event::DeviceRevoked => {
                self.ended = true;
                self.revoked |= self.issued & WHOLE_LINEAGE;
                if flaw == Some(Flaw::NamesDevices) {
                    self.revoked |= AGAIN;
                }
            }
            Event::OtherRevoked => self.revoked |= OTHER,
            Event::Reinstated => {
                self.reinstated = true;
                self.issued |= AGAIN;
            }
            Event::ListSigned(list) => self.list = list,
        }
        self
    }

    /// What the newest of the lineage would be renewed to.
    fn renewal(&self, flaw: Option<Flaw>) -> Option<Set> {
        let newest = LINEAGE.into_iter().rfind(|serial| self.issued & serial != 0)?;
        let is_revoked = match flaw {
            Some(Flaw::AsksForTheDevice) => self.ended && !self.reinstated,
            _ => self.revoked & newest != 0,
        };
        Some(newest << 1).filter(|next| next & WHOLE_LINEAGE != 0 && !is_revoked)
    }
}

/// How far a revocation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Revoking {
    #[default]
    No,
    Asked,
    Recorded,
}

/// How far the next list has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Press {
    #[default]
    Idle,
    /// It is settled what it covers.
    Covering(Set),
    /// It is signed, and waits to be recorded.
    Signed(List),
    Recorded(List),
}

/// One event on its way to both files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Writing {
    event: Event,
    store: bool,
    journal: bool,
}

/// What a crash forgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    writing: Option<Writing>,
    device: Revoking,
    other: Revoking,
    /// A renewal that is signed in memory.
    renewal: Option<Set>,
    reinstating: bool,
    press: Press,
    /// The number of the list that it has signed last, for the flaw that counts in memory.
    counted: u8,
}

/// Everything of the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ca {
    pub(crate) store: Ledger,
    journal: Ledger,
    /// `crl.pem`, and the one before it.
    pub(crate) file: List,
    pub(crate) before: List,
    /// `None` after a crash.
    pub(crate) process: Option<Process>,
}

impl Ca {
    pub(crate) fn founded() -> Self {
        let ledger = Ledger::founded();
        let process = Some(Process::default());
        Self { store: ledger, journal: ledger, file: ledger.list, before: ledger.list, process }
    }
}

/// What the CA does, or is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    AskDevice,
    AskOther,
    AskRenewal,
    AskReinstatement,
    CommitDevice,
    CommitOther,
    CommitRenewal,
    CommitReinstatement,
    CommitList,
    WriteStore,
    WriteJournal,
    Written,
    Cover,
    Sign,
    Publish,
    AnswerDevice,
    AnswerOther,
    Crash,
    Open,
}

/// What goes on without anybody asking, until nothing is left to do.
pub(crate) const UPKEEP: [Step; 13] = [
    Step::WriteStore,
    Step::WriteJournal,
    Step::Written,
    Step::CommitDevice,
    Step::CommitOther,
    Step::CommitRenewal,
    Step::CommitReinstatement,
    Step::CommitList,
    Step::Cover,
    Step::Sign,
    Step::Publish,
    Step::AnswerDevice,
    Step::AnswerOther,
];

pub(crate) const ASKED: [Step; 6] = [
    Step::AskDevice,
    Step::AskOther,
    Step::AskRenewal,
    Step::AskReinstatement,
    Step::Crash,
    Step::Open,
];

impl Step {
    /// The state after it, where it can happen.
    pub(crate) fn after(self, mut state: State, flaw: Option<Flaw>) -> Option<State> {
        let ca = &mut state.ca;
        if let Self::Open = self {
            if ca.process.is_some() {
                return None;
            }
            let (store, journal) = (ca.store, ca.journal);
            let is_store = store.events >= journal.events;
            let is_store = is_store && flaw != Some(Flaw::GoesByTheJournal);
            let level = if is_store { store } else { journal };
            (ca.store, ca.journal) = (level, level);
            ca.process = Some(Process::default());
            return Some(state);
        }
        let mut process = ca.process?;
        let is_done = match self {
            Self::AskDevice | Self::AskOther | Self::AskRenewal | Self::AskReinstatement => {
                self.is_asked(&mut process, &mut state, flaw)
            }
            Self::Crash => {
                state.ca.process = None;
                state.ca_crashes = state.ca_crashes.checked_sub(1)?;
                return Some(state);
            }
            Self::AnswerDevice | Self::AnswerOther => self.answers(&mut process, &mut state, flaw),
            Self::Cover | Self::Sign | Self::Publish => {
                self.presses(&mut process, &mut state, flaw)
            }
            _ => self.records(&mut process, &mut state, flaw),
        };
        state.ca.process = Some(process);
        is_done.then_some(state)
    }

    fn is_asked(self, process: &mut Process, state: &mut State, flaw: Option<Flaw>) -> bool {
        let store = &state.ca.store;
        match self {
            Self::AskDevice if process.device == Revoking::No && !store.ended => {
                process.device = Revoking::Asked;
            }
            Self::AskOther if state.other => {
                state.other = false;
                process.other = Revoking::Asked;
            }
            Self::AskRenewal if process.renewal.is_none() && state.renewals > 0 => {
                process.renewal = store.renewal(flaw);
                state.renewals -= 1;
                return process.renewal.is_some();
            }
            Self::AskReinstatement if store.ended && !store.reinstated && !process.reinstating => {
                process.reinstating = true;
            }
            _ => return false,
        }
        true
    }

    /// The committer: one event at a time, judged once more, then in both files, then answered.
    fn records(self, process: &mut Process, state: &mut State, flaw: Option<Flaw>) -> bool {
        let ca = &mut state.ca;
        let taken = match (self, process.writing) {
            (Self::WriteStore, Some(Writing { event, store: false, journal })) => {
                ca.store = ca.store.with(event, flaw);
                Some(Writing { event, store: true, journal })
            }
            (Self::WriteJournal, Some(Writing { event, store, journal: false })) => {
                ca.journal = ca.journal.with(event, flaw);
                Some(Writing { event, store, journal: true })
            }
            (Self::Written, Some(Writing { event, store: true, journal }))
                if journal || flaw == Some(Flaw::GoesByTheJournal) =>
            {
                written(event, process, &mut state.held);
                None
            }
            (_, None) => match self.commits(process, &ca.store, flaw) {
                Some(Some(event)) => Some(Writing { event, store: false, journal: false }),
                Some(None) => None,
                None => return false,
            },
            _ => return false,
        };
        process.writing = taken;
        true
    }

    /// What the committer takes next: an event, or nothing because it is refused by now.
    fn commits(
        self,
        process: &mut Process,
        store: &Ledger,
        flaw: Option<Flaw>,
    ) -> Option<Option<Event>> {
        let event = match self {
            Self::CommitDevice if process.device == Revoking::Asked => Event::DeviceRevoked,
            Self::CommitOther if process.other == Revoking::Asked => Event::OtherRevoked,
            Self::CommitReinstatement if process.reinstating => Event::Reinstated,
            Self::CommitRenewal => {
                let next = process.renewal.take()?;
                let stands =
                    store.renewal(flaw) == Some(next) || flaw == Some(Flaw::JudgesRenewalsOnce);
                return Some(stands.then_some(Event::Renewed(next)));
            }
            Self::CommitList => {
                let Press::Signed(list) = process.press else { return None };
                Event::ListSigned(list)
            }
            _ => return None,
        };
        Some(Some(event))
    }

    /// The publisher: what the list covers is settled before the entries are read, and it is on record
    /// before anybody can see it.
    fn presses(self, process: &mut Process, state: &mut State, flaw: Option<Flaw>) -> bool {
        let ca = &mut state.ca;
        let latest = ca.store.list;
        match (self, process.press) {
            (Self::Cover, Press::Idle) => {
                let is_old = ca.file.number <= state.stale && flaw != Some(Flaw::LetsListsAge);
                if ca.file == latest && ca.store.revoked & !latest.covers == 0 && !is_old {
                    return false;
                }
                process.press = Press::Covering(ca.store.revoked);
            }
            (Self::Sign, Press::Covering(before)) => {
                let now = ca.store.revoked;
                let (covers, named) =
                    if flaw == Some(Flaw::CoversTooMuch) { (now, before) } else { (before, now) };
                let number = match flaw {
                    Some(Flaw::CountsInMemory) => process.counted.max(1) + 1,
                    _ => latest.number + 1,
                };
                process.counted = number;
                process.press = Press::Signed(List { number, named, covers });
            }
            (Self::Publish, Press::Recorded(list)) => {
                (ca.before, ca.file) = (ca.file, list);
                process.press = Press::Idle;
            }
            _ => return false,
        }
        true
    }

    /// Whoever asked for a revocation is told once a list that names it is out.
    fn answers(self, process: &mut Process, state: &mut State, flaw: Option<Flaw>) -> bool {
        let ca = &state.ca;
        let (revoking, meant) = match self {
            Self::AnswerDevice => (&mut process.device, ca.store.issued & WHOLE_LINEAGE),
            _ => (&mut process.other, OTHER),
        };
        let is_told = ca.file == ca.store.list && meant & !ca.store.list.covers == 0;
        let is_due = match flaw {
            Some(Flaw::AnswersEarly) => ca.store.revoked & meant == meant,
            _ => *revoking == Revoking::Recorded && is_told,
        };
        if *revoking == Revoking::No || !is_due {
            return false;
        }
        *revoking = Revoking::No;
        state.acknowledged |= meant;
        true
    }
}

/// What becomes of whoever waited for an event.
fn written(event: Event, process: &mut Process, held: &mut Set) {
    match event {
        Event::Renewed(next) => *held |= next,
        Event::DeviceRevoked => process.device = Revoking::Recorded,
        Event::OtherRevoked => process.other = Revoking::Recorded,
        Event::Reinstated => {
            process.reinstating = false;
            *held |= AGAIN;
        }
        Event::ListSigned(list) => process.press = Press::Recorded(list),
    }
}
