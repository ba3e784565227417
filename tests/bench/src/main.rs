//! What Vouchsafe costs, beside bare rustls and beside its peers, in one run on one machine.
//!
//! The figure to compare is the CPU time of the server's processes per operation. Wall-clock figures are printed
//! too, but another process on the same machine changes them more than the program under test does.

mod answer;
mod args;
mod client;
mod counting_store;
mod crowd;
mod disk;
mod findings;
mod issuance;
mod limits;
mod long_list;
mod machine;
mod measurement;
mod peers;
mod processes;
mod results;
mod roles;
mod server;
mod statistics;
mod works;
mod world;

use anyhow::{Result, ensure};
use clap::Parser as _;

use crate::args::{Arguments, How, Work};
use crate::works::{ALL, Measure};
use crate::world::World;

fn main() -> Result<()> {
    let Arguments { work, how } = Arguments::parse();
    match work.unwrap_or(Work::All) {
        Work::Child => roles::child::run(),
        Work::Backend => roles::backend::run(),
        Work::Floor { identity } => roles::floor::run(&identity),
        Work::Inside { identity, list, audit, sessions } => {
            roles::inside::run(&identity, &list, &audit, sessions)
        }
        Work::Report { figures, to } => results::write(&figures, to.as_deref().unwrap_or(&figures)),
        Work::All => all(&how),
        work => one(&work, &how),
    }
}

fn one(work: &Work, how: &How) -> Result<()> {
    let same = |known: &Work| std::mem::discriminant(known) == std::mem::discriminant(work);
    for (_, measure) in ALL.into_iter().filter(|(known, _)| same(known)) {
        perform(work, measure, how)?;
    }
    Ok(())
}

/// A work that fails is told, and keeps no other from being done.
fn all(how: &How) -> Result<()> {
    let mut failed = Vec::new();
    for (work, measure) in ALL {
        if let Err(error) = perform(&work, measure, how) {
            tell(&format!("{work:?} failed: {error:#}"));
            failed.push(format!("{work:?}"));
        }
    }
    ensure!(failed.is_empty(), "not everything was measured: {} failed", failed.join(", "));
    Ok(())
}

/// In a world of its own, so that no work finds what another has left.
fn perform(work: &Work, measure: Measure, how: &How) -> Result<()> {
    limits::open_as_many_files_as_allowed();
    let begun = std::time::Instant::now();
    tell(&format!("{work:?} …"));
    let findings = measure(&World::new()?, how)?;
    tell(&format!("{work:?}: {:.0} s", begun.elapsed().as_secs_f64()));
    if let Some(folder) = &how.out {
        results::keep(&findings, how, folder)?;
    }
    say(&if how.json { serde_json::to_string(&findings)? } else { findings.in_words() + "\n" });
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "whoever waits for minutes wants to know how far it is")]
fn tell(line: &str) {
    eprintln!("{line}");
}
