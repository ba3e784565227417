//! Many clients on one thread: a line out, a line back, over mutual TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::INITIALIZE;

/// Longer than any answer takes, even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Handshakes of a crowd under way at once while it gathers.
const GATHERING: usize = 32;

/// Connections from one address: it has about 28,000 ports for one server.
const PER_ADDRESS: usize = 20_000;

/// Where a crowd goes, and as whom.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) config: Arc<ClientConfig>,
}

/// Clients whose sessions stay open.
pub(crate) struct Crowd {
    runtime: Runtime,
    sessions: Vec<Session>,
}

/// One session.
pub(crate) struct Session {
    pub(crate) stream: BufReader<TlsStream<TcpStream>>,
    calls: u32,
    answer: Vec<u8>,
}

/// What is called again and again.
#[derive(Clone, Copy)]
pub(crate) enum Tool {
    /// A message of 200 octets, and a short answer.
    Echo,
    /// A short message, and an answer of a mebioctet.
    Report,
}

/// All on the thread that asks: a crowd has one core.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

impl Crowd {
    /// Opens so many sessions, each as far as MCP's first answer.
    pub(crate) fn gather(door: &Door, sessions: usize) -> Result<Self> {
        let runtime = runtime()?;
        let sessions = runtime.block_on(gather(door, sessions))?;
        Ok(Self { runtime, sessions })
    }

    /// Each calls again as soon as it is answered, for as long as `window`; says how long each answer took.
    pub(crate) fn call(&mut self, tool: Tool, window: Duration) -> Result<Vec<Duration>> {
        let sessions = std::mem::take(&mut self.sessions);
        let begun = Instant::now();
        let calling = sessions.into_iter().map(|session| session.call_until(tool, begun, window));
        let (sessions, latencies): (Vec<_>, Vec<_>) =
            self.runtime.block_on(all(calling))?.into_iter().unzip();
        self.sessions = sessions;
        Ok(latencies.concat())
    }

    /// Parts with the sessions, which live on the runtime that comes with them.
    pub(crate) fn into_parts(self) -> (Runtime, Vec<Session>) {
        (self.runtime, self.sessions)
    }
}

/// So many at the door at once, each of which goes in, hears one answer, leaves, and comes again.
pub(crate) fn visit(
    runtime: &Runtime,
    door: &Door,
    visitors: usize,
    window: Duration,
) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    let visiting = (0..visitors).map(|_| {
        let door = door.clone();
        async move {
            let mut latencies = Vec::new();
            while begun.elapsed() < window {
                let started = Instant::now();
                let mut session = Session::open(&door, 0).await?;
                latencies.push(started.elapsed());
                // The server may have gone first.
                let _ = session.stream.shutdown().await;
            }
            Ok(latencies)
        }
    });
    Ok(runtime.block_on(all(visiting))?.concat())
}

async fn gather(door: &Door, count: usize) -> Result<Vec<Session>> {
    let (mut gathered, mut opening) = (Vec::with_capacity(count), JoinSet::new());
    for nth in 0..count {
        if opening.len() == GATHERING {
            gathered.push(opening.join_next().await.context("nobody is on the way")???);
        }
        let door = door.clone();
        opening.spawn(async move { Session::open(&door, nth / PER_ADDRESS).await });
    }
    for session in opening.join_all().await {
        gathered.push(session?);
    }
    Ok(gathered)
}

/// Everything at once; in order.
async fn all<T: Send + 'static>(
    work: impl Iterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
) -> Result<Vec<T>> {
    let tasks: Vec<_> = work.map(tokio::spawn).collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await??);
    }
    Ok(done)
}

impl Session {
    /// As the `nth` address of the loopback network. In TLS 1.3 a client finishes before the server has judged
    /// its certificate, so only an answer shows that it was let in.
    async fn open(door: &Door, nth: usize) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if nth > 0 {
            let source = Ipv4Addr::LOCALHOST.to_bits() + u32::try_from(nth)?;
            socket.bind(SocketAddr::from((Ipv4Addr::from_bits(source), 0)))?;
        }
        let tcp = socket.connect(door.address).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&door.config));
        let tls = timeout(PATIENCE, connector.connect(ServerName::try_from("localhost")?, tcp));
        let stream = BufReader::with_capacity(1024, tls.await??);
        let mut session = Self { stream, calls: 0, answer: Vec::new() };
        session.exchange(INITIALIZE, b"\"result\"").await?;
        Ok(session)
    }

    async fn call_until(
        mut self,
        tool: Tool,
        begun: Instant,
        window: Duration,
    ) -> Result<(Self, Vec<Duration>)> {
        let mut latencies = Vec::new();
        while begun.elapsed() < window {
            self.calls += 1;
            let started = Instant::now();
            let line = tool.line(self.calls);
            let expected = format!("\"id\":{},\"result\"", self.calls);
            self.exchange(line.as_bytes(), expected.as_bytes()).await?;
            latencies.push(started.elapsed());
        }
        Ok((self, latencies))
    }

    async fn exchange(&mut self, line: &[u8], expected: &[u8]) -> Result<()> {
        self.stream.write_all(line).await?;
        self.stream.flush().await?;
        self.answer.clear();
        let read = timeout(PATIENCE, self.stream.read_until(b'\n', &mut self.answer));
        ensure!(read.await?? > 0, "the server ended the session");
        if self.answer.windows(expected.len()).any(|part| part == expected) {
            return Ok(());
        }
        bail!("a wrong answer: {}", String::from_utf8_lossy(&self.answer));
    }
}

impl Tool {
    /// Octets that one call moves from the server to its client.
    pub(crate) const fn answer_len(self) -> usize {
        match self {
            Self::Echo => 100,
            Self::Report => crate::answer::REPORT_LEN,
        }
    }

    pub(crate) fn line(self, id: u32) -> String {
        let (name, message) = match self {
            Self::Echo => ("echo", "x".repeat(100)),
            Self::Report => ("report", String::new()),
        };
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{name}\",\"arguments\":{{\"message\":\"{message}\"}}}}}}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Tool;

    #[test]
    fn a_call_is_about_two_hundred_octets_long() {
        assert!((180..=220).contains(&Tool::Echo.line(10_000).len()));
    }
}
