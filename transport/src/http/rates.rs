//! How often each source may ask: a bucket of tokens each, in memory that is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::HttpLimits;
use crate::bucket::Bucket;
use crate::source::Source;

/// Sources that are remembered. Those beyond share one bucket.
const REMEMBERED: usize = 65_536;

/// How often full buckets are looked for, where there is no room.
const SWEEP: Duration = Duration::from_secs(1);

/// A bucket for every source.
pub(crate) struct Rates {
    /// Between two requests, in the long run.
    interval: Duration,
    /// What a full bucket holds.
    depth: Duration,
    room: usize,
    state: Mutex<State>,
}

struct State {
    buckets: HashMap<Source, Bucket>,
    /// The bucket of everybody for whom there is no room.
    others: Bucket,
    swept_at: Option<Instant>,
}

impl Rates {
    pub(crate) fn new(limits: &HttpLimits) -> Self {
        let interval = Duration::from_secs(1).checked_div(limits.rate).unwrap_or_default();
        let others = Bucket::full(Instant::now());
        let state = State { buckets: HashMap::new(), others, swept_at: None };
        let depth = interval * limits.burst.max(1);
        Self { interval, depth, room: REMEMBERED, state: Mutex::new(state) }
    }

    /// Takes a token of a source.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&self, source: Source, now: Instant) -> Result<(), Duration> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bucket(source, self.room, now).take(self.interval, self.depth, now)
    }
}

impl State {
    fn bucket(&mut self, source: Source, room: usize, now: Instant) -> &mut Bucket {
        let is_full = self.buckets.len() >= room && !self.buckets.contains_key(&source);
        if is_full && self.swept_at.is_none_or(|at| now.duration_since(at) >= SWEEP) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.swept_at = Some(now);
        }
        if self.buckets.len() >= room && !self.buckets.contains_key(&source) {
            return &mut self.others;
        }
        self.buckets.entry(source).or_insert_with(|| Bucket::full(now))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(number).into())
    }

    fn rates() -> Rates {
        Rates::new(&HttpLimits { rate: 10, burst: 3, ..HttpLimits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let (rates, start) = (rates(), Instant::now());
        for _ in 0..3 {
            assert_eq!(rates.take(source(1), start), Ok(()));
        }
        // The fourth is told how long to wait, and asking in vain costs nothing.
        for _ in 0..100 {
            assert_eq!(rates.take(source(1), start), Err(Duration::from_millis(100)));
        }
        // Somebody else is not concerned.
        assert_eq!(rates.take(source(2), start), Ok(()));
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.take(source(1), later), Ok(()));
        assert!(rates.take(source(1), later).is_err());
        let much_later = start + Duration::from_secs(60);
        let passed = (0..10).filter(|_| rates.take(source(1), much_later).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_strangers_in_a_crowd_share_a_bucket() {
        let mut rates = rates();
        rates.room = 100;
        let start = Instant::now();
        for number in 0..100 {
            assert_eq!(rates.take(source(number), start), Ok(()));
        }
        let passed = (100..200).filter(|number| rates.take(source(*number), start).is_ok());
        assert_eq!(passed.count(), 3);
        assert_eq!(rates.state.lock().unwrap().buckets.len(), 100);
        // Whoever is remembered has what is left in their own bucket.
        assert_eq!(rates.take(source(5), start), Ok(()));
        // When the crowd has gone, there is room again.
        let later = start + Duration::from_secs(2);
        let passed = (100..200).filter(|number| rates.take(source(*number), later).is_ok());
        assert_eq!(passed.count(), 100);
    }
}
