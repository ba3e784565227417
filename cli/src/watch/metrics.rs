//! What a gateway counts while it serves.
//!
//! Labels are words of closed sets: methods of MCP, causes of ours. A principal is none of them: there
//! may be any number, a series for each would cost the one who collects them, and who did what is for
//! the audit to say, which fewer people read than a dashboard.

use std::collections::HashMap;

use vouchsafe_transport::{Event, causes, known_methods};

use super::counters::{Counter, Counters, Histogram};

/// Requests of one method.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Made by clients.
    pub(super) of_clients: Judged,
    /// Made by servers.
    pub(super) of_servers: Judged,
    /// Answers that were errors. All others were results.
    pub(super) errors: Counter,
    /// From forwarding a request to its answer; as many as there were answers.
    pub(super) latency: Histogram,
}

/// How requests were decided on.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) allowed: Counter,
    pub(super) denied: Counter,
}

/// What has happened since the gateway was started.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Handshakes, by what became of them.
    pub(super) handshakes: Counters,
    /// Sessions, those behind requests of HTTP included.
    pub(super) opened: Counter,
    pub(super) cut: Counters,
    pub(super) closed: Counters,
    pub(super) denied: Counters,
    /// Of each method that MCP knows.
    requests: HashMap<&'static str, Requests>,
    /// Of all others, which are whatever a peer made up.
    other: Requests,
    pub(super) junk: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            opened: Counter::default(),
            handshakes: Counters::of(
                ["accepted"].into_iter().chain(causes::REFUSED).chain(causes::CUT),
            ),
            cut: Counters::of(causes::CUT),
            closed: Counters::of(causes::CLOSED),
            denied: Counters::of(causes::DENIED),
            requests: known_methods().map(|method| (method, Requests::default())).collect(),
            other: Requests::default(),
            junk: Counter::default(),
        }
    }
}

impl Metrics {
    /// Takes in one event. A call costs two lookups in a table that never changes and three additions.
    pub(super) fn see(&self, event: &Event<'_>) {
        match event.event {
            "allowed" => self.judged(event).allowed.add(1),
            "answered" => self.answered(event),
            // A sum of those that were heard of one by one has no cause.
            "denied" | "limited" if event.cause.is_some() => {
                self.judged(event).denied.add(1);
                self.denied.count(event.cause.unwrap_or_default());
            }
            "opened" => {
                self.opened.add(1);
                if event.cause != Some(causes::BEHIND_HTTP) {
                    self.handshakes.count("accepted");
                }
            }
            // What HTTP refuses has no cause: it is no handshake.
            "refused" => event.cause.into_iter().for_each(|cause| self.handshakes.count(cause)),
            "cut" => self.ended(&self.cut, event),
            "closed" => self.ended(&self.closed, event),
            _ => {}
        }
    }

    fn ended(&self, how: &Counters, event: &Event<'_>) {
        how.count(event.cause.unwrap_or_default());
        self.junk.add(event.junk.unwrap_or_default());
    }

    fn judged(&self, event: &Event<'_>) -> &Judged {
        let requests = self.requests_of(event);
        if event.from == Some("server") { &requests.of_servers } else { &requests.of_clients }
    }

    fn answered(&self, event: &Event<'_>) {
        let requests = self.requests_of(event);
        if event.error == Some(true) {
            requests.errors.add(1);
        }
        requests.latency.observe(event.latency_us.unwrap_or(u64::MAX / 2));
    }

    fn requests_of(&self, event: &Event<'_>) -> &Requests {
        event.method.and_then(|method| self.requests.get(method)).unwrap_or(&self.other)
    }

    /// The requests of each method, in the order of their names.
    pub(super) fn requests(&self) -> Vec<(&'static str, &Requests)> {
        let mut all: Vec<_> = self.requests.iter().map(|(method, of)| (*method, of)).collect();
        all.sort_unstable_by_key(|(method, _)| *method);
        all.push(("other", &self.other));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &'static str, method: &'static str) -> Event<'static> {
        let mut made = Event::default();
        (made.event, made.method, made.from) = (event, Some(method), Some("client"));
        made
    }

    #[test]
    fn a_method_that_a_peer_made_up_is_no_label() {
        let metrics = Metrics::default();
        for method in ["tools/call", "x\"} 1\nvouchsafe_fake 7", "tools/CALL", "tools/call"] {
            let mut denied = event("denied", method);
            denied.cause = Some("not_permitted");
            metrics.see(&denied);
        }
        // How many more there were, of which each was heard of by itself.
        metrics.see(&event("limited", ""));
        let denied: Vec<_> = metrics
            .requests()
            .into_iter()
            .map(|(method, requests)| (method, requests.of_clients.denied.get()))
            .filter(|(_, denied)| *denied > 0)
            .collect();
        assert_eq!(denied, [("tools/call", 2), ("other", 2)]);
    }

    #[test]
    fn a_handshake_is_counted_once_whatever_becomes_of_it() {
        let metrics = Metrics::default();
        let mut refused = event("refused", "");
        refused.cause = Some("revoked");
        // The last one is a request over HTTP.
        for event in [&event("opened", ""), &refused, &event("refused", "")] {
            metrics.see(event);
        }
        let counted: Vec<_> = metrics.handshakes.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("accepted", 1), ("revoked", 1)]);
    }
}
