//! The gateway of the model: the list in force, what is kept of it, and one session.

use crate::ca::{AGAIN, HONEST, LINEAGE, List, Set};
use crate::protocol::{Flaw, State};

/// A request, and whether it was sent after the gateway had brought into force what revokes its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    Sent { late: bool },
    Read { late: bool },
    Looked { late: bool },
}

/// The session of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    serial: Set,
    /// Judged once more after the handshake, and at work.
    is_open: bool,
    /// Whether a list came that it was not judged by.
    has_news: bool,
    /// Whether its task is being polled: until it pauses, nobody judges but itself.
    is_polled: bool,
    request: Option<Request>,
}

/// What a crash forgets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) in_force: List,
    session: Option<Session>,
}

/// Everything of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Gateway {
    /// The list that is kept for a start without the CA.
    cache: List,
    /// Everything named by lists of which it has said that they are in force.
    pub(crate) said: Set,
    pub(crate) process: Option<Process>,
}

impl Gateway {
    pub(crate) fn following(list: List) -> Self {
        let process = Process { in_force: list, session: None };
        Self { cache: list, said: 0, process: Some(process) }
    }
}

/// What the gateway does, or its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Follow,
    /// Somebody on the way offers the list before.
    Replay,
    Keep,
    Say,
    Crash,
    Start,
    Handshake(Set),
    Open,
    Send,
    Poll,
    Read,
    Look,
    Forward,
    Pause,
    Leave,
}

/// How a peer with this certificate comes in and is served.
pub(crate) const fn visit(serial: Set) -> [Step; 7] {
    use Step::{Forward, Handshake, Look, Open, Poll, Read, Send};
    [Handshake(serial), Open, Send, Poll, Read, Look, Forward]
}

pub(crate) const STEPS: [Step; 19] = [
    Step::Follow,
    Step::Replay,
    Step::Keep,
    Step::Say,
    Step::Crash,
    Step::Start,
    Step::Handshake(LINEAGE[0]),
    Step::Handshake(LINEAGE[1]),
    Step::Handshake(LINEAGE[2]),
    Step::Handshake(AGAIN),
    Step::Handshake(HONEST),
    Step::Open,
    Step::Send,
    Step::Poll,
    Step::Read,
    Step::Look,
    Step::Forward,
    Step::Pause,
    Step::Leave,
];

impl Step {
    /// The state after it, where it can happen.
    pub(crate) fn after(self, mut state: State, flaw: Option<Flaw>) -> Option<State> {
        let State { ca, gateway, held, stale, gateway_crashes, .. } = &mut state;
        if let Self::Start = self {
            if gateway.process.is_some() {
                return None;
            }
            let in_force =
                if flaw == Some(Flaw::KeepsNothing) { List::default() } else { gateway.cache };
            gateway.process = Some(Process { in_force, session: None });
            return Some(state);
        }
        let process = gateway.process.as_mut()?;
        match self {
            Self::Follow => process.take(ca.file, flaw)?,
            Self::Replay => process.take(ca.before, flaw)?,
            Self::Keep if gateway.cache != process.in_force => gateway.cache = process.in_force,
            Self::Say => {
                let is_kept =
                    gateway.cache == process.in_force || flaw == Some(Flaw::SaysBeforeItKeeps);
                if !is_kept || process.in_force.named & !gateway.said == 0 {
                    return None;
                }
                gateway.said |= process.in_force.named;
            }
            Self::Crash => {
                gateway.process = None;
                *gateway_crashes = gateway_crashes.checked_sub(1)?;
            }
            Self::Handshake(serial) => {
                if *held & serial == 0
                    || !process.admits(serial, *stale, flaw)
                    || process.session.is_some()
                {
                    return None;
                }
                let (is_open, has_news, is_polled, request) = (false, false, false, None);
                process.session = Some(Session { serial, is_open, has_news, is_polled, request });
            }
            Self::Leave if process.session.is_some() => process.session = None,
            _ => return self.in_session(state, flaw),
        }
        Some(state)
    }

    fn in_session(self, mut state: State, flaw: Option<Flaw>) -> Option<State> {
        let process = state.gateway.process.as_mut()?;
        let mut session = process.session?;
        let stays = process.admits(session.serial, state.stale, flaw);
        // Once the gateway has said so, a crash does not count.
        let late = (process.in_force.named | state.gateway.said) & session.serial != 0;
        match (self, session) {
            (Self::Open, Session { is_open: false, .. }) => {
                session.is_open = true;
                if flaw != Some(Flaw::RegistersAfterTheCheck) && !session.judged(stays) {
                    process.session = None;
                    return Some(state);
                }
                session.has_news = false;
            }
            (Self::Send, Session { request: None, .. }) => {
                session.request = Some(Request::Sent { late })
            }
            (Self::Poll, Session { is_open: true, is_polled: false, .. }) => {
                session.is_polled = true;
                if session.has_news && !session.judged(stays) {
                    process.session = None;
                    return Some(state);
                }
            }
            (
                Self::Read,
                Session { is_polled: true, request: Some(Request::Sent { late }), .. },
            ) => {
                session.request = Some(Request::Read { late });
            }
            (
                Self::Look,
                Session { is_polled: true, request: Some(Request::Read { late }), .. },
            ) => {
                let looks = session.has_news && flaw != Some(Flaw::DoesNotLook);
                if looks && !session.judged(stays) {
                    process.session = None;
                    return Some(state);
                }
                session.request = Some(Request::Looked { late });
            }
            (
                Self::Forward,
                Session { is_polled: true, request: Some(Request::Looked { late }), .. },
            ) => {
                session.request = None;
                state.let_through |= late;
            }
            (Self::Pause, Session { is_polled: true, request, .. }) => {
                // What was looked at is being written already.
                if matches!(request, Some(Request::Looked { .. })) {
                    return None;
                }
                session.is_polled = false;
            }
            _ => return None,
        }
        process.session = Some(session);
        Some(state)
    }
}

impl Session {
    fn judged(&mut self, stays: bool) -> bool {
        self.has_news = false;
        stays
    }
}

impl Process {
    /// Brings a list into force that may follow the one there is. Every session hears of it that has
    /// registered.
    fn take(&mut self, list: List, flaw: Option<Flaw>) -> Option<()> {
        let follows = list.number > self.in_force.number
            || flaw == Some(Flaw::TakesOlderLists) && list.number != self.in_force.number;
        if !follows {
            return None;
        }
        self.in_force = list;
        if let Some(session) = &mut self.session {
            session.has_news = session.is_open || flaw != Some(Flaw::RegistersAfterTheCheck);
        }
        Some(())
    }

    /// A list that is stale lets nobody in.
    fn admits(&self, serial: Set, stale: u8, flaw: Option<Flaw>) -> bool {
        let is_current = self.in_force.number > stale || flaw == Some(Flaw::KeepsNothing);
        is_current && self.in_force.named & serial == 0
    }

    pub(crate) fn without_session(self) -> Self {
        Self { session: None, ..self }
    }
}
