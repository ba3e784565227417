//! When something has happened once too often: so many times within a window that begins with the first.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Whose doings are counted one by one; all others are counted together.
const REMEMBERED: usize = 4096;

/// Counts of one kind of thing.
#[derive(Debug)]
pub(super) struct Bursts {
    threshold: u64,
    window: Duration,
    counts: HashMap<Box<str>, Count>,
    others: Count,
}

#[derive(Debug, Default)]
struct Count {
    /// When the window began.
    since: Option<Instant>,
    times: u64,
}

impl Bursts {
    pub(super) fn new(threshold: u64, window: Duration) -> Self {
        let threshold = if window.is_zero() { 1 } else { threshold.max(1) };
        Self { threshold, window, counts: HashMap::new(), others: Count::default() }
    }

    /// Counts one more of somebody. Says how many it makes when that reaches the threshold, which it
    /// does once within a window.
    pub(super) fn count(&mut self, whose: &str, now: Instant) -> Option<u64> {
        let (threshold, window) = (self.threshold, self.window);
        let count = self.count_of(whose, now);
        if !count.is_within(window, now) {
            *count = Count { since: Some(now), times: 0 };
        }
        count.times += 1;
        (count.times == threshold).then_some(threshold)
    }

    fn count_of(&mut self, whose: &str, now: Instant) -> &mut Count {
        if !self.counts.contains_key(whose) {
            if self.counts.len() >= REMEMBERED {
                let window = self.window;
                self.counts.retain(|_, count| count.is_within(window, now));
            }
            if self.counts.len() >= REMEMBERED {
                return &mut self.others;
            }
        }
        self.counts.entry(whose.into()).or_default()
    }
}

impl Count {
    fn is_within(&self, window: Duration, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) < window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_alert_of_each_in_a_window_and_another_in_the_next() {
        let mut bursts = Bursts::new(3, Duration::from_secs(60));
        let start = Instant::now();
        let mut alerts_of = |whose: &str, times: usize, at: u64| {
            let now = start + Duration::from_secs(at);
            (0..times).filter_map(|_| bursts.count(whose, now)).collect::<Vec<_>>()
        };
        assert_eq!(alerts_of("a", 2, 0), [0; 0]);
        assert_eq!(alerts_of("b", 2, 30), [0; 0]);
        assert_eq!(alerts_of("a", 100, 59), [3]);
        assert_eq!(alerts_of("b", 1, 60), [3]);
        // A new window: as many again are needed.
        assert_eq!(alerts_of("a", 2, 60), [0; 0]);
        assert_eq!(alerts_of("a", 2, 61), [3]);
        assert_eq!(alerts_of("a", 2, 200), [0; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_a_crowd_is_seen_as_one() {
        let mut bursts = Bursts::new(2, Duration::from_secs(60));
        let start = Instant::now();
        for number in 0..REMEMBERED {
            assert_eq!(bursts.count(&number.to_string(), start), None);
        }
        assert_eq!(bursts.count("x", start), None);
        assert_eq!(bursts.count("y", start), Some(2));
        assert_eq!(bursts.count("7", start), Some(2));
        assert_eq!(bursts.counts.len(), REMEMBERED);
        let later = start + Duration::from_secs(60);
        assert_eq!(bursts.count("x", later), None);
        assert_eq!(bursts.count("x", later), Some(2));
    }
}
