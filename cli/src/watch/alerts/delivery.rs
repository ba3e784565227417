//! Delivering alerts, one after the other, until they are taken or too old.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use vouchsafe_transport::Backoff;

use super::webhook::Rejection;
use super::{Alert, Outgoing};
use crate::notice::say;

/// Between attempts: a receiver that restarts is back after a moment; one that stays away is not pressed.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// An alert that nobody has taken by then is given up: others wait behind it.
const DEADLINE: Duration = Duration::from_secs(300);

impl Outgoing {
    /// Delivers for as long as alerts may come.
    pub(in crate::watch) async fn deliver(mut self) {
        while let Some(alert) = self.queue.recv().await {
            let outcome = if self.deliver_one(&alert).await { "delivered" } else { "failed" };
            self.outcomes.count(outcome);
        }
    }

    /// Whether it was taken in the end.
    async fn deliver_one(&mut self, alert: &Alert) -> bool {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let rejection = match self.webhook.post(alert).await {
                Ok(()) => {
                    if std::mem::take(&mut self.is_failing) {
                        say(&format!("alerts reach {} again", self.webhook));
                    }
                    return true;
                }
                Err(rejection) => rejection,
            };
            self.warn(&rejection);
            let pause = backoff.pause();
            if matches!(rejection, Rejection::Final(_)) || Instant::now() + pause >= deadline {
                return false;
            }
            sleep(pause).await;
        }
    }

    /// Said once, not with every attempt of a bad night.
    fn warn(&mut self, (Rejection::Final(why) | Rejection::ForNow(why)): &Rejection) {
        if !std::mem::replace(&mut self.is_failing, true) {
            say(&format!("WARNING: alerts do not reach {}: {why}", self.webhook));
        }
    }
}
