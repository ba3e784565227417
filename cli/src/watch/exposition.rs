//! The metrics as OpenMetrics 1.0 text, which is what Prometheus and its relatives read.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use rustls_pki_types::UnixTime;
use vouchsafe_certs::{CaCertificate, RevocationList};
use vouchsafe_transport::Live;

use super::counters::Counters;
use super::metrics::{Judged, Metrics};
use super::standing::{Standing, in_force};

/// What a scrape shows. The library writes; the numbers are ours, so that counting takes no lock.
pub(super) struct Exposition {
    pub(super) metrics: Arc<Metrics>,
    pub(super) live: Arc<Live>,
    pub(super) standing: Arc<Standing>,
    /// What became of alerts, where there are any.
    pub(super) alerts: Option<Arc<Counters>>,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

impl Exposition {
    pub(super) fn into_registry(self) -> Registry {
        let mut registry = Registry::with_prefix("vouchsafe");
        registry.register_collector(Box::new(self));
        registry
    }
}

/// Everything that a registry holds, as text.
pub(super) fn to_text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut written = String::new();
    text::encode(&mut written, registry)?;
    Ok(written)
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.build(&mut page)?;
        self.sessions(&mut page)?;
        self.requests(&mut page)?;
        self.answers(&mut page)?;
        self.alerts(&mut page)?;
        self.validity(&mut page)
    }
}

impl Exposition {
    fn build(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut info = page.family("build", "The program", None, MetricType::Info)?;
        info.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    fn sessions(&self, page: &mut Page<'_>) -> fmt::Result {
        let live = &self.live;
        let Metrics { handshakes, opened, cut, closed, junk, .. } = &*self.metrics;
        let words = [
            ("handshakes", "TLS handshakes by outcome", "outcome", handshakes),
            ("sessions_cut", "Sessions that lost trust or place, by reason", "reason", cut),
            ("sessions_closed", "Sessions that ended otherwise, by reason", "reason", closed),
        ];
        for (name, help, label, counters) in words {
            let counted = counters.iter().map(|(word, count)| ([(label, word)], count));
            page.counters(name, help, counted)?;
        }
        page.counter("sessions_opened", "Sessions opened", None, opened.get())?;
        let open = u64::try_from(live.open()).unwrap_or(u64::MAX);
        page.gauge("sessions_open", "Sessions at present", open)?;
        page.gauge("children", "Child processes at present", live.children())?;
        let traffic = live.traffic();
        let bytes = Some(&Unit::Bytes);
        page.counter("received", "Octets from clients, inside of TLS", bytes, traffic.received)?;
        page.counter("sent", "Octets to clients, inside of TLS", bytes, traffic.sent)?;
        let help = "Lines of servers that were no messages, of sessions that are over";
        page.counter("junk_lines", help, None, junk.get())
    }

    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let of = |from, method, Judged { allowed, denied }: &Judged| {
            let labels = |decision| [("from", from), ("method", method), ("decision", decision)];
            [(labels("allowed"), allowed.get()), (labels("denied"), denied.get())]
        };
        let requests = self.metrics.requests();
        let judged = requests.iter().flat_map(|(method, requests)| {
            let of_clients = of("client", *method, &requests.of_clients);
            of_clients.into_iter().chain(of("server", *method, &requests.of_servers))
        });
        page.counters("calls", "Requests by who made them, method and decision", judged)?;
        let denied = self.metrics.denied.iter().map(|(word, count)| ([("reason", word)], count));
        page.counters("denials", "Messages denied, by reason", denied)
    }

    fn answers(&self, page: &mut Page<'_>) -> fmt::Result {
        let requests = self.metrics.requests();
        let answered = requests.iter().flat_map(|(method, requests)| {
            let labels = |outcome| [("method", *method), ("outcome", outcome)];
            // In this order: an answer that comes between the two looks is a result.
            let (errors, all) = (requests.errors.get(), requests.latency.count());
            [(labels("result"), all.saturating_sub(errors)), (labels("error"), errors)]
        });
        page.counters("answers", "Answers to clients by method and outcome", answered)?;
        let help = "From forwarding a client's request to its answer";
        let seconds = Some(&Unit::Seconds);
        let mut family = page.family("answer_duration", help, seconds, MetricType::Histogram)?;
        for (method, requests) in requests {
            let buckets = requests.latency.buckets();
            let count = buckets.iter().map(|(_, count)| *count).sum();
            // A method that nobody has used would be sixteen lines of nothing.
            if count > 0 {
                let sum = requests.latency.sum();
                let labels = [("method", method)];
                let mut one = family.encode_family(&labels)?;
                one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            }
        }
        Ok(())
    }

    fn alerts(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(outcomes) = &self.alerts else { return Ok(()) };
        let counted = outcomes.iter().map(|(word, count)| ([("outcome", word)], count));
        page.counters("alerts", "Alerts by what became of them", counted)
    }

    /// Nothing where the clock cannot be read: there is no telling.
    fn validity(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(now) = self.standing.now() else { return Ok(()) };
        let own = self.standing.identity.borrow().certificate.not_after;
        let seconds = Some(&Unit::Seconds);
        let help = "Until its own certificate expires; negative afterwards";
        let mut certificate =
            page.family("certificate_remaining", help, seconds, MetricType::Gauge)?;
        certificate.encode_gauge(&seconds_from(now, own))?;
        let lists = Arc::clone(&self.standing.lists.borrow());
        let gauges: [(_, _, _, OfList); 3] = [
            ("revocation_list_age", "Since the list was made", seconds, |list, now| {
                seconds_from(list.this_update, now)
            }),
            (
                "revocation_list_remaining",
                "Until the list goes stale; negative afterwards",
                seconds,
                |list, now| seconds_from(now, list.next_update),
            ),
            ("revocation_list_entries", "Certificates that the list names", None, |list, _| {
                i64::try_from(list.serials().len()).unwrap_or(i64::MAX)
            }),
        ];
        for (name, help, unit, value) in gauges {
            let mut family = page.family(name, help, unit, MetricType::Gauge)?;
            for (ca, list) in in_force(&lists, now) {
                family.encode_family(&Issuer(ca))?.encode_gauge(&value(list, now))?;
            }
        }
        Ok(())
    }
}

type OfList = fn(&RevocationList, UnixTime) -> i64;

/// A CA by its certificate's serial number, as the notices name it.
struct Issuer<'a>(&'a CaCertificate);

impl EncodeLabelSet for Issuer<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("issuer", self.0.serial.to_string())].encode(encoder)
    }
}

fn seconds_from(from: UnixTime, to: UnixTime) -> i64 {
    let signed = |at: UnixTime| i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    signed(to).saturating_sub(signed(from))
}

/// A page that is being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        of: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, of)
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, count: u64) -> fmt::Result {
        let mut family = self.family(name, help, unit, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl Iterator<Item = ([(&'static str, &'static str); N], u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, None, MetricType::Counter)?;
        for (labels, count) in counts {
            let mut one = family.encode_family(&labels)?;
            one.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.family(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }
}
