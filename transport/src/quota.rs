//! What one principal may use up, over all of its sessions at one gateway: requests a second, requests
//! in flight, octets a second. By principal, never by address: a principal has one quota wherever it
//! comes from and however often it connects, and whoever shares its address has another.
//!
//! Too many requests are refused, for whoever sent them can act on that. Too many octets are not: what
//! is not read yet is not read, in both directions, until the rate allows it, so the peer's own writes
//! slow down, and nothing is lost.

mod table;

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use vouchsafe_certs::Principal;

pub use self::table::{LimitError, LimitTable, PrincipalLimits, Rate};
use crate::bucket::Bucket;
use crate::event::{Event, EventLog, as_json};

/// Refusals of one principal that are told one by one within a second; the rest is counted.
const TOLD_PER_SECOND: u64 = 5;

/// When somebody whose requests are all in flight might try again: nobody knows when one is answered.
const ONE_MAY_BE_ANSWERED: Duration = Duration::from_secs(1);

/// Octets that may come at once are what comes together in this time.
const OCTETS_DEPTH: Duration = Duration::from_secs(1);

/// What one principal has used up, as one of its sessions goes by it.
#[derive(Debug)]
pub(crate) struct Quota {
    state: Arc<Mutex<State>>,
    /// Whether the session's first message was paid for when the session was opened.
    is_prepaid: AtomicBool,
}

#[derive(Debug)]
struct State {
    limits: PrincipalLimits,
    requests: Bucket,
    octets: Bucket,
    in_flight: usize,
    /// Refusals of the present second.
    told: u64,
    untold: u64,
}

impl Quota {
    pub(crate) fn new(limits: PrincipalLimits, now: Instant) -> Self {
        let full = Bucket::full(now);
        let (requests, octets) = (full, full);
        let state = State { limits, requests, octets, in_flight: 0, told: 0, untold: 0 };
        Self { state: Arc::new(Mutex::new(state)), is_prepaid: AtomicBool::new(false) }
    }

    /// The same, for one more session.
    fn share(&self) -> Self {
        Self { state: Arc::clone(&self.state), is_prepaid: AtomicBool::new(false) }
    }

    /// Takes leave for a session and its first message, which is one: to open it is what that message
    /// asks for, and what it costs must be there before a process is started for it.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn open(&self, now: Instant) -> Result<(), Duration> {
        self.take(now)?;
        self.is_prepaid.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes leave for one request or notification.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        if self.is_prepaid.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = self.lock();
        match state.limits.requests {
            Some(rate) => state.requests.take(rate.interval, rate.depth, now),
            None => Ok(()),
        }
    }

    /// Counts one request as in flight until what is returned is dropped.
    ///
    /// # Errors
    /// When trying again may be worth while, if too many are.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<InFlight, Duration> {
        let mut state = self.lock();
        if state.limits.in_flight.is_some_and(|limit| state.in_flight >= limit) {
            return Err(ONE_MAY_BE_ANSWERED);
        }
        state.in_flight += 1;
        Ok(InFlight(Arc::clone(self)))
    }

    /// Counts the octets of a message, unless those before it were too many.
    ///
    /// # Errors
    /// How long until they were not.
    pub(crate) fn pass(&self, octets: usize, now: Instant) -> Result<(), Duration> {
        let mut state = self.lock();
        let Some(per_second) = state.limits.octets_per_second else { return Ok(()) };
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let nanos = octets.saturating_mul(1_000_000_000) / per_second.max(1);
        state.octets.owe(Duration::from_nanos(nanos), OCTETS_DEPTH, now)
    }

    /// Whether one more refusal is told, rather than counted.
    pub(crate) fn is_told(&self) -> bool {
        let mut state = self.lock();
        let is_told = state.told < TOLD_PER_SECOND;
        *(if is_told { &mut state.told } else { &mut state.untold }) += 1;
        is_told
    }

    /// How many refusals were not told, and begins a new second.
    fn sum_up(&self) -> u64 {
        let mut state = self.lock();
        state.told = 0;
        std::mem::take(&mut state.untold)
    }

    /// Other limits from now on. What is new begins with a full bucket.
    fn set(&self, limits: PrincipalLimits, now: Instant) {
        let mut state = self.lock();
        if state.limits.requests != limits.requests {
            state.requests = Bucket::full(now);
        }
        if state.limits.octets_per_second != limits.octets_per_second {
            state.octets = Bucket::full(now);
        }
        state.limits = limits;
    }

    fn is_untouched(&self, now: Instant) -> bool {
        let state = self.lock();
        state.requests.is_full(now) && state.octets.is_full(now) && state.untold == 0
    }

    /// Whether some session goes by it.
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.state) > 1
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Quota>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

