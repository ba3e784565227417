//! What one session has had denied, on the record. Either side can cause it as fast as it can write and
//! must not fill the audit: beyond some a second, denials are counted. Those of an honest session are
//! told one by one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Event;

/// Told one by one within a second, of each kind.
const TOLD_PER_SECOND: u64 = 50;

/// The denials of one session, those of each side apart: neither hides what the other does.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    of_client: Told,
    of_server: Told,
    /// Of the server too: no denials, but as easily made.
    redacted: Told,
}

/// Of one kind, within the present second.
#[derive(Debug, Default)]
pub(crate) struct Told(AtomicU64);

impl Told {
    /// Whether one more is told, rather than counted.
    pub(crate) fn is_told(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) < TOLD_PER_SECOND
    }

    /// How many were counted. Begins a new second.
    pub(crate) fn sum_up(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed).saturating_sub(TOLD_PER_SECOND)
    }
}

impl Denials {
    /// Whether one more is told, rather than counted.
    pub(crate) fn is_told(&self, event: &Event<'_>) -> bool {
        let told = match (event.event, event.from) {
            ("redacted", _) => &self.redacted,
            (_, Some("server")) => &self.of_server,
            _ => &self.of_client,
        };
        told.is_told()
    }

    /// Whether there was none since they were summed up last.
    pub(crate) fn is_none(&self) -> bool {
        let all = [&self.of_client, &self.of_server, &self.redacted];
        all.iter().all(|told| told.0.load(Ordering::Relaxed) == 0)
    }

    /// What was not told: which event, of whom, how many times. Begins a new second.
    pub(crate) fn sum_up(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let kinds = [
            ("denied", "client", &self.of_client),
            ("denied", "server", &self.of_server),
            ("redacted", "server", &self.redacted),
        ];
        let summed = kinds.map(|(event, from, told)| (event, from, told.sum_up()));
        summed.into_iter().filter(|(_, _, times)| *times > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_side_hides_what_the_other_does_and_nothing_is_lost() {
        let denials = Denials::default();
        let told_of = |event: &'static str, from: &'static str, times: u64| {
            let event = Event { event, from: Some(from), ..Event::default() };
            (0..times).map(|_| u64::from(denials.is_told(&event))).sum::<u64>()
        };
        assert!(denials.is_none());
        assert_eq!(told_of("denied", "server", 1000), TOLD_PER_SECOND);
        assert_eq!(told_of("denied", "client", TOLD_PER_SECOND), TOLD_PER_SECOND);
        assert_eq!(told_of("redacted", "server", 60), TOLD_PER_SECOND);
        let summed: Vec<_> = denials.sum_up().collect();
        assert_eq!(summed, [("denied", "server", 950), ("redacted", "server", 10)]);
        // In the next second as many are told again.
        assert!(denials.is_none());
        assert_eq!(told_of("denied", "server", 1), 1);
        assert_eq!(denials.sum_up().count(), 0);
    }
}
