//! The client's end: a line out, a line back, over TLS or over a process's stdio. Blocking, on one thread.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};

use crate::processes::Running;
use crate::world::World;

/// Longer than any answer takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);

/// Octets of the longest answer: a page of a long list.
const LONGEST: usize = 8 * 1024 * 1024;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One session.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    answer: Vec<u8>,
    /// How much of it belongs to the latest answer.
    len: usize,
}

impl Client {
    fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), answer: vec![0; 32 * 1024], len: 0 }
    }

    /// Over the stdio of a process.
    pub(crate) fn over(process: &mut Running) -> Result<Self> {
        let pipes = process.0.stdin.take().zip(process.0.stdout.take());
        let (input, output) = pipes.context("the process has no pipes")?;
        Ok(Self::new(Pipes { input, output }))
    }

    /// Over TLS 1.3.
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Self> {
        Self::begin(TcpStream::connect(address)?, config)
    }

    /// Over TLS 1.3, as somebody at this address of the loopback network.
    pub(crate) fn connect_from(
        source: Ipv4Addr,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::from((source, 0)))?;
        connect(&socket, &address)?;
        Self::begin(TcpStream::from(socket), config)
    }

    /// Over TCP, and nothing else.
    pub(crate) fn plain(address: SocketAddr) -> Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::new(tcp))
    }

    fn begin(tcp: TcpStream, config: &Arc<ClientConfig>) -> Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let tls = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        Ok(Self::new(StreamOwned::new(tls, tcp)))
    }

    /// Begins a session as MCP asks for it.
    pub(crate) fn initialize(&mut self) -> Result<()> {
        self.call(INITIALIZE, b"\"result\"")?;
        self.stream
            .write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n")?;
        Ok(self.stream.flush()?)
    }

    /// Sends a line and waits for the one that comes back, which must contain what is expected of it.
    pub(crate) fn call(&mut self, line: &[u8], expected: &[u8]) -> Result<()> {
        self.exchange(line, |answer| answer.ends_with(b"\n"), expected)
    }

    /// Sends a request and waits for an answer that is whole, which must contain what is expected of it.
    pub(crate) fn exchange(
        &mut self,
        request: &[u8],
        is_whole: impl Fn(&[u8]) -> bool,
        expected: &[u8],
    ) -> Result<()> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut len = 0;
        loop {
            if len == self.answer.len() && len < LONGEST {
                self.answer.resize(2 * len, 0);
            }
            let room = self.answer.get_mut(len..).unwrap_or_default();
            let read = self.stream.read(room)?;
            ensure!(read > 0, "the session ended, or its answer is too long");
            len += read;
            self.len = len;
            let answer = self.answer();
            if is_whole(answer) {
                if answer.windows(expected.len()).any(|part| part == expected) {
                    return Ok(());
                }
                bail!("a wrong answer: {}", String::from_utf8_lossy(answer));
            }
        }
    }
}

impl Client {
    /// What came back at last.
    pub(crate) fn answer(&self) -> &[u8] {
        self.answer.get(..self.len).unwrap_or_default()
    }
}

/// The first line of a session.
pub(crate) const INITIALIZE: &[u8] = concat!(
    "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\",",
    "\"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}\n"
)
.as_bytes();

struct Pipes {
    input: ChildStdin,
    output: ChildStdout,
}

impl Read for Pipes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Write for Pipes {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.input.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }
}

/// Which key exchange a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyExchange {
    /// What Vouchsafe's own clients offer: X25519MLKEM768 first.
    PostQuantum,
    /// What OpenSSL up to 3.4 knows.
    X25519,
}

/// The agent of this world.
pub(crate) fn agent(world: &World, exchange: KeyExchange) -> Result<Arc<ClientConfig>> {
    holder(&world.path("agent"), exchange)
}

/// The same without a word of which protocol it speaks, for servers that know no `mcp/1`.
pub(crate) fn agent_without_alpn(
    world: &World,
    exchange: KeyExchange,
) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::clone(&*agent(world, exchange)?);
    config.alpn_protocols.clear();
    Ok(Arc::new(config))
}

/// The same identity over HTTP/1.1.
pub(crate) fn agent_over_http(world: &World) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::clone(&*agent(world, KeyExchange::PostQuantum)?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whoever holds this identity. Never resumes a session, so every handshake is a full one.
pub(crate) fn holder(identity: &Path, exchange: KeyExchange) -> Result<Arc<ClientConfig>> {
    let chain = CertificateDer::pem_file_iter(identity.join("certificate.pem"))?;
    let key = PrivateKeyDer::from_pem_file(identity.join("key.pem"))?;
    let mut config = trusting(&identity.join("roots.pem"), exchange)?
        .with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"mcp/1".to_vec()];
    Ok(Arc::new(config))
}

/// Somebody without a certificate, who speaks HTTP/1.1.
pub(crate) fn stranger(roots: &Path) -> Result<Arc<ClientConfig>> {
    let mut config = trusting(roots, KeyExchange::PostQuantum)?.with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn trusting(
    roots: &Path,
    exchange: KeyExchange,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(roots)?)?;
    Ok(ClientConfig::builder_with_provider(Arc::new(provider(exchange)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(trusted))
}

fn provider(exchange: KeyExchange) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if exchange == KeyExchange::X25519 {
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    }
    provider
}

/// A command whose stdio a client can speak over.
pub(crate) fn with_pipes(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null())
}
