//! Results of one mebioctet: what an octet costs on its way to the client.

use anyhow::Result;

use super::{FLOOR, INSIDE, TCP, call_in_turns, everybody, named};
use crate::args::{How, Work};
use crate::crowd::Tool;
use crate::findings::table::optional;
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::Way;
use crate::statistics::Spread;
use crate::world::World;

const METHOD: &str = "Four sessions call a tool whose result is one line of 1 MiB. Every octet is counted once. Ours \
    reads the JSON of every result strictly before it forwards it.";

const SESSIONS: usize = 4;

/// ns of CPU for each octet.
const MOST: f64 = 1.5;

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    let mut findings = Findings::new(&Work::Bulk, "Results of 1 MiB, CPU", METHOD);
    let gates = everybody(world, &mut findings)?;
    let ways = call_in_turns(&gates, SESSIONS, Tool::Report, how)?;
    let mut table = Table::new("", ["way", "CPU ns/octet", "× floor", "MB/s"]);
    let mut chart = Chart::new("bulk", "CPU of one octet of a large result", "ns of server CPU");
    let floor = named(&ways, FLOOR).map(|way| each(way).median);
    for way in &ways {
        let Spread { median, least, most } = each(way);
        let megabytes = way.per_second().median * len() / 1e6;
        table.push([
            way.name.clone(),
            format!("{median:.2} [{least:.2}-{most:.2}]"),
            optional(floor.map(|floor| median / floor), 2),
            format!("{megabytes:.0}"),
        ]);
        chart.bars.push(Bar::of(&way.name, each(way)));
    }
    chart.target = Some(MOST);
    for (name, where_it_is) in [(INSIDE, "in its process"), (TCP, "on TCP")] {
        if let Some(way) = named(&ways, name) {
            let what = format!("CPU of an octet of a large result, server {where_it_is}");
            findings.targets.push(Target::at_most(what, each(way).median, "ns", MOST));
        }
    }
    findings.tables.push(table);
    findings.charts.push(chart);
    findings.note_disturbance(&ways);
    Ok(findings)
}

/// ns of CPU for each octet.
fn each(way: &Way) -> Spread {
    way.cpu_per(len() / 1e3)
}

fn len() -> f64 {
    f64::from(u32::try_from(Tool::Report.answer_len()).unwrap_or(u32::MAX))
}
