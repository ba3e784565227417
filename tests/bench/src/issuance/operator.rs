//! Those who ask `vouchsafe ca`: operators, each with an MCP session of its own, who call its tool `issue`.

use std::net::SocketAddr;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::applicant::{Applicant, Manners};
use crate::client::{Client, KeyExchange, holder};
use crate::world::World;

const MANNERS: Manners = Manners {
    is_whole: |answer| answer.ends_with(b"\n"),
    certificate: b"-----BEGIN CERTIFICATE-----",
};

/// What the operator may do, and grant.
const HELD: [&str; 6] = [
    "tools:issue",
    "ca:issue:team/*",
    "tools:invite",
    "ca:invite:team/*",
    "tools:read_*",
    "resources:file:///srv/*",
];

/// What each certificate allows.
pub(super) const GRANTED: [&str; 2] = ["tools:read_*", "resources:file:///srv/*"];

/// An operator for one crowd: one principal may have 256 sessions at once.
pub(crate) fn make(world: &World, clients: u32) -> Result<()> {
    let name = name(clients);
    let held = HELD.into_iter().flat_map(|permission| ["--allow", permission]);
    let arguments: Vec<_> = ["issue", &name, "--out", &name].into_iter().chain(held).collect();
    world.vouchsafe(&arguments)
}

/// The operator's name, and the directory of its identity.
pub(super) fn name(clients: u32) -> String {
    format!("operator-{clients}")
}

/// Its sessions, begun.
pub(crate) fn crowd(world: &World, address: SocketAddr, clients: u32) -> Result<Vec<Applicant>> {
    let one = |nth| {
        let client = session(world, address, clients)?;
        let requests = requests(format!("team/agent-{clients}-{nth}"))?;
        Ok(Applicant::new(client, MANNERS, requests))
    };
    (0..clients).map(one).collect()
}

/// One session of the operator of this crowd, for whatever else is to be asked.
pub(super) fn session(world: &World, address: SocketAddr, clients: u32) -> Result<Client> {
    let config = holder(&world.path(&name(clients)), KeyExchange::PostQuantum)?;
    let mut client = Client::connect(address, &config)?;
    client.initialize()?;
    Ok(client)
}

/// Calls of `issue`, each for another principal.
fn requests(name: String) -> Result<impl FnMut() -> Result<Vec<u8>>> {
    let request = CertificateParams::default().serialize_request(&KeyPair::generate()?)?.pem()?;
    let mut calls = 0_u32;
    Ok(move || {
        calls += 1;
        let name = format!("{name}-{calls}");
        let arguments = json!({ "name": name, "allow": GRANTED, "request": request });
        let params = json!({ "name": "issue", "arguments": arguments });
        let call =
            json!({ "jsonrpc": "2.0", "id": calls, "method": "tools/call", "params": params });
        Ok(format!("{call}\n").into_bytes())
    })
}
