//! Numbers that any thread may add to, and that anybody reads: nothing here waits or allocates.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of an answer's time: from a lookup within a process to a tool that works for a minute.
const BOUNDS: [Duration; 15] = [
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];

/// What has been counted.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter for each word of a closed set. All are there from the beginning, so that the first
/// time something happens is seen as a change; a word that is missing in the set counts as `other`.
#[derive(Debug)]
pub(super) struct Counters {
    words: Vec<(&'static str, Counter)>,
    other: Counter,
}

impl Counters {
    pub(super) fn of(words: impl IntoIterator<Item = &'static str>) -> Self {
        let words = words.into_iter().map(|word| (word, Counter::default())).collect();
        Self { words, other: Counter::default() }
    }

    pub(super) fn count(&self, word: &str) {
        let known = self.words.iter().find(|(known, _)| *known == word);
        known.map_or(&self.other, |(_, counter)| counter).add(1);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let other = std::iter::once(("other", self.other.get()));
        self.words.iter().map(|(word, counter)| (*word, counter.get())).chain(other)
    }
}

/// How long things took. The library's histogram is behind a lock.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Counter; BOUNDS.len()],
    beyond: Counter,
    sum_us: Counter,
}

impl Histogram {
    pub(super) fn observe(&self, micros: u64) {
        let within = |bound: &Duration| u128::from(micros) <= bound.as_micros();
        let bucket = BOUNDS.iter().zip(&self.buckets).find(|(bound, _)| within(bound));
        bucket.map_or(&self.beyond, |(_, bucket)| bucket).add(1);
        self.sum_us.add(micros);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().chain([&self.beyond]).map(Counter::get).sum()
    }

    /// How long all took together, in seconds.
    pub(super) fn sum(&self) -> f64 {
        Duration::from_micros(self.sum_us.get()).as_secs_f64()
    }

    /// How many took no longer than each bound, and longer than the one before it.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let counts = self.buckets.iter().chain([&self.beyond]).map(Counter::get);
        bounds.zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bound_is_within_it() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 60_000_000, 60_000_001] {
            histogram.observe(micros);
        }
        let counted: Vec<_> = histogram.buckets().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [(0.0005, 2), (0.001, 1), (60.0, 1), (f64::INFINITY, 1)]);
        assert!((histogram.sum() - 120.001_002).abs() < 1e-9);
    }

    #[test]
    fn a_word_that_nobody_foresaw_is_counted_and_makes_no_label() {
        let counters = Counters::of(["revoked"]);
        for word in ["revoked", "chosen by a peer", "revoked"] {
            counters.count(word);
        }
        assert_eq!(counters.iter().collect::<Vec<_>>(), [("revoked", 2), ("other", 1)]);
    }
}
