//! One full mutual handshake after the other, each with a first answer: in TLS 1.3 a client finishes before the
//! server has judged its certificate, so only an answer shows that it was let in.

use std::sync::Arc;

use anyhow::Result;
use rustls::ClientConfig;

use crate::args::Arguments;
use crate::client::{Client, INITIALIZE, KeyExchange, agent};
use crate::measurement::{Round, Way};
use crate::processes::pin;
use crate::server::{Server, stunnel_program};
use crate::world::World;

/// OpenSSL 3.0 knows no ML-KEM, so the fair comparison is with X25519 alone on both.
pub(crate) const STUNNEL: &str = "stunnel exec, X25519";

struct Gate {
    name: &'static str,
    server: Server,
    config: Arc<ClientConfig>,
}

pub(crate) fn measure(world: &World, arguments: &Arguments) -> Result<Vec<Way>> {
    use KeyExchange::{PostQuantum, X25519};
    pin(world.cores.client)?;
    let vouchsafe: fn(&World, bool) -> Result<Server> = Server::vouchsafe;
    let mut ways = vec![
        ("vouchsafe serve, X25519MLKEM768", vouchsafe, PostQuantum, false),
        ("vouchsafe serve, X25519", vouchsafe, X25519, false),
        ("vouchsafe serve, X25519, 10,000 revoked", vouchsafe, X25519, true),
    ];
    if stunnel_program().is_some() {
        ways.push((STUNNEL, Server::stunnel, X25519, false));
        ways.push(("stunnel exec, X25519, 10,000 revoked", Server::stunnel, X25519, true));
    }
    let mut gates = Vec::new();
    for (name, start, exchange, many_revoked) in ways {
        let config = agent(world, exchange)?;
        gates.push(Gate { name, server: start(world, many_revoked)?, config });
    }
    take_turns(&gates, arguments)
}

fn take_turns(gates: &[Gate], arguments: &Arguments) -> Result<Vec<Way>> {
    let mut ways: Vec<Way> = gates.iter().map(|gate| Way::new(gate.name)).collect();
    for _ in 0..arguments.rounds.max(1) {
        for (gate, way) in gates.iter().zip(&mut ways) {
            gate.enter()?;
            let server = &gate.server.process;
            way.rounds.push(Round::of(server, None, arguments.window(), || gate.enter())?);
        }
    }
    Ok(ways)
}

impl Gate {
    fn enter(&self) -> Result<()> {
        Client::connect(self.server.address, &self.config)?.call(INITIALIZE, b"\"result\"")
    }
}
