//! What servers have had refused, for whoever watches the bridge. A server can cause that as fast as it
//! can write, and must not fill a log: beyond some a second, it is counted.

use std::time::Duration;

use tokio::time::Instant;

use crate::denials::Told;

const SECOND: Duration = Duration::from_secs(1);

/// Refusals within the present second.
#[derive(Debug)]
pub(super) struct Refused {
    told: Told,
    since: Instant,
}

impl Refused {
    pub(super) fn new() -> Self {
        Self { told: Told::default(), since: Instant::now() }
    }

    /// Whether one more is told, rather than counted; and how many were counted in a second that is over.
    pub(super) fn one_more(&mut self) -> (bool, u64) {
        let counted = if self.since.elapsed() < SECOND { 0 } else { self.sum_up() };
        (self.told.is_told(), counted)
    }

    /// How many were counted. Begins a new second.
    pub(super) fn sum_up(&mut self) -> u64 {
        self.since = Instant::now();
        self.told.sum_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_told_is_counted_and_every_second_begins_anew() {
        let mut refused = Refused::new();
        let told = (0..1_000).filter(|_| refused.one_more().0).count();
        assert_eq!(told, 50);
        tokio::time::advance(SECOND).await;
        assert_eq!(refused.one_more(), (true, 950));
        tokio::time::advance(SECOND).await;
        assert_eq!(refused.one_more(), (true, 0));
        for _ in 0..50 {
            refused.one_more();
        }
        assert_eq!((refused.sum_up(), refused.sum_up()), (1, 0));
    }
}
