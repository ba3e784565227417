//! What it costs to issue a certificate over the network, durable before it is answered: `vouchsafe ca` beside
//! step-ca, asked by crowds of clients that keep their connections.

mod applicant;
mod operator;
mod report;
mod step_ca;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

pub(crate) use self::report::print;

use self::applicant::Applicant;
use self::step_ca::StepCa;
use crate::args::Arguments;
use crate::disk;
use crate::measurement::{Round, Way};
use crate::processes::{Running, pin};
use crate::server::Server;
use crate::world::World;

const VOUCHSAFE: &str = "vouchsafe ca";
const STEP_CA: &str = "step-ca";

/// How many clients ask at once.
const CROWDS: [u32; 3] = [1, 32, 256];

/// Before each measurement: what cooled down while the others had their turns.
const WARM_UP: Duration = Duration::from_millis(200);

/// Syncs of the disk a round, while no CA has anything to do.
const SYNCS: u32 = 100;

pub(crate) struct Issuance {
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
    name: &'static str,
    server: Running,
    crowds: Vec<Vec<Applicant>>,
}

pub(crate) fn measure(world: &World, arguments: &Arguments) -> Result<Issuance> {
    pin(world.cores.client)?;
    let mut desks = vec![vouchsafe(world)?];
    if let Some(rival) = StepCa::installed() {
        desks.push(step_ca(world, &rival)?);
    }
    let mut lines = Vec::new();
    for desk in &desks {
        lines.extend(CROWDS.map(|clients| Line { clients, way: Way::new(desk.name) }));
    }
    let mut syncs = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        syncs.extend(disk::syncs(world.folder.path(), SYNCS)?);
        let turns = desks.iter_mut().flat_map(Desk::turns);
        for ((server, crowd), line) in turns.zip(&mut lines) {
            crowd.iter_mut().try_for_each(Applicant::prepare)?;
            ask(crowd, WARM_UP)?;
            line.way.rounds.push(Round::around(server, None, || ask(crowd, arguments.window()))?);
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
    let server = Server::vouchsafe_ca(world)?;
    let crowd = |clients| operator::crowd(world, server.address, clients);
    let crowds = CROWDS.into_iter().map(crowd).collect::<Result<_>>()?;
    Ok(Desk { name: VOUCHSAFE, server: server.process, crowds })
}

fn step_ca(world: &World, rival: &StepCa) -> Result<Desk> {
    let served = rival.serve(world)?;
    let crowds = CROWDS.into_iter().map(|clients| served.crowd(clients)).collect::<Result<_>>()?;
    Ok(Desk { name: STEP_CA, server: served.server, crowds })
}

impl Desk {
    fn turns(&mut self) -> impl Iterator<Item = (&Running, &mut Vec<Applicant>)> {
        let server = &self.server;
        self.crowds.iter_mut().map(move |crowd| (server, crowd))
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
