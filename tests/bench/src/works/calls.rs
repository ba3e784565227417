//! One `tools/call` of 200 octets after the other, on one session and on many.

use anyhow::Result;

use super::{FLOOR, Gate, INSIDE, TCP, call_in_turns, everybody, named};
use crate::args::{How, Work};
use crate::crowd::Tool;
use crate::findings::table::{optional, spread};
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::Way;
use crate::world::World;

const METHOD: &str = "Each session sends a call of 200 octets and sends the next when it has the answer. \
    Ours judges and records every call; the floor and the peers look at nothing. With one session a server wakes up \
    for every call; with 64 it is never idle, and answers several when it wakes.";

/// Sessions, and the most that a call may cost in µs.
const CROWDS: [(usize, f64); 2] = [(1, 21.0), (64, 11.0)];

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    let mut findings = Findings::new(&Work::Calls, "Calls of 200 octets, CPU", METHOD);
    let gates = everybody(world, &mut findings)?;
    for (sessions, most) in CROWDS {
        one_crowd(&gates, sessions, most, how, &mut findings)?;
    }
    Ok(findings)
}

fn one_crowd(
    gates: &[Gate],
    sessions: usize,
    most: f64,
    how: &How,
    findings: &mut Findings,
) -> Result<()> {
    let ways = call_in_turns(gates, sessions, Tool::Echo, how)?;
    let of = if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") };
    findings.tables.push(table(&ways, &of));
    let title = format!("CPU of a call, {of}");
    let mut chart = Chart::new(&format!("calls-{sessions}"), &title, "µs of server CPU per call");
    chart.bars = ways.iter().map(|way| Bar::of(&way.name, way.cpu())).collect();
    chart.target = Some(most);
    findings.charts.push(chart);
    for (name, where_it_is) in [(INSIDE, "in its process"), (TCP, "on TCP")] {
        if let Some(way) = named(&ways, name) {
            let what = format!("CPU of a call, {of}, server {where_it_is}");
            findings.targets.push(Target::at_most(what, way.cpu().median, "µs", most));
        }
    }
    findings.note_disturbance(&ways);
    Ok(())
}

fn table(ways: &[Way], of: &str) -> Table {
    let heads = ["way", "CPU µs/call", "× floor", "p50 µs", "p99 µs", "calls/s"];
    let mut table = Table::new(of, heads);
    let floor = named(ways, FLOOR).map(|way| way.cpu().median);
    for way in ways {
        table.push([
            way.name.clone(),
            spread(way.cpu()),
            optional(floor.map(|floor| way.cpu().median / floor), 2),
            optional(Some(way.median().median), 0),
            optional(Some(way.p99().median), 0),
            optional(Some(way.per_second().median), 0),
        ]);
    }
    table
}
