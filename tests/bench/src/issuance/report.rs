//! What issuing over the network costs, as a table or as JSON.

use std::time::Duration;

use serde_json::json;

use super::step_ca::StepCa;
use super::{Issuance, Line, STEP_CA};
use crate::args::Arguments;
use crate::measurement::micros;
use crate::report::{conditions, disturbed, optional, row, say, spread, table, way_to_json};
use crate::statistics::quantile;
use crate::world::World;

const HEADS: [&str; 9] = [
    "durable certificate",
    "clients",
    "CPU us",
    "of step-ca's",
    "per s",
    "x step-ca",
    "p50 ms",
    "p99 ms",
    "in syncs",
];

pub(crate) fn print(issuance: &Issuance, world: &World, arguments: &Arguments) {
    let rival = StepCa::installed();
    let rival = rival.map_or_else(
        || "step-ca is not installed: there is nothing to compare with".to_owned(),
        |rival| rival.version(),
    );
    let conditions = conditions(world, arguments, &rival);
    let [p50, p99] = [(1, 2), (99, 100)].map(|(part, whole)| issuance.sync(part, whole));
    if arguments.json {
        let line = |line: &Line| {
            let mut figures = way_to_json(&line.way);
            if let Some(figures) = figures.as_object_mut() {
                figures.insert("clients".into(), line.clients.into());
            }
            figures
        };
        let lines: Vec<_> = issuance.lines.iter().map(line).collect();
        let sync = json!({ "p50_us": micros(p50), "p99_us": micros(p99) });
        return say(
            &json!({ "conditions": conditions, "sync": sync, "issuance": lines }).to_string()
        );
    }
    say(&format!("{conditions}\n\n{}", table(&issuance.rows(micros(p99)))));
    say(&format!(
        "\nOne sync of this disk, alone: p50 {:.1} ms, p99 {:.1} ms. `in syncs` is p99 by p99.",
        micros(p50) / 1e3,
        micros(p99) / 1e3
    ));
    disturbed(issuance.lines.iter().map(|line| &line.way));
}

impl Issuance {
    fn sync(&self, part: usize, whole: usize) -> Duration {
        quantile(&self.syncs, part, whole)
    }

    fn rows(&self, sync: f64) -> Vec<Vec<String>> {
        let rows = self.lines.iter().map(|line| {
            let way = &line.way;
            let rival = self.rival(line);
            let (cpu, rate) = (way.cpu(), way.per_second());
            vec![
                way.name.to_owned(),
                line.clients.to_string(),
                spread(cpu),
                optional(rival.map(|rival| cpu.median / rival.way.cpu().median), 2),
                spread(rate),
                optional(rival.map(|rival| rate.median / rival.way.per_second().median), 1),
                optional(Some(way.median().median / 1e3), 1),
                optional(Some(way.p99().median / 1e3), 1),
                optional(Some(way.p99().median / sync), 1),
            ]
        });
        [row(HEADS.iter())].into_iter().chain(rows).collect()
    }

    /// step-ca asked by as many, for a line of ours.
    fn rival(&self, ours: &Line) -> Option<&Line> {
        let same = |line: &&Line| line.way.name == STEP_CA && line.clients == ours.clients;
        self.lines.iter().find(same).filter(|_| ours.way.name != STEP_CA)
    }
}
