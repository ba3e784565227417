//! What was refused, on the record. Strangers cause it and must not fill the audit: beyond some a
//! second, refusals are counted. Nor must one of them hide behind their own noise what others do: a
//! source is told as often as there is room left for others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{Event, EventLog};
use crate::source::Source;

/// Told one by one within a second.
const TOLD_PER_SECOND: u64 = 100;

/// Why a request was refused, for the audit alone.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a reason and nothing else")]
pub struct Refused(pub String);

/// The refusals of one listener.
pub(crate) struct Refusals {
    /// `None` where nobody keeps a record.
    log: Option<Arc<EventLog>>,
    within: Mutex<Within>,
}

/// Those of the present second.
#[derive(Default)]
struct Within {
    told: u64,
    /// Of those that were told: as many as that at most.
    of_source: HashMap<Option<Source>, u64>,
    untold: u64,
}

impl Within {
    /// Whether one more of a source is told. One source alone gets half of all, the next one half of
    /// the rest, so that whoever is refused for the first time is heard.
    fn admits(&mut self, source: Option<Source>) -> bool {
        let left = TOLD_PER_SECOND - self.told;
        let own = self.of_source.get(&source).copied().unwrap_or_default();
        if own >= left {
            self.untold += 1;
            return false;
        }
        self.told += 1;
        self.of_source.insert(source, own + 1);
        true
    }
}

impl Refusals {
    pub(crate) fn new(log: Option<Arc<EventLog>>) -> Self {
        Self { log, within: Mutex::default() }
    }

    /// Puts one on record, or counts it. What was refused stays refused if that fails.
    pub(crate) async fn tell(&self, address: Option<SocketAddr>, reason: &str) {
        let reason = Some(reason);
        self.tell_of(&Event { event: "refused", address, reason, ..Event::default() }).await;
    }

    /// The same of an event that says more. Observers hear of each.
    pub(crate) async fn tell_of(&self, event: &Event<'_>) {
        let Some(log) = &self.log else { return };
        let source = event.address.map(|address| Source::of(address.ip()));
        if self.within.lock().unwrap_or_else(PoisonError::into_inner).admits(source) {
            log.conclude(event).await;
        } else {
            log.observe(event);
        }
    }

    /// Puts on record how many were not told one by one, and begins a new second.
    pub(crate) async fn sum_up(&self) {
        let Within { untold, .. } = {
            let mut within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *within)
        };
        if let Some(log) = self.log.as_ref().filter(|_| untold > 0) {
            let reason = format!("{untold} further times within a second");
            let event = Event { event: "refused", reason: Some(&reason), ..Event::default() };
            drop(log.record(&event).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn no_source_hides_what_others_do_behind_its_own_noise() {
        let mut within = Within::default();
        let source = |number: u32| Some(Source::of(Ipv4Addr::from_bits(number).into()));
        let mut told_of = |number: u32, times: u64| {
            (0..times).map(|_| u64::from(within.admits(source(number)))).sum::<u64>()
        };
        // One floods, and another, and some more.
        assert_eq!(told_of(1, 10_000), 50);
        assert_eq!(told_of(2, 10_000), 25);
        assert_eq!(told_of(3, 10_000) + told_of(4, 10_000), 13 + 6);
        // Who is refused now and then is heard, and those who flooded are not any more.
        assert_eq!((5..8).map(|quiet| told_of(quiet, 1)).sum::<u64>(), 3);
        assert_eq!(told_of(1, 1), 0);
        // However many there are, there is an end to it.
        let all: u64 = (0..10_000).map(|number| told_of(number, 2)).sum();
        assert_eq!(50 + 25 + 13 + 6 + 3 + all, TOLD_PER_SECOND);
        assert_eq!(within.told + within.untold, 40_004 + 20_000);
        assert!(within.of_source.len() <= 100);
    }
}
