//! The lists in force, and the one gate through which others come into force.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use vouchsafe_transport::{Revocations, RevocationsError};

use crate::output::date;

/// The lists in force, whatever they were read from.
pub(super) struct InForce<N> {
    sender: watch::Sender<Arc<Revocations>>,
    /// The last lists that were taken, also while the door is shut.
    taken: Arc<Revocations>,
    notice: N,
}

impl<N: Fn(&str)> InForce<N> {
    pub(super) fn new(
        taken: Arc<Revocations>,
        notice: N,
    ) -> (Self, watch::Receiver<Arc<Revocations>>) {
        let (sender, receiver) = watch::channel(Arc::clone(&taken));
        (Self { sender, taken, notice }, receiver)
    }

    /// The last lists that were taken.
    pub(super) fn taken(&self) -> &Arc<Revocations> {
        &self.taken
    }

    /// Whether anybody still wants to know.
    pub(super) fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Brings lists into force, if they may follow those that are; says whether that is news.
    pub(super) fn offer(&mut self, offered: Revocations) -> Result<bool, RevocationsError> {
        let is_known = |list| self.taken.lists().any(|known| known == list);
        let is_whole = offered.lists().count() == self.taken.lists().count();
        if is_whole && offered.lists().all(is_known) && !self.is_shut() {
            return Ok(false);
        }
        let offered = Arc::new(offered.following(&self.taken, now())?);
        self.taken = Arc::clone(&offered);
        let revoked: usize = offered.lists().map(|list| list.serials().len()).sum();
        let number = offered.lists().map(|list| list.number).max().unwrap_or_default();
        self.sender.send_replace(offered);
        self.say(&format!("revocation list number {number} in force, {revoked} revoked"));
        Ok(true)
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

    /// That something went wrong which does no harm for now.
    pub(super) fn say_stays(&self, error: &dyn Display) {
        self.say(&format!("WARNING: {error}; the list in force stays"));
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
