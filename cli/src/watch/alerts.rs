//! Telling somebody elsewhere of what cannot wait for a look at the dashboard.
//!
//! Whatever happens is judged where it happens, in a moment, and put in a short queue; where that is
//! full, an alert is lost and counted. So however long a receiver takes, nobody here waits for it.

mod args;
mod bursts;
mod delivery;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, interval};
use vouchsafe_transport::Event;

pub(crate) use self::args::AlertArgs;
use self::bursts::Bursts;
use self::webhook::Webhook;
use super::counters::Counters;
use super::standing::Standing;
use crate::json::Moment;

/// Alerts that wait to be delivered.
const WAITING: usize = 64;

/// How often lists and certificate are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A session was cut, for its client is revoked.
    SessionCut,
    /// Many messages of one principal were denied.
    Denials,
    /// Many handshakes came to nothing.
    RefusedHandshakes,
    /// A revocation list should have been signed anew by now.
    ListEnding,
    /// A revocation list is stale, missing or unreadable.
    ListLost,
    /// The own certificate should have been renewed by now.
    CertificateEnding,
    /// The own certificate does not serve any more.
    CertificateLost,
    /// At the CA: a certificate, a device or a CA was revoked.
    Revoked,
    /// At the CA: a key was stolen, or copied, and its lineage revoked.
    LineageRevoked,
}

impl Kind {
    /// What an event of the gateway counts as, where it counts.
    fn of(event: &Event<'_>) -> Option<Self> {
        match (event.event, event.cause?) {
            // What its server says is not the principal's doing: it may come after an honest cancellation.
            ("denied" | "limited", _) if event.from == Some("server") => None,
            ("denied" | "limited", _) => Some(Self::Denials),
            ("cut", "revoked") => Some(Self::SessionCut),
            ("refused", _) => Some(Self::RefusedHandshakes),
            _ => None,
        }
    }
}

/// What a receiver is told. The names in it are those of the audit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Alert {
    pub(crate) kind: Kind,
    pub(crate) at: Option<Moment>,
    /// The principal that tells.
    pub(crate) gateway: String,
    /// Whom it is about.
    pub(crate) principal: Option<String>,
    /// Which certificate it is about.
    pub(crate) serial: Option<String>,
    pub(crate) reason: String,
    /// How many times, within the window.
    pub(crate) count: Option<u64>,
    /// All that as a sentence, which is what chats show.
    pub(crate) text: String,
}

/// How many times within which time are too many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thresholds {
    pub(super) denials: u64,
    pub(super) handshakes: u64,
    pub(super) window: Duration,
}

/// Where alerts are raised.
pub(crate) struct Alarm {
    queue: Sender<Alert>,
    bursts: Mutex<[Bursts; 3]>,
    standing: Arc<Standing>,
    /// What became of alerts: `delivered`, `failed` or `dropped`.
    pub(super) outcomes: Arc<Counters>,
}

/// Alerts on their way out.
pub(crate) struct Outgoing {
    queue: Receiver<Alert>,
    webhook: Webhook,
    outcomes: Arc<Counters>,
    /// Whether the last attempt was in vain.
    is_failing: bool,
}

impl Alarm {
    fn new(
        webhook: Webhook,
        thresholds: Thresholds,
        standing: Arc<Standing>,
    ) -> (Arc<Self>, Outgoing) {
        let (sender, queue) = mpsc::channel(WAITING);
        let outcomes = Arc::new(Counters::of(["delivered", "failed", "dropped"]));
        let Thresholds { denials, handshakes, window } = thresholds;
        // The first cut is one too many.
        let bursts = [denials, handshakes, 1].map(|threshold| Bursts::new(threshold, window));
        let bursts = Mutex::new(bursts);
        let alarm = Self { queue: sender, bursts, standing, outcomes: Arc::clone(&outcomes) };
        (Arc::new(alarm), Outgoing { queue, webhook, outcomes, is_failing: false })
    }

    /// Takes in one event of the gateway. What is allowed costs two comparisons.
    pub(super) fn see(&self, event: &Event<'_>) {
        let Some(kind) = Kind::of(event) else { return };
        let whose = event.principal.filter(|_| kind != Kind::RefusedHandshakes);
        let principal = whose.and_then(|json| serde_json::from_str::<String>(json.get()).ok());
        let Some(count) = self.is_one_too_many(kind, principal.as_deref().unwrap_or_default())
        else {
            return;
        };
        let serial = event.serial.and_then(|json| serde_json::from_str::<String>(json.get()).ok());
        let reason = event.cause.unwrap_or_default().to_owned();
        let whom = principal.as_deref().unwrap_or("a principal");
        let text = match kind {
            Kind::Denials => {
                format!("{count} messages of {whom} were denied, the last one: {reason}")
            }
            Kind::RefusedHandshakes => {
                format!("{count} handshakes were refused, the last one: {reason}")
            }
            _ => format!("a session of {whom} was cut: the certificate is revoked"),
        };
        let count = (kind != Kind::SessionCut).then_some(count);
        self.raise(kind, (principal, serial), reason, count, text);
    }

    fn is_one_too_many(&self, kind: Kind, whose: &str) -> Option<u64> {
        let mut bursts = self.bursts.lock().unwrap_or_else(PoisonError::into_inner);
        let [denials, handshakes, cuts] = &mut *bursts;
        let bursts = match kind {
            Kind::Denials => denials,
            Kind::RefusedHandshakes => handshakes,
            _ => cuts,
        };
        bursts.count(whose, Instant::now())
    }

    /// Tells of something, unless too much waits to be told already.
    pub(crate) fn raise(
        &self,
        kind: Kind,
        (principal, serial): (Option<String>, Option<String>),
        reason: String,
        count: Option<u64>,
        text: String,
    ) {
        let gateway = self.standing.identity.borrow().certificate.principal.to_string();
        let text = format!("{gateway}: {text}");
        let at = self.standing.now().map(Moment);
        let alert = Alert { kind, at, gateway, principal, serial, reason, count, text };
        if self.queue.try_send(alert).is_err() {
            self.outcomes.count("dropped");
        }
    }

    /// Tells of lists and certificates, once each, when they come near to their end and when they reach it.
    pub(super) async fn look(self: Arc<Self>) {
        let mut look = interval(LOOK);
        let mut known = Vec::new();
        loop {
            look.tick().await;
            let concerns = self.standing.concerns();
            for (kind, words) in concerns.iter().filter(|concern| !known.contains(*concern)) {
                self.raise(*kind, (None, None), words.clone(), None, words.clone());
            }
            known = concerns;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_not_its_client_s_doing() {
        let mut event = Event::default();
        (event.event, event.cause, event.from) = ("denied", Some("not_own"), Some("client"));
        assert_eq!(Kind::of(&event), Some(Kind::Denials));
        event.from = Some("server");
        assert_eq!(Kind::of(&event), None);
    }

    #[test]
    fn the_kinds_are_words() {
        let words = serde_json::to_string(&[Kind::SessionCut, Kind::LineageRevoked]).unwrap();
        assert_eq!(words, r#"["session_cut","lineage_revoked"]"#);
    }
}
