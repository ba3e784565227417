//! Loading a long revocation list.

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::Result;

use crate::args::{How, Work};
use crate::findings::table::spread;
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::micros;
use crate::processes::pin;
use crate::server::{Behind, Server};
use crate::statistics::Spread;
use crate::world::World;

const METHOD: &str = "`vouchsafe serve` is started with the list that revokes nobody and with a long one, in turns: from the \
    start of the process until it listens, and what it has allocated two seconds later. The differences are what \
    the list costs: reading PEM and DER, verifying the signature over all of it, keeping the serial numbers.";

/// Until what was needed while loading is given back.
const SETTLE: Duration = Duration::from_secs(2);

/// Seconds, and MB.
const MOST: (f64, f64) = (1.0, 64.0);

/// One start.
struct Start {
    seconds: f64,
    /// MB allocated when it has settled, and the most there ever was.
    kept: f64,
    peak: f64,
}

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    pin(world.cores.client)?;
    let octets = fs::metadata(world.list(how.revoked)?)?.len();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..how.rounds() {
        without.push(start(world, 0)?);
        with.push(start(world, how.revoked)?);
    }
    Ok(findings(how.revoked, octets, &without, &with))
}

fn start(world: &World, revoked: u32) -> Result<Start> {
    let list = world.list(revoked)?;
    // Whether the file is in the page cache is not what is measured.
    drop(fs::read(list)?);
    let begun = Instant::now();
    let server = Server::vouchsafe(world, Behind::Shared, revoked)?;
    let seconds = begun.elapsed().as_secs_f64();
    thread::sleep(SETTLE);
    let memory = server.process.memory()?;
    let megabytes = |kib: f64| kib * 1024.0 / 1e6;
    Ok(Start { seconds, kept: megabytes(memory.private), peak: megabytes(memory.peak) })
}

fn findings(revoked: u32, octets: u64, without: &[Start], with: &[Start]) -> Findings {
    let title = format!("Loading a list that revokes {revoked}");
    let mut findings = Findings::new(&Work::Lists, &title, METHOD);
    let mut table = Table::new("", ["list", "start, ms", "MB allocated", "MB at most"]);
    let of = |starts: &[Start], figure: fn(&Start) -> f64| Spread::of(starts.iter().map(figure));
    let mut chart = Chart::new("lists", &title, "ms until `vouchsafe serve` listens");
    for (name, starts) in [("revokes nobody", without), ("long", with)] {
        let start = of(starts, |start| start.seconds * 1e3);
        table.push([
            name.to_owned(),
            spread(start),
            spread(of(starts, |start| start.kept)),
            spread(of(starts, |start| start.peak)),
        ]);
        chart.bars.push(Bar::of(&format!("vouchsafe serve, list {name}"), start));
    }
    let more = |figure: fn(&Start) -> f64| of(with, figure).median - of(without, figure).median;
    let what = |what: &str| format!("{what} a list that revokes {revoked}");
    findings.targets = vec![
        Target::at_most(what("loading"), more(|start| start.seconds), "s", MOST.0),
        Target::at_most(what("memory kept for"), more(|start| start.kept), "MB", MOST.1),
    ];
    findings.tables.push(table);
    findings.charts.push(chart);
    let megabytes = micros(Duration::from_nanos(octets)) / 1e3;
    findings.remarks.push(format!("The long list has {megabytes:.1} MB as PEM."));
    findings
}
