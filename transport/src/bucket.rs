//! A bucket of tokens. It is one point in time, at which it will be full again (the generic cell rate
//! algorithm); what is taken from it is worth the time that it takes to come back.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket. What it holds when it is full is said by whoever takes from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// One that is full says nothing, so forgetting it changes nothing.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes what is worth `cost`, if a bucket that holds `depth` has as much left.
    ///
    /// # Errors
    /// How long until it has.
    pub(crate) fn take(
        &mut self,
        cost: Duration,
        depth: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let afterwards = self.full_at.max(now) + cost;
        match afterwards.duration_since(now).checked_sub(depth) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.full_at = afterwards;
                Ok(())
            }
        }
    }

    /// Takes what is worth `cost`, whether or not as much is left, unless more than all is owed already.
    ///
    /// # Errors
    /// How long until that is paid back.
    pub(crate) fn owe(
        &mut self,
        cost: Duration,
        depth: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        self.take(Duration::ZERO, depth, now)?;
        self.full_at += cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_taken_comes_back_in_time() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        for _ in 0..3 {
            assert_eq!(bucket.take(SECOND, SECOND * 3, start), Ok(()));
        }
        assert_eq!(bucket.take(SECOND, SECOND * 3, start), Err(SECOND));
        assert_eq!(bucket.take(SECOND, SECOND * 3, start + SECOND), Ok(()));
        assert!(!bucket.is_full(start + SECOND * 3));
        assert!(bucket.is_full(start + SECOND * 4));
    }

    #[test]
    fn what_is_owed_is_paid_back_before_more_is_taken() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        assert_eq!(bucket.owe(SECOND * 10, SECOND, start), Ok(()));
        assert_eq!(bucket.owe(SECOND, SECOND, start), Err(SECOND * 9));
        assert_eq!(bucket.owe(SECOND, SECOND, start + SECOND * 9), Ok(()));
        assert_eq!(bucket.owe(SECOND, SECOND, start + SECOND * 9), Err(SECOND));
    }
}