/// The quotas of everybody who has a session, or had one of late.
#[derive(Debug)]
pub(crate) struct Quotas {
    /// `None` where nobody has limits of their own: then there are no quotas, and nothing is counted.
    table: Option<watch::Receiver<Arc<LimitTable>>>,
    of: Mutex<HashMap<Principal, Quota>>,
}

impl Quotas {
    pub(crate) fn new(table: Option<watch::Receiver<Arc<LimitTable>>>) -> Self {
        Self { table, of: Mutex::default() }
    }

    /// The one quota of a principal, for a session.
    pub(crate) fn of(&self, principal: &Principal) -> Option<Arc<Quota>> {
        self.table.as_ref()?;
        Some(Arc::new(self.with(principal, Quota::share)))
    }

    /// Whether one more refusal of a principal is told, rather than counted: also where nobody has
    /// limits of their own.
    pub(crate) fn is_told(&self, principal: &Principal) -> bool {
        self.with(principal, Quota::is_told)
    }

    fn with<T>(&self, principal: &Principal, then: impl FnOnce(&Quota) -> T) -> T {
        let mut of = self.lock();
        if let Some(quota) = of.get(principal) {
            return then(quota);
        }
        // Looked up under the lock: whoever changes the table takes the lock afterwards.
        let limits = self.table.as_ref().map(|table| table.borrow().of(principal));
        let quota = Quota::new(limits.unwrap_or_default(), Instant::now());
        then(of.entry(principal.clone()).or_insert(quota))
    }

    /// How many sessions a principal may have, where that is said of it.
    pub(crate) fn sessions_of(&self, principal: &Principal) -> Option<usize> {
        self.table.as_ref()?.borrow().of(principal).sessions
    }

    /// For [`Quotas::follow`].
    pub(crate) fn changes(&self) -> Option<watch::Receiver<Arc<LimitTable>>> {
        self.table.clone()
    }

    /// Waits for another table, and gives everybody its limits.
    pub(crate) async fn follow(&self, changes: &mut Option<watch::Receiver<Arc<LimitTable>>>) {
        let Some(table) = changes else { return pending().await };
        if table.changed().await.is_err() {
            // There will be no other.
            return pending().await;
        }
        let (table, now) = (Arc::clone(&table.borrow_and_update()), Instant::now());
        for (principal, quota) in &*self.lock() {
            quota.set(table.of(principal), now);
        }
    }

    /// Puts on record what was refused too often to be told one by one, and forgets whoever is gone
    /// and owes nothing: coming back must not fill a bucket.
    pub(crate) async fn sum_up(&self, log: &EventLog) {
        let now = Instant::now();
        let mut untold = Vec::new();
        self.lock().retain(|principal, quota| {
            untold
                .extend(Some((principal.clone(), quota.sum_up())).filter(|(_, times)| *times > 0));
            quota.is_shared() || !quota.is_untouched(now)
        });
        for (principal, times) in untold {
            let reason = format!("{times} further times within a second");
            let principal = as_json(principal.as_str());
            let (principal, reason) = (Some(&*principal), Some(&*reason));
            // What was refused stays refused if that fails.
            let event = Event { event: "limited", principal, reason, ..Event::default() };
            drop(log.record(&event).await);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, Quota>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
