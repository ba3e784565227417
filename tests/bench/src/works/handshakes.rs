//! One full mutual handshake after the other, each with a first answer: in TLS 1.3 a client finishes before the
//! server has judged its certificate, so only an answer shows that it was let in.

use anyhow::Result;

use super::{FLOOR, Gate, INSIDE, TCP, WARM_UP, everybody, named};
use crate::args::{How, Work};
use crate::client::KeyExchange;
use crate::crowd::{runtime, visit};
use crate::findings::table::{optional, spread};
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::{Round, Way};
use crate::peers;
use crate::server::{Behind, Server};
use crate::world::World;

const METHOD: &str = "Eight clients at once connect, shake hands with certificates on both sides, wait for the first \
    answer, leave, and come again, each time with the same certificates: their signatures Vouchsafe computes once, the \
    proof of possession each time. Nobody resumes. All offer X25519 alone, because OpenSSL before 3.5 knows no ML-KEM, \
    except where X25519MLKEM768 is named, which is what our own clients negotiate. The floor and the server in its \
    process answer themselves; everybody else opens a connection to a server on TCP for each session.";

const VISITORS: usize = 8;

/// Revoked certificates, besides none and the longest list.
const SOME: u32 = 100_000;

/// What a peer is measured with, to show what a list costs where it is searched by OpenSSL.
const PEER_WITH_LIST: &str = "nginx stream";

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    let mut findings =
        Findings::new(&Work::Handshakes, "Full mutual handshake and first answer, CPU", METHOD);
    let gates = gates(world, how, &mut findings)?;
    let runtime = runtime()?;
    let mut ways: Vec<Way> = gates.iter().map(|gate| Way::new(gate.name.clone())).collect();
    for _ in 0..how.rounds() {
        for (gate, way) in gates.iter().zip(&mut ways) {
            visit(&runtime, &gate.door, VISITORS, WARM_UP)?;
            let visit = || visit(&runtime, &gate.door, VISITORS, how.window());
            way.rounds.push(Round::around(&gate.server.process, None, visit)?);
        }
    }
    tell(&ways, how, &mut findings);
    Ok(findings)
}

fn gates(world: &World, how: &How, findings: &mut Findings) -> Result<Vec<Gate>> {
    use KeyExchange::{PostQuantum, X25519};
    let mut gates = everybody(world, findings)?;
    for revoked in [SOME, how.revoked] {
        let server = Server::vouchsafe(world, Behind::Tcp, revoked)?;
        gates.push(Gate::new(world, with_list(TCP, revoked), server, X25519)?);
    }
    if let Some(peer) = peers::named(PEER_WITH_LIST) {
        let server = peer.serve(world, SOME)?;
        gates.push(Gate::new(world, with_list(PEER_WITH_LIST, SOME), server, X25519)?);
    }
    let ml_kem = |name: &str| format!("{name}, X25519MLKEM768");
    gates.push(Gate::new(world, ml_kem(FLOOR), Server::floor(world)?, PostQuantum)?);
    gates.push(Gate::new(world, ml_kem(INSIDE), Server::inside(world, 1024)?, PostQuantum)?);
    Ok(gates)
}

fn with_list(name: &str, revoked: u32) -> String {
    format!("{name}, {revoked} revoked")
}

fn tell(ways: &[Way], how: &How, findings: &mut Findings) {
    let heads = ["way", "CPU µs", "× floor", "p50 ms", "p99 ms", "per s"];
    let mut table = Table::new("", heads);
    let mut chart = Chart::new(
        "handshakes",
        "CPU of a full mutual handshake and first answer",
        "µs of server CPU",
    );
    let floor = named(ways, FLOOR).map(|way| way.cpu().median);
    for way in ways {
        let cpu = way.cpu();
        table.push([
            way.name.clone(),
            spread(cpu),
            optional(floor.map(|floor| cpu.median / floor), 2),
            optional(Some(way.median().median / 1e3), 2),
            optional(Some(way.p99().median / 1e3), 2),
            optional(Some(way.per_second().median), 0),
        ]);
        // A peer that searches its list takes so long that nothing else could be seen beside it.
        if way.name != with_list(PEER_WITH_LIST, SOME) {
            chart.bars.push(Bar::of(&way.name, cpu));
        }
    }
    findings.tables.push(table);
    findings.charts.push(chart);
    findings.targets = targets(ways, how);
    findings.note_disturbance(ways);
}

/// Ours by theirs; each pair has the MCP server in the same place.
fn targets(ways: &[Way], how: &How) -> Vec<Target> {
    let pairs = [
        (INSIDE.to_owned(), FLOOR, 1.25),
        (TCP.to_owned(), "ghostunnel", 0.65),
        (TCP.to_owned(), "nginx stream", 0.4),
        (TCP.to_owned(), "haproxy", 0.4),
        (with_list(TCP, SOME), TCP, 1.05),
        (with_list(TCP, how.revoked), TCP, 1.05),
    ];
    let target = |(ours, other, most): (String, &str, f64)| {
        let ratio = named(ways, &ours)?.cpu().median / named(ways, other)?.cpu().median;
        Some(Target::at_most(format!("CPU of a handshake: {ours}, by {other}"), ratio, "×", most))
    };
    pairs.into_iter().filter_map(target).collect()
}
