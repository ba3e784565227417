//! What a session that does nothing takes of memory.

use anyhow::Result;

use super::{FLOOR, Gate, INSIDE, TCP};
use crate::args::{How, Work};
use crate::client::KeyExchange;
use crate::crowd::Crowd;
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::limits::open_files;
use crate::peers::{self, Peer};
use crate::processes::pin;
use crate::server::{Behind, Server};
use crate::world::World;

const METHOD: &str = "Sessions are opened one after the other, each as far as its first answer, and then stay silent. \
    What the server has allocated then, less what it had allocated with one session, by their number: memory of its \
    own processes, without the kernel's sockets. A process's first sessions cost more than its later ones.";

/// With which everybody is measured.
const SESSIONS: usize = 5_000;

/// KiB for each session.
const MOST: f64 = 16.0;

/// Files that a process has open besides its sessions'.
const OTHER_FILES: usize = 200;

/// One server and one number of sessions.
struct Held {
    name: String,
    sessions: usize,
    /// KiB for each session.
    each: f64,
    /// MiB in all.
    total: f64,
}

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    pin(world.cores.client)?;
    let mut findings = Findings::new(&Work::Idle, "Idle sessions, memory", METHOD);
    findings.beside = peers::versions();
    let most = open_files().saturating_sub(OTHER_FILES);
    if most < how.idle_sessions {
        findings.remarks.push(format!(
            "A process may have {} files open on this machine, so at most {most} sessions are held, not {}.",
            open_files(),
            how.idle_sessions
        ));
    }
    // Each session of whoever forwards to TCP takes two files.
    let all = how.idle_sessions.min(most);
    let usual = SESSIONS.min(all).min(most / 2);
    let mut held = vec![
        hold(world, FLOOR, Server::floor(world)?, usual)?,
        hold(world, INSIDE, Server::inside(world, usual + 1)?, usual)?,
        hold(world, TCP, forwarding(world, usual + 1)?, usual)?,
    ];
    if all > usual {
        held.push(hold(world, FLOOR, Server::floor(world)?, all)?);
        held.push(hold(world, INSIDE, Server::inside(world, all + 1)?, all)?);
    }
    for peer in peers::present() {
        held.extend(of_peer(world, peer, usual, &mut findings)?);
    }
    tell(&held, usual, &mut findings);
    Ok(findings)
}

fn forwarding(world: &World, sessions: usize) -> Result<Server> {
    Server::vouchsafe_for(world, Behind::Tcp, 0, sessions)
}

/// A peer that cannot hold so many is no reason to measure nothing else.
fn of_peer(
    world: &World,
    peer: Peer,
    sessions: usize,
    findings: &mut Findings,
) -> Result<Option<Held>> {
    match hold(world, peer.name, peer.serve(world, 0)?, sessions) {
        Ok(held) => Ok(Some(held)),
        Err(error) => {
            findings.remarks.push(format!("{} holds no {sessions} sessions: {error:#}", peer.name));
            Ok(None)
        }
    }
}

fn hold(world: &World, name: &str, server: Server, sessions: usize) -> Result<Held> {
    let gate = Gate::new(world, name, server, KeyExchange::X25519)?;
    let first = Crowd::gather(&gate.door, 1)?;
    let before = gate.server.process.memory()?.private;
    let crowd = Crowd::gather(&gate.door, sessions)?;
    let after = gate.server.process.memory()?.private;
    drop((first, crowd));
    let each = (after - before) / f64::from(u32::try_from(sessions)?);
    Ok(Held { name: gate.name, sessions, each, total: after / 1024.0 })
}

fn tell(held: &[Held], usual: usize, findings: &mut Findings) {
    let mut table = Table::new("", ["way", "sessions", "KiB each", "MiB in all"]);
    let title = format!("Memory of an idle session, {usual} of them");
    let mut chart = Chart::new("idle", &title, "KiB of server memory per session");
    chart.target = Some(MOST);
    for Held { name, sessions, each, total } in held {
        let row = [sessions.to_string(), format!("{each:.1}"), format!("{total:.0}")];
        table.push([name.clone()].into_iter().chain(row));
        if *sessions == usual {
            chart.bars.push(Bar::new(name, *each));
        }
        if name == INSIDE || name == TCP {
            let what = format!("memory of an idle session, {sessions} of them: {name}");
            findings.targets.push(Target::at_most(what, *each, "KiB", MOST));
        }
    }
    findings.tables.push(table);
    findings.charts.push(chart);
}
