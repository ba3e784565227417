//! How sessions ended, measured from the moment from which they had to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crowd::Life;

/// The promise is made for a machine with nothing else to do. Where other work runs at the same time,
/// or nothing is optimised, what is promised within a moment is asked for within two seconds more.
pub(crate) fn bound(promised: Duration) -> Duration {
    let is_strict =
        !cfg!(debug_assertions) || std::env::var_os("VOUCHSAFE_STRICT_TIMING").is_some();
    if is_strict { promised } else { promised + Duration::from_secs(2) }
}

/// The end of every session of a device.
pub(crate) struct Cut {
    since: Instant,
    /// When each session was closed, in order.
    ends: Vec<Instant>,
    /// Calls that were answered from `since` on.
    answered: usize,
}

impl Cut {
    pub(crate) fn of(lives: &[Life], since: Instant) -> Self {
        let ends = lives.iter().map(|life| life.end.as_ref().map(|(at, _)| *at).unwrap());
        let mut ends: Vec<_> = ends.collect();
        ends.sort_unstable();
        let answers = lives.iter().flat_map(|life| &life.answers);
        let answered = answers.filter(|at| **at > since).count();
        let cut = Self { since, ends, answered };
        let answers = lives.iter().flat_map(|life| &life.answers);
        assert!(answers.max().unwrap() <= &cut.over(), "a call was answered after the last cut");
        cut
    }

    /// When the last session was closed.
    pub(crate) fn over(&self) -> Instant {
        *self.ends.last().unwrap()
    }

    /// How long after the moment the first session was closed, or before it, in milliseconds.
    pub(crate) fn first_ms(&self) -> f64 {
        self.ms_to(*self.ends.first().unwrap())
    }

    /// The same of the last session.
    pub(crate) fn last_ms(&self) -> f64 {
        self.ms_to(self.over())
    }

    fn ms_to(&self, end: Instant) -> f64 {
        let before = self.since.saturating_duration_since(end).as_secs_f64();
        (end.saturating_duration_since(self.since).as_secs_f64() - before) * 1000.0
    }

    /// How long after the moment the last session was closed; nothing if before it.
    pub(crate) fn last(&self) -> Duration {
        self.over().saturating_duration_since(self.since)
    }

    /// Also by the gateway's own record nothing follows a cut: no call judged, none answered.
    pub(crate) fn is_the_last_word(&self, events: &[Value], reason: &str) {
        let mut last = BTreeMap::new();
        for event in events {
            last.insert(event["session"].as_u64().unwrap(), event);
        }
        assert!(last.len() >= self.ends.len(), "only {} sessions are on record", last.len());
        for event in last.values() {
            assert_eq!((&event["event"], &event["reason"]), (&"cut".into(), &reason.into()));
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first_ms(), self.last_ms());
        let (sessions, answered) = (self.ends.len(), self.answered);
        write!(
            f,
            "{sessions} sessions cut {first:+.1} to {last:+.1} ms after it, {answered} calls answered after it"
        )
    }
}

/// Every session lives, every call of it was answered, and it went on calling after the others' cut.
/// Returns how many calls there were.
pub(crate) fn lost_nothing(lives: &[Life], cut: &Cut) -> usize {
    for life in lives {
        assert_eq!(life.end.as_ref().map(|(_, how)| how), None);
        assert_eq!(life.asked, life.answers.len());
        assert!(life.answers.last().unwrap() > &(cut.over() + Duration::from_millis(500)));
    }
    lives.iter().map(|life| life.answers.len()).sum()
}
