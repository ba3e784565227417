//! The servers under test: the same MCP server behind `vouchsafe serve` and behind `stunnel`.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow, bail};

use crate::processes::Running;
use crate::world::World;

/// Until a server must listen.
const START: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `vouchsafe serve`, as a user would start it: policy, revocation and audit on.
    pub(crate) fn vouchsafe(world: &World, many_revoked: bool) -> Result<Self> {
        let mut command = world.command();
        command.arg("serve").arg("--identity").arg(world.path("gateway"));
        command.args(["--listen", "127.0.0.1:0"]);
        command.arg("--crl").arg(world.list(many_revoked));
        command.arg("--audit").arg(world.path("audit.jsonl"));
        command.arg("--").arg(&world.own).arg("child");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = world.cores.start_server(&mut command)?;
        let stderr = process.0.stderr.take().context("the gateway has no stderr")?;
        let [address] = announced(stderr)?;
        Ok(Self { process, address })
    }

    /// `stunnel` with the same identities and lists, TLS 1.3 alone and no tickets.
    pub(crate) fn stunnel(world: &World, many_revoked: bool) -> Result<Self> {
        let program = stunnel_program().context("stunnel is not installed")?;
        let address = free_address()?;
        let mut configuration = String::from(
            "foreground = yes\npid =\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n[mcp]\n\
             sslVersion = TLSv1.3\noptions = NO_TICKET\nsessionResume = no\nverifyChain = yes\nexecArgs = vouchsafe-bench child\n",
        );
        for (key, value) in [
            ("cert", world.path("gateway/certificate.pem")),
            ("key", world.path("gateway/key.pem")),
            ("CAfile", world.path("gateway/roots.pem")),
            ("CRLfile", world.list(many_revoked)),
            ("exec", world.own.clone()),
        ] {
            writeln!(configuration, "{key} = {}", value.display())?;
        }
        writeln!(configuration, "accept = {address}")?;
        let file = world.path(&format!("stunnel-{}.conf", address.port()));
        #[expect(clippy::disallowed_methods, reason = "a file that lives as long as this run")]
        fs::write(&file, configuration)?;
        let mut command = Command::new(program);
        command.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = world.cores.start_server(&mut command)?;
        wait_for(address)?;
        Ok(Self { process, address })
    }
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
        let mut command = world.command();
        command.args(["ca", "--listen", "127.0.0.1:0", "--public", "127.0.0.1:0"]);
        command.arg("--audit").arg(world.path("ca-audit.jsonl"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = world.cores.start_server(&mut command)?;
        let stderr = process.0.stderr.take().context("the CA has no stderr")?;
        let [operators, everybody] = announced(stderr)?;
        Ok(Self { process, operators, everybody })
    }
}

/// Where stunnel is installed, if it is.
pub(crate) fn stunnel_program() -> Option<PathBuf> {
    installed("stunnel4").or_else(|| installed("stunnel"))
}

/// Where a program is installed, if it is.
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
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
