//! Those who ask `vouchsafe ca`: operators, each with an MCP session of its own, who call its tool `issue`.

use std::net::SocketAddr;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::applicant::Applicant;
use crate::client::{Client, KeyExchange, holder};
use crate::world::World;

/// What the operator may do, and grant.
const HELD: [&str; 4] =
    ["tools:issue", "ca:issue:team/*", "tools:read_*", "resources:file:///srv/*"];

/// What each certificate allows.
const GRANTED: [&str; 2] = ["tools:read_*", "resources:file:///srv/*"];

/// An operator for one crowd: one principal may have 256 sessions at once.
pub(crate) fn make(world: &World, clients: u32) -> Result<()> {
    let name = name(clients);
    let held = HELD.into_iter().flat_map(|permission| ["--allow", permission]);
    let arguments: Vec<_> = ["issue", &name, "--out", &name].into_iter().chain(held).collect();
    world.vouchsafe(&arguments)
}

fn name(clients: u32) -> String {
    format!("operator-{clients}")
}

/// Its sessions, begun.
pub(crate) fn crowd(world: &World, address: SocketAddr, clients: u32) -> Result<Vec<Applicant>> {
    let config = holder(&world.path(&name(clients)), KeyExchange::PostQuantum)?;
    let one = |nth| {
        let mut client = Client::connect(address, &config)?;
        client.initialize()?;
        let requests = requests(format!("team/agent-{clients}-{nth}"))?;
        let is_whole = |answer: &[u8]| answer.ends_with(b"\n");
        Ok(Applicant { client, next: Box::new(requests), is_whole, again: None })
    };
    (0..clients).map(one).collect()
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
