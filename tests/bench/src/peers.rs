//! What else ends mutual TLS in front of a server on TCP: with the same certificates, TLS 1.3 alone, X25519 alone, no
//! resumption, one process or thread, and on the servers' core. Each is checked to let nobody in without a certificate.

mod settings;

use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::StreamOwned;
use rustls::pki_types::ServerName;

use self::settings::Settings;
use crate::client::stranger;
use crate::server::{Server, backend, free_address, installed, wait_for};
use crate::world::World;

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: &'static str,
    version: &'static str,
    command: fn(&mut Command, &Settings<'_>) -> Result<()>,
}

/// All that is known.
const KNOWN: [Peer; 5] = [
    Peer {
        name: "ghostunnel",
        program: "ghostunnel",
        version: "--version",
        command: settings::ghostunnel,
    },
    Peer { name: "nginx stream", program: "nginx", version: "-v", command: settings::nginx },
    Peer { name: "haproxy", program: "haproxy", version: "-v", command: settings::haproxy },
    Peer { name: "hitch", program: "hitch", version: "--version", command: settings::hitch },
    Peer { name: "stunnel", program: "stunnel4", version: "-version", command: settings::stunnel },
];

/// Those that this machine has.
pub(crate) fn present() -> Vec<Peer> {
    KNOWN.into_iter().filter(|peer| peer.path().is_some()).collect()
}

/// The one of this name, if this machine has it.
pub(crate) fn named(name: &str) -> Option<Peer> {
    present().into_iter().find(|peer| peer.name == name)
}

/// What each says of its version, and which are not there.
pub(crate) fn versions() -> Vec<String> {
    let version = |peer: &Peer| match peer.path() {
        Some(path) => format!("{}: {}", peer.name, first_line(path, peer.version)),
        None => format!("{}: not installed, left out", peer.name),
    };
    KNOWN.iter().map(version).collect()
}

/// The first line that a program prints with this argument and that names a version.
pub(crate) fn first_line(program: PathBuf, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).stdin(Stdio::null()).output() else {
        return "of unknown version".to_owned();
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let has_number = |line: &&str| line.bytes().any(|octet| octet.is_ascii_digit());
    let words = said.lines().find(has_number).unwrap_or("of unknown version");
    words.split(" - ").next().unwrap_or(words).trim().to_owned()
}

impl Peer {
    fn path(&self) -> Option<PathBuf> {
        // Debian's stunnel4 is elsewhere stunnel.
        installed(self.program).or_else(|| installed(self.program.strip_suffix('4')?))
    }

    /// Starts it in front of the MCP server on TCP, with a list that revokes so many (0: with no list at all, for
    /// that is how it does best).
    pub(crate) fn serve(&self, world: &World, revoked: u32) -> Result<Server> {
        let (backend, target) = backend(world)?;
        let mut server = self.start(world, revoked, target, self.command)?;
        server.backend = Some(backend);
        Ok(server)
    }

    fn start(
        &self,
        world: &World,
        revoked: u32,
        target: SocketAddr,
        tell: impl FnOnce(&mut Command, &Settings<'_>) -> Result<()>,
    ) -> Result<Server> {
        let program = self.path().context("it was there a moment ago")?;
        let address = free_address()?;
        let folder = world.path(&format!("{}-{}", self.program, address.port()));
        fs::create_dir_all(&folder)?;
        let list = if revoked == 0 { None } else { Some(world.list(revoked)?) };
        let mut command = Command::new(program);
        tell(&mut command, &Settings { world, folder: &folder, list, address, target })?;
        let said = folder.join("said");
        let log = File::create(&said)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = world.cores.start_server(&mut command)?;
        let started = wait_for(address).and_then(|()| refuses_strangers(world, address));
        started.with_context(|| {
            let said = fs::read_to_string(said).unwrap_or_default();
            format!("{} does not serve as it should: {said}", self.name)
        })?;
        Ok(Server { process, address, backend: None })
    }
}

/// `stunnel`, if it is there, with a process of the MCP server for each session.
pub(crate) fn stunnel_exec(world: &World) -> Result<Option<Server>> {
    let Some(stunnel) = named("stunnel") else { return Ok(None) };
    let nowhere = free_address()?;
    let own = &world.own;
    let tell = |command: &mut Command, settings: &Settings<'_>| {
        settings::stunnel_exec(command, settings, own, "vouchsafe-bench child")
    };
    stunnel.start(world, 0, nowhere, tell).map(Some)
}

/// Nobody is let in without a certificate, or there is nothing to compare.
fn refuses_strangers(world: &World, address: SocketAddr) -> Result<()> {
    let config = stranger(&world.path("agent/roots.pem"))?;
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols.clear();
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
    let tls = rustls::ClientConnection::new(config.into(), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(tls, tcp);
    let request = crate::client::INITIALIZE;
    let answered = std::io::Write::write_all(&mut stream, request).is_ok()
        && stream.read(&mut [0; 64]).is_ok_and(|read| read > 0);
    ensure!(!answered, "it answers clients that have no certificate");
    Ok(())
}

/// Concatenates files of the world into one, for programs that want it so.
fn joined(settings: &Settings<'_>, name: &str, parts: &[&str]) -> Result<PathBuf> {
    let mut text = String::new();
    for part in parts {
        text.push_str(&fs::read_to_string(settings.world.path(part))?);
    }
    settings.file(name, &text)
}
