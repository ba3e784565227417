//! What others put in front of a server on stdio so that it speaks Streamable HTTP.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::peers::first_line;
use crate::processes::Running;
use crate::server::{free_address, installed, wait_for};
use crate::world::World;

/// One of them.
pub(super) struct Gateway {
    /// Also its program's.
    pub(super) name: &'static str,
    arguments: fn(&mut Command, &str, SocketAddr),
}

impl Gateway {
    pub(super) const ALL: [Self; 2] = [
        Self { name: "supergateway", arguments: supergateway },
        Self { name: "mcp-proxy", arguments: mcp_proxy },
    ];

    pub(super) fn is_installed(&self) -> bool {
        installed(self.name).is_some()
    }

    pub(super) fn version(&self) -> String {
        match installed(self.name) {
            Some(path) => format!("{}: {}", self.name, first_line(path, "--version")),
            None => format!("{}: not installed, left out", self.name),
        }
    }

    /// Starts it on the servers' core in front of our server on stdio.
    pub(super) fn serve(&self, world: &World) -> Result<(Running, SocketAddr)> {
        let program = installed(self.name).context("it was there a moment ago")?;
        let address = free_address()?;
        let mut command = Command::new(program);
        let own = world.own.to_str().context("the path of this program is no text")?;
        (self.arguments)(&mut command, own, address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = world.cores.start_server(&mut command)?;
        wait_for(address).with_context(|| format!("{} does not start", self.name))?;
        Ok((server, address))
    }
}

fn supergateway(command: &mut Command, own: &str, address: SocketAddr) {
    command.args(["--stdio", &format!("{own} child"), "--outputTransport", "streamableHttp"]);
    command.args(["--stateful", "--logLevel", "none", "--port", &address.port().to_string()]);
}

fn mcp_proxy(command: &mut Command, own: &str, address: SocketAddr) {
    command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--log-level", "ERROR", own, "child"]);
}
