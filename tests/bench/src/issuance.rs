//! What it costs to issue a certificate over the network, durable before it is answered: `vouchsafe ca` beside
//! step-ca, asked by crowds of clients that keep their connections.

mod applicant;
mod device;
pub(crate) mod http;
mod operator;
mod report;
mod step_ca;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use self::applicant::Applicant;
use self::step_ca::StepCa;
use crate::args::How;
use crate::disk;
use crate::findings::Findings;
use crate::measurement::{Round, Way};
use crate::processes::{Running, pin};
use crate::server::Ca;
use crate::world::World;

const ISSUE: &str = "vouchsafe ca, issue";
const ENROL: &str = "vouchsafe ca, EST";
const STEP_CA: &str = "step-ca";

/// How many clients ask at once.
const CROWDS: [u32; 3] = [1, 32, 256];

/// Before each measurement: connections, and what cooled down while the others had their turns.
const WARM_UP: Duration = Duration::from_millis(200);

/// Syncs of the disk a round, while no CA has anything to do.
const SYNCS: u32 = 100;

struct Issuance {
    lines: Vec<Line>,
    /// What one sync took, sorted.
    syncs: Vec<Duration>,
}

/// One CA asked by one crowd.
struct Line {
    clients: u32,
    way: Way,
}

/// A CA that runs for all rounds, and those who ask it.
struct Desk {
    server: Running,
    crowds: Vec<Crowd>,
}

/// So many who ask in the same way.
struct Crowd {
    way: &'static str,
    applicants: Vec<Applicant>,
}

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    Ok(report::findings(&run(world, how)?))
}

fn run(world: &World, how: &How) -> Result<Issuance> {
    pin(world.cores.client)?;
    let mut desks = vec![vouchsafe(world)?];
    if let Some(rival) = StepCa::installed() {
        desks.push(step_ca(world, &rival)?);
    }
    let line = |crowd: &Crowd| {
        Ok(Line { clients: u32::try_from(crowd.applicants.len())?, way: Way::new(crowd.way) })
    };
    let crowds = desks.iter().flat_map(|desk| &desk.crowds);
    let mut lines = crowds.map(line).collect::<Result<Vec<_>>>()?;
    let mut syncs = Vec::new();
    for _ in 0..how.rounds() {
        syncs.extend(disk::syncs(world.folder.path(), SYNCS)?);
        let turns = desks.iter_mut().flat_map(Desk::turns);
        for ((server, crowd), line) in turns.zip(&mut lines) {
            ask(crowd, WARM_UP)?;
            line.way.rounds.push(Round::around(server, None, || ask(crowd, how.window()))?);
            crowd.iter_mut().for_each(Applicant::rest);
        }
    }
    syncs.sort_unstable();
    Ok(Issuance { lines, syncs })
}

fn vouchsafe(world: &World) -> Result<Desk> {
    // While the home is nobody's: once the CA serves, it is the one who issues.
    for clients in CROWDS {
        operator::make(world, clients)?;
    }
    let ca = Ca::serve(world)?;
    let mut crowds = Vec::new();
    for clients in CROWDS {
        let applicants = operator::crowd(world, ca.operators, clients)?;
        crowds.push(Crowd { way: ISSUE, applicants });
    }
    for clients in CROWDS {
        crowds.push(Crowd { way: ENROL, applicants: device::crowd(world, &ca, clients)? });
    }
    Ok(Desk { server: ca.process, crowds })
}

fn step_ca(world: &World, rival: &StepCa) -> Result<Desk> {
    let served = rival.serve(world)?;
    let crowd = |clients| Ok(Crowd { way: STEP_CA, applicants: served.crowd(clients)? });
    let crowds = CROWDS.into_iter().map(crowd).collect::<Result<_>>()?;
    Ok(Desk { server: served.server, crowds })
}

impl Desk {
    fn turns(&mut self) -> impl Iterator<Item = (&Running, &mut Vec<Applicant>)> {
        let server = &self.server;
        self.crowds.iter_mut().map(move |crowd| (server, &mut crowd.applicants))
    }
}

/// Each of the crowd asks again as soon as it is answered, for as long as `window`; says how long each answer took.
fn ask(crowd: &mut [Applicant], window: Duration) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    let one = |applicant: &mut Applicant| {
        let mut latencies = Vec::new();
        while begun.elapsed() < window {
            latencies.push(applicant.ask()?);
        }
        Ok(latencies)
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            crowd.iter_mut().map(|applicant| scope.spawn(move || one(applicant))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<Duration>>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a thread has panicked")))
        };
        let latencies: Vec<_> = threads.into_iter().map(join).collect::<Result<_>>()?;
        Ok(latencies.concat())
    })
}
