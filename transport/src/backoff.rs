//! How long to wait before trying again: longer each time, and never all at the same moment.

use std::time::Duration;

use rustls::crypto::aws_lc_rs;

/// Pauses that double up to a longest one, each shortened at random by up to a half.
#[derive(Debug, Clone)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `shortest`.
    #[must_use]
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, next: shortest }
    }

    /// How long to wait now; the next pause is longer.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        jittered(pause)
    }

    /// After a success: the next pause is short again.
    pub fn reset(&mut self) {
        self.next = self.shortest;
    }
}

/// At least half of `pause` and at most the whole, so that a thousand who were cut off together do
/// not come back together.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    let mut octets = [0; 2];
    // Without randomness everybody waits for the whole pause, which is safe.
    let drawn = aws_lc_rs::default_provider().secure_random.fill(&mut octets);
    let taken_off = drawn.map_or(0, |()| u32::from(u16::from_be_bytes(octets)));
    pause - pause / 2 * taken_off / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_a_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second);
        for whole in [1, 2, 4, 5, 5] {
            let pause = backoff.pause();
            assert!(pause >= second * whole / 2 && pause <= second * whole, "{pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= second);
    }

    #[test]
    fn a_thousand_do_not_come_back_together() {
        let pauses: Vec<_> = (0..1000).map(|_| jittered(Duration::from_secs(10))).collect();
        let early = pauses.iter().filter(|pause| **pause < Duration::from_millis(7500)).count();
        assert!((350..650).contains(&early), "{early}");
    }
}
