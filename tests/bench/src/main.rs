//! What a call, a handshake and a certificate cost: Vouchsafe beside raw stdio, stunnel and step-ca, in one run on
//! one machine.
//!
//! The figure to compare is the CPU time of the server's processes per operation. Wall-clock figures are printed
//! too, but another process on the same machine changes them more than the program under test does.

mod args;
mod calls;
mod child;
mod client;
mod disk;
mod handshakes;
mod issuance;
mod issuing;
mod long_list;
mod measurement;
mod processes;
mod report;
mod server;
mod statistics;
mod world;

use anyhow::Result;
use clap::Parser as _;

use crate::args::{Arguments, What};
use crate::report::Report;
use crate::world::World;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.what == What::Child {
        return child::run();
    }
    if arguments.what == What::Issuing {
        report::issuing(&issuing::measure(&arguments)?, issuing::sync()?, arguments.json);
        return Ok(());
    }
    let world = World::new()?;
    if arguments.what == What::Issuance {
        let issuance = issuance::measure(&world, &arguments)?;
        issuance::print(&issuance, &world, &arguments);
        return Ok(());
    }
    let mut report = Report::new(&world, &arguments);
    if arguments.measures(What::Calls) {
        report.calls = calls::measure(&world, &arguments)?;
    }
    if arguments.measures(What::Handshakes) {
        report.handshakes = handshakes::measure(&world, &arguments)?;
    }
    report.print(arguments.json);
    Ok(())
}
