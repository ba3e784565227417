//! What issuing over the network costs.

use std::time::Duration;

use super::step_ca::StepCa;
use super::{ENROL, ISSUE, Issuance, Line, STEP_CA};
use crate::args::Work;
use crate::findings::table::{optional, spread};
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::micros;
use crate::statistics::quantile;

const METHOD: &str = "Clients keep their connection and ask for one certificate after the other, each durable before it is \
    answered. `issue`: operators call the tool over mutual TLS; `EST`: devices redeem invitations, each with a new key \
    for every certificate. step-ca is what its own `init` makes of it, asked with a one-time token for each.";

/// By the number of clients: ours by step-ca's rate.
const AT_LEAST: [(u32, f64); 2] = [(1, 1.0), (32, 10.0)];

pub(crate) fn findings(issuance: &Issuance) -> Findings {
    let mut findings =
        Findings::new(&Work::Issuance, "Durable certificates over the network", METHOD);
    let rival = StepCa::installed();
    findings.beside.push(rival.map_or_else(
        || "step-ca: not installed, left out".to_owned(),
        |rival| format!("step-ca: {}", rival.version()),
    ));
    let [p50, p99] = [(1, 2), (99, 100)].map(|(part, whole)| issuance.sync(part, whole));
    findings.tables.push(issuance.table(micros(p99)));
    let mut chart =
        Chart::new("issuance", "CPU of a certificate over the network", "µs of server CPU");
    for Line { clients, way } in &issuance.lines {
        let name = match way.name.as_str() {
            STEP_CA => format!("{STEP_CA}, {clients} clients"),
            ours => format!("{ours}, {clients} clients"),
        };
        chart.bars.push(Bar::of(&name, way.cpu()));
    }
    findings.charts.push(chart);
    findings.targets = issuance.targets();
    findings.remarks.push(format!(
        "One sync of this disk, alone: p50 {:.1} ms, p99 {:.1} ms. `in syncs` is p99 by p99.",
        micros(p50) / 1e3,
        micros(p99) / 1e3
    ));
    findings.note_disturbance(issuance.lines.iter().map(|line| &line.way));
    findings
}

impl Issuance {
    fn sync(&self, part: usize, whole: usize) -> Duration {
        quantile(&self.syncs, part, whole)
    }

    fn table(&self, sync: f64) -> Table {
        let heads = [
            "durable certificate",
            "clients",
            "CPU µs",
            "of step-ca's",
            "per s",
            "× step-ca",
            "p50 ms",
            "p99 ms",
            "in syncs",
        ];
        let mut table = Table::new("", heads);
        for line in &self.lines {
            let way = &line.way;
            let rival = self.rival(line);
            let (cpu, rate) = (way.cpu(), way.per_second());
            table.push([
                way.name.clone(),
                line.clients.to_string(),
                spread(cpu),
                optional(rival.map(|rival| cpu.median / rival.way.cpu().median), 2),
                spread(rate),
                optional(rival.map(|rival| rate.median / rival.way.per_second().median), 1),
                optional(Some(way.median().median / 1e3), 1),
                optional(Some(way.p99().median / 1e3), 1),
                optional(Some(way.p99().median / sync), 1),
            ]);
        }
        table
    }

    /// step-ca asked by as many, for a line of ours.
    fn rival(&self, ours: &Line) -> Option<&Line> {
        self.line(STEP_CA, ours.clients).filter(|_| ours.way.name != STEP_CA)
    }

    fn line(&self, way: &str, clients: u32) -> Option<&Line> {
        self.lines.iter().find(|line| line.way.name == way && line.clients == clients)
    }

    fn targets(&self) -> Vec<Target> {
        let rate = |line: &Line| line.way.per_second().median;
        let beside = AT_LEAST.into_iter().filter_map(|(clients, least)| {
            let ours = self.line(ISSUE, clients)?;
            let ratio = rate(ours) / rate(self.rival(ours)?);
            let what = format!("durable certificates a second by {clients}, by step-ca's");
            Some(Target::at_least(what, ratio, "×", least))
        });
        let grows = [ISSUE, ENROL].into_iter().filter_map(|way| {
            let ratio = rate(self.line(way, 256)?) / rate(self.line(way, 32)?);
            let what = format!("durable certificates a second by 256, by those of 32: {way}");
            Some(Target::at_least(what, ratio, "×", 1.0))
        });
        beside.chain(grows).collect()
    }
}
