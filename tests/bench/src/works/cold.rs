//! Size of the binary, and how long `vouchsafe inspect` takes from its start to its end.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};
use rustix::fs::{Advice, fadvise};

use crate::args::{How, Work};
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::micros;
use crate::processes::{children_cpu, pin};
use crate::statistics::Spread;
use crate::world::World;

const METHOD: &str = "`vouchsafe inspect DIR` is run again and again, from the start of the process to its end, as a script \
    would: with the binary in the page cache, and after the kernel was told to drop the binary from it, so that every \
    page that is needed comes from the disk.";

/// Runs of a round.
const RUNS: u32 = 50;

/// ms.
const MOST: f64 = 10.0;

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    pin(world.cores.client)?;
    let (mut warm, mut cold, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    inspect(world)?;
    for _ in 0..how.rounds() {
        let before = children_cpu();
        for _ in 0..RUNS {
            warm.push(inspect(world)?);
        }
        cpu.push((children_cpu() - before).as_secs_f64() * 1e3 / f64::from(RUNS));
        for _ in 0..RUNS {
            // Only pages that nobody uses are dropped; no `vouchsafe` runs here meanwhile.
            fadvise(File::open(&world.vouchsafe)?, 0, None, Advice::DontNeed)?;
            cold.push(inspect(world)?);
        }
    }
    Ok(findings(world, Spread::of(warm), Spread::of(cold), Spread::of(cpu)))
}

/// ms.
fn inspect(world: &World) -> Result<f64> {
    let mut command = world.command();
    command.arg("inspect").arg(world.path("agent"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    ensure!(status.success(), "`vouchsafe inspect` failed");
    Ok(micros(begun.elapsed()) / 1e3)
}

fn findings(world: &World, warm: Spread, cold: Spread, cpu: Spread) -> Findings {
    let mut findings = Findings::new(&Work::Cold, "Starting `vouchsafe inspect`", METHOD);
    let mut table = Table::new("", ["from start to end", "ms"]);
    let mut chart = Chart::new("cold", "`vouchsafe inspect`, from start to end", "ms");
    for (name, figure) in
        [("binary in the page cache", warm), ("binary on disk", cold), ("CPU", cpu)]
    {
        table.push([
            name.to_owned(),
            format!("{:.2} [{:.2}-{:.2}]", figure.median, figure.least, figure.most),
        ]);
        chart.bars.push(Bar::of(&format!("vouchsafe inspect, {name}"), figure));
    }
    chart.target = Some(MOST);
    findings.targets = vec![
        Target::at_most("`vouchsafe inspect`, binary in the page cache", warm.median, "ms", MOST),
        Target::at_most("`vouchsafe inspect`, binary on disk", cold.median, "ms", MOST),
    ];
    let octets = fs::metadata(&world.vouchsafe).map(|file| file.len()).unwrap_or_default();
    let mebioctets = f64::from(u32::try_from(octets / 1024).unwrap_or(u32::MAX)) / 1024.0;
    findings.remarks.push(format!("The binary has {mebioctets:.1} MiB."));
    findings.tables.push(table);
    findings.charts.push(chart);
    findings
}
