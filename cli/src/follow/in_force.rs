//! The lists in force, and the one gate through which others come into force.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use vouchsafe_transport::{Following, NotTaken, Revocations};

use crate::output::date;

/// How often the operator is told the same.
const REMINDER: Duration = Duration::from_secs(300);

/// What came of lists that were offered, before anybody has heard of it.
pub(super) struct Untold {
    is_in_force: bool,
    not_taken: Vec<NotTaken>,
}

/// The lists in force, whatever they were read from.
pub(super) struct InForce<N> {
    sender: watch::Sender<Arc<Revocations>>,
    /// The last lists that were taken, also while the door is shut.
    taken: Arc<Revocations>,
    /// What was said last of lists that were not taken, and when.
    warned: Option<(Vec<NotTaken>, Instant)>,
    /// What was said last of offers that were no lists at all, and when.
    complained: Option<(String, Instant)>,
    notice: N,
}

impl<N: Fn(&str)> InForce<N> {
    pub(super) fn new(
        taken: Arc<Revocations>,
        notice: N,
    ) -> (Self, watch::Receiver<Arc<Revocations>>) {
        let (sender, receiver) = watch::channel(Arc::clone(&taken));
        (Self { sender, taken, warned: None, complained: None, notice }, receiver)
    }

    /// The last lists that were taken.
    pub(super) fn taken(&self) -> &Arc<Revocations> {
        &self.taken
    }

    /// Whether anybody still wants to know.
    pub(super) fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Brings lists into force. What comes back is still to be [told](Self::tell).
    #[must_use]
    pub(super) fn take(&mut self, following: Following) -> Untold {
        let Following { revocations, is_news, not_taken, .. } = following;
        self.complained = None;
        let is_taken = is_news || self.is_shut();
        let is_first = !matches!(*self.taken, Revocations::Lists(_));
        if is_taken {
            self.taken = Arc::new(revocations);
            self.sender.send_replace(Arc::clone(&self.taken));
        }
        Untold { is_in_force: is_taken && !is_first, not_taken }
    }

    /// Says which lists are in force, and why not all that were offered. `origin` says where those are.
    ///
    /// Where they are kept for the next start, that comes first: what was said to be in force must be
    /// so after a crash as well.
    pub(super) fn tell(&mut self, untold: Untold, origin: &dyn Display) {
        if untold.is_in_force {
            self.say_what_is_in_force();
        }
        self.warn_of(untold.not_taken, origin);
    }

    fn say_what_is_in_force(&self) {
        let revoked: usize = self.taken.lists().map(|list| list.serials().len()).sum();
        let number = self.taken.lists().map(|list| list.number).max().unwrap_or_default();
        self.say(&format!("revocation list number {number} in force, {revoked} revoked"));
    }

    /// A list that goes back, or away, is an accident at best.
    fn warn_of(&mut self, not_taken: Vec<NotTaken>, origin: &dyn Display) {
        let is_said =
            |(said, at): &(Vec<_>, Instant)| *said == not_taken && at.elapsed() < REMINDER;
        if self.warned.as_ref().is_some_and(is_said) {
            return;
        }
        for NotTaken { issuer, error, until, .. } in &not_taken {
            self.say(&format!(
                "WARNING: the revocation list {origin} is not taken for CA {issuer}: {error}; its list in force stays until {}",
                date(*until)
            ));
        }
        self.warned = Some((not_taken, Instant::now())).filter(|(said, _)| !said.is_empty());
    }

    /// Turns everybody away until lists are offered again.
    pub(super) fn shut(&self) {
        self.sender.send_replace(Arc::new(Revocations::Unreadable));
    }

    pub(super) fn is_shut(&self) -> bool {
        matches!(**self.sender.borrow(), Revocations::Unreadable)
    }

    pub(super) fn say(&self, text: &str) {
        (self.notice)(text);
    }

    /// That something went wrong which does no harm for now. One file may be read twice.
    pub(super) fn say_stays(&mut self, error: &dyn Display) {
        let complaint = error.to_string();
        let is_said =
            |(said, at): &(String, Instant)| *said == complaint && at.elapsed() < REMINDER;
        if self.complained.as_ref().is_some_and(is_said) {
            return;
        }
        let stays = match self.is_shut() {
            true => "every session stays closed",
            false => "the list in force stays",
        };
        self.say(&format!("WARNING: {complaint}; {stays}"));
        self.complained = Some((complaint, Instant::now()));
    }

    /// As [`say_stays`](Self::say_stays), of something that does harm in the end.
    pub(super) fn say_stays_until_stale(&self, error: &dyn Display) {
        let until = self.taken.lists().map(|list| list.next_update).min().map(date);
        let until = until.unwrap_or_default();
        self.say(&format!("WARNING: {error}; the list in force stays until {until}"));
    }
}

/// Without a clock no list is known to be stale, and none may go.
pub(super) fn now() -> UnixTime {
    let now = DefaultTimeProvider.current_time();
    now.unwrap_or(UnixTime::since_unix_epoch(Duration::ZERO))
}
