//! What is measured: one file for each work.

pub(crate) mod bulk;
pub(crate) mod calls;
pub(crate) mod cold;
pub(crate) mod cuts;
pub(crate) mod handshakes;
pub(crate) mod http;
pub(crate) mod idle;
pub(crate) mod issuing;
pub(crate) mod lists;
pub(crate) mod stdio;
pub(crate) mod store;

use std::time::Duration;

use anyhow::Result;

use crate::args::{How, Work};
use crate::client::{KeyExchange, agent, agent_without_alpn};
use crate::crowd::{Crowd, Door, Tool};
use crate::findings::Findings;
use crate::issuance;
use crate::measurement::{Round, Way};
use crate::peers;
use crate::processes::pin;
use crate::server::{Behind, Server};
use crate::world::World;

/// What measures a work.
pub(crate) type Measure = fn(&World, &How) -> Result<Findings>;

/// Every work, in the order in which it is done, and stands in the report.
pub(crate) const ALL: [(Work, Measure); 12] = [
    (Work::Handshakes, handshakes::measure),
    (Work::Calls, calls::measure),
    (Work::Bulk, bulk::measure),
    (Work::Http, http::measure),
    (Work::Stdio, stdio::measure),
    (Work::Idle, idle::measure),
    (Work::Cuts, cuts::measure),
    (Work::Lists, lists::measure),
    (Work::Store, store::measure),
    (Work::Issuance, issuance::measure),
    (Work::Issuing, issuing::measure),
    (Work::Cold, cold::measure),
];

/// Before each measurement: what cooled down while the others had their turns.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);

/// The names of what is ours, and of what it is held against.
pub(crate) const FLOOR: &str = "rustls floor";
pub(crate) const INSIDE: &str = "vouchsafe, server in its process";
pub(crate) const TCP: &str = "vouchsafe, server on TCP";

/// A server under test.
pub(crate) struct Gate {
    pub(crate) name: String,
    pub(crate) server: Server,
    pub(crate) door: Door,
}

impl Gate {
    pub(crate) fn new(
        world: &World,
        name: impl Into<String>,
        server: Server,
        exchange: KeyExchange,
    ) -> Result<Self> {
        // Peers know nothing of our protocol's name; our own clients always say it.
        let name = name.into();
        let is_ours = name.starts_with("vouchsafe");
        let config = if is_ours { agent } else { agent_without_alpn }(world, exchange)?;
        let door = Door { address: server.address, config };
        Ok(Self { name, server, door })
    }
}

/// The floor, ours with the server inside and on TCP, and every peer that this machine has: all with X25519, which
/// all of them know. A peer that does not work is no reason to measure nothing else; that is remarked.
pub(crate) fn everybody(world: &World, findings: &mut Findings) -> Result<Vec<Gate>> {
    pin(world.cores.client)?;
    let gate = |name: &str, server| Gate::new(world, name, server, KeyExchange::X25519);
    let mut gates = vec![
        gate(FLOOR, Server::floor(world)?)?,
        gate(INSIDE, Server::inside(world, 1024)?)?,
        gate(TCP, Server::vouchsafe(world, Behind::Tcp, 0)?)?,
    ];
    findings.beside = peers::versions();
    for peer in peers::present() {
        let tried = peer.serve(world, 0).and_then(|server| {
            let gate = gate(peer.name, server)?;
            Crowd::gather(&gate.door, 1)?.call(Tool::Echo, Duration::ZERO)?;
            Ok(gate)
        });
        match tried {
            Ok(gate) => gates.push(gate),
            Err(error) => {
                findings.remarks.push(format!("{} was left out: {error:#}", peer.name));
            }
        }
    }
    Ok(gates)
}

/// One crowd for each gate, which call in turns.
pub(crate) fn call_in_turns(
    gates: &[Gate],
    sessions: usize,
    tool: Tool,
    how: &How,
) -> Result<Vec<Way>> {
    let gather = |gate: &Gate| Crowd::gather(&gate.door, sessions);
    let mut crowds = gates.iter().map(gather).collect::<Result<Vec<_>>>()?;
    let mut ways: Vec<Way> = gates.iter().map(|gate| Way::new(gate.name.clone())).collect();
    for _ in 0..how.rounds() {
        for ((gate, crowd), way) in gates.iter().zip(&mut crowds).zip(&mut ways) {
            crowd.call(tool, WARM_UP)?;
            let call = || crowd.call(tool, how.window());
            way.rounds.push(Round::around(&gate.server.process, None, call)?);
        }
    }
    Ok(ways)
}

pub(crate) fn named<'a>(ways: &'a [Way], name: &str) -> Option<&'a Way> {
    ways.iter().find(|way| way.name == name)
}
