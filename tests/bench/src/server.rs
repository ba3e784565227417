//! The servers under test, ours and the floor; peers are in `peers`.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, anyhow, bail};

use crate::processes::{Running, pin};
use crate::world::World;

/// Until a server must listen.
const START: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
    /// The MCP server on TCP that it forwards to, on the client's core: what it costs is not counted.
    pub(crate) backend: Option<Running>,
}

/// What stands behind `vouchsafe serve`.
#[derive(Clone, Copy)]
pub(crate) enum Behind {
    /// A process of its own for each session.
    Child,
    /// One process for all sessions.
    Shared,
    /// A server on TCP.
    Tcp,
}

impl Server {
    /// `vouchsafe serve`, as a user would start it: policy, revocation and audit on.
    pub(crate) fn vouchsafe(world: &World, behind: Behind, revoked: u32) -> Result<Self> {
        Self::vouchsafe_for(world, behind, revoked, 1024)
    }

    /// The same for so many sessions.
    pub(crate) fn vouchsafe_for(
        world: &World,
        behind: Behind,
        revoked: u32,
        sessions: usize,
    ) -> Result<Self> {
        let mut command = world.command();
        command.arg("serve").arg("--identity").arg(world.path("gateway"));
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--crl").arg(world.list(revoked)?);
        command.arg("--audit").arg(world.path("audit.jsonl"));
        for limit in ["--max-sessions", "--max-sessions-per-principal"] {
            command.args([limit, &sessions.to_string()]);
        }
        let mut backend = None;
        match behind {
            Behind::Child => command.arg("--").arg(&world.own).arg("child"),
            Behind::Shared => command.args(["--share", "--"]).arg(&world.own).arg("child"),
            Behind::Tcp => {
                let (process, address) = self::backend(world)?;
                backend = Some(process);
                command.args(["--upstream", &format!("tcp:{address}")])
            }
        };
        let (process, [address]) = start(world, &mut command)?;
        Ok(Self { process, address, backend })
    }

    /// Our gateway with the MCP server in the same process.
    pub(crate) fn inside(world: &World, sessions: usize) -> Result<Self> {
        let mut command = Command::new(&world.own);
        command.arg("inside").arg(world.path("gateway")).arg(world.list(0)?);
        command.arg(world.path("inside.jsonl")).arg(sessions.to_string());
        Self::of_ours(world, command)
    }

    /// Bare rustls.
    pub(crate) fn floor(world: &World) -> Result<Self> {
        let mut command = Command::new(&world.own);
        command.arg("floor").arg(world.path("gateway"));
        Self::of_ours(world, command)
    }

    fn of_ours(world: &World, mut command: Command) -> Result<Self> {
        let (process, [address]) = start(world, &mut command)?;
        Ok(Self { process, address, backend: None })
    }
}

/// The MCP server on TCP.
pub(crate) fn backend(world: &World) -> Result<(Running, SocketAddr)> {
    let mut command = Command::new(&world.own);
    pin(world.cores.client)?;
    let mut process = Running::start(quiet(command.arg("backend")))?;
    let [address] = announced(process.0.stderr.take().context("the backend has no stderr")?)?;
    Ok((process, address))
}

/// Starts a server of ours on the servers' core, and waits until it says where it listens.
pub(crate) fn start<const N: usize>(
    world: &World,
    command: &mut Command,
) -> Result<(Running, [SocketAddr; N])> {
    let mut process = world.cores.start_server(quiet(command))?;
    let stderr = process.0.stderr.take().context("the server has no stderr")?;
    let addresses = announced(stderr)?;
    Ok((process, addresses))
}

/// Nothing of its stdio is ours but what it announces.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped())
}

/// `vouchsafe ca`.
pub(crate) struct Ca {
    pub(crate) process: Running,
    /// Where operators ask it over mutual TLS.
    pub(crate) operators: SocketAddr,
    /// Where everybody else does.
    pub(crate) everybody: SocketAddr,
}

impl Ca {
    /// As a user would start it.
    pub(crate) fn serve(world: &World) -> Result<Self> {
        Self::serve_home(world, world.command())
    }

    /// The same on the home that the command names.
    pub(crate) fn serve_home(world: &World, mut command: Command) -> Result<Self> {
        command.args(["ca", "--listen", "127.0.0.1:0", "--public", "127.0.0.1:0"]);
        command.arg("--audit").arg(world.path("ca-audit.jsonl"));
        let (process, [operators, everybody]) = start(world, &mut command)?;
        Ok(Self { process, operators, everybody })
    }
}

/// Where a program is, if it is: in the variable of its name (`$MCP_PROXY` for `mcp-proxy`), or on the `$PATH`, or
/// where servers are that only root starts.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let variable = name.to_ascii_uppercase().replace('-', "_");
    if let Some(named) = env::var_os(variable) {
        return Some(named.into());
    }
    let path = env::var_os("PATH")?;
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Reads `listening on ADDRESS` as often as the server has listeners, and whatever comes after that, so
/// that the server never waits for its reader.
fn announced<const N: usize>(stderr: ChildStderr) -> Result<[SocketAddr; N]> {
    let mut lines = BufReader::new(stderr).lines();
    let (mut said, mut addresses) = (String::new(), Vec::new());
    while addresses.len() < N {
        let Some(line) = lines.next().transpose()? else {
            bail!("the server does not listen: {said}");
        };
        let words = line.split_once("listening on ").map(|(_, rest)| rest.split_whitespace());
        match words.and_then(|mut words| words.next()) {
            Some(address) => addresses.push(address.parse()?),
            None => said.push_str(&line),
        }
    }
    thread::spawn(move || lines.for_each(drop));
    addresses.try_into().map_err(|_| anyhow!("the server has more listeners than expected"))
}

/// For servers that cannot be told to take a free port and say which.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until somebody listens.
pub(crate) fn wait_for(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > START {
            bail!("nobody listens on {address}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
