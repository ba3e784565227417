//! What was refused, on the record. Strangers cause it and must not fill the audit: beyond some a
//! second, refusals are counted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{Event, EventLog};

/// Told one by one within a second.
const TOLD_PER_SECOND: u64 = 100;

/// Why a request was refused, for the audit alone.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a reason and nothing else")]
pub struct Refused(pub String);

/// The refusals of one listener.
pub(crate) struct Refusals {
    log: Arc<EventLog>,
    within: Mutex<Within>,
}

/// Those of the present second.
#[derive(Default)]
struct Within {
    told: u64,
    untold: u64,
}

impl Refusals {
    pub(crate) fn new(log: Arc<EventLog>) -> Self {
        Self { log, within: Mutex::default() }
    }

    /// Puts one on record, or counts it. What was refused stays refused if that fails.
    pub(crate) async fn tell(&self, address: SocketAddr, reason: &str) {
        {
            let mut within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
            if within.told >= TOLD_PER_SECOND {
                within.untold += 1;
                return;
            }
            within.told += 1;
        }
        let address = Some(address);
        let event = Event { event: "refused", address, reason: Some(reason), ..Event::default() };
        drop(self.log.record(event).await);
    }

    /// Puts on record how many were not told one by one, and begins a new second.
    pub(crate) async fn sum_up(&self) {
        let Within { untold, .. } = {
            let mut within = self.within.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *within)
        };
        if untold > 0 {
            let reason = format!("{untold} further times within a second");
            let event = Event { event: "refused", reason: Some(&reason), ..Event::default() };
            drop(self.log.record(event).await);
        }
    }
}
