//! A network between a client and a server, which goes wrong at the octet at which it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of one direction of a connection. Octets are counted from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "for tests, which name them all")]
pub enum Fault {
    /// Nothing goes wrong.
    #[default]
    None,
    /// After so many octets both ends see the connection reset (RFC 9293 §3.5.2).
    Reset(u64),
    /// After so many octets both ends see it closed, as if the other had done so.
    Cut(u64),
    /// After so many octets this direction is closed, and the other goes on.
    HalfClose(u64),
    /// After so many octets nothing arrives any more, and nobody is told: what is sent is received and lost.
    Lose(u64),
    /// After so many octets nothing is taken any more: whoever sends finds its buffers full.
    Stall(u64),
    /// So many octets at a time, each piece by itself.
    Split(usize),
    /// Every piece comes so much later.
    Delay(Duration),
}

/// What becomes of both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "for tests, which name both")]
pub struct Faults {
    /// From the client to the server.
    pub to_server: Fault,
    /// From the server to the client.
    pub to_client: Fault,
}

/// Stands before a server and carries connections to it, until it is dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    /// Where clients connect instead.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    faults: Mutex<Faults>,
    /// Of the latest connection: to the server, to the client.
    passed: Mutex<Arc<[AtomicU64; 2]>>,
}

impl ChaosProxy {
    /// Before a server; nothing goes wrong yet.
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = tokio::spawn(serve(listener, server, Arc::clone(&shared)));
        Self { address, shared, serving }
    }

    /// What happens to connections from now on.
    pub fn will(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// How many octets of the latest connection have arrived: at the server, at the client.
    #[must_use]
    pub fn passed(&self) -> (u64, u64) {
        let passed = self.shared.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let [to_server, to_client] = &**passed;
        (to_server.load(Ordering::SeqCst), to_client.load(Ordering::SeqCst))
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                let faults = *shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
                let passed = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
                *shared.passed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&passed);
                connections.spawn(connection(client, server, faults, passed));
            }
        }
    }
}

/// How the connection ends for both.
enum End {
    /// Each direction ends by itself.
    Own,
    Closed,
    Reset,
}

async fn connection(
    mut client: TcpStream,
    server: SocketAddr,
    faults: Faults,
    passed: Arc<[AtomicU64; 2]>,
) {
    // A server that is gone closes the client's connection as well.
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // Without this option it is only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let [to_server, to_client] = &*passed;
    let end = {
        let (from_client, into_client) = client.split();
        let (from_server, into_server) = server.split();
        let mut up = std::pin::pin!(carry(from_client, into_server, faults.to_server, to_server));
        let mut down = std::pin::pin!(carry(from_server, into_client, faults.to_client, to_client));
        let first = tokio::select! {
            end = &mut up => (end, true),
            end = &mut down => (end, false),
        };
        match first {
            (End::Own, true) => down.await,
            (End::Own, false) => up.await,
            (end, _) => end,
        }
    };
    if let End::Reset = end {
        // With nothing to linger for, closing resets.
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    fault: Fault,
    passed: &AtomicU64,
) -> End {
    let mut octets = vec![0; 16 * 1024];
    let most = match fault {
        Fault::Reset(most)
        | Fault::Cut(most)
        | Fault::HalfClose(most)
        | Fault::Lose(most)
        | Fault::Stall(most) => most,
        Fault::None | Fault::Split(_) | Fault::Delay(_) => u64::MAX,
    };
    loop {
        let left = most - passed.load(Ordering::SeqCst);
        if left == 0 {
            return fail(fault, from, to).await;
        }
        let room = octets.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = from.read(&mut octets[..room]).await.unwrap_or(0);
        if read == 0 {
            // Whoever is gone already need not be told.
            let _ = to.shutdown().await;
            return End::Own;
        }
        let piece = if let Fault::Split(piece) = fault { piece } else { read };
        if let Fault::Delay(delay) = fault {
            tokio::time::sleep(delay).await;
        }
        for piece in octets[..read].chunks(piece) {
            if to.write_all(piece).await.is_err() {
                return End::Closed;
            }
            tokio::task::yield_now().await;
        }
        passed.fetch_add(u64::try_from(read).unwrap(), Ordering::SeqCst);
    }
}

/// The moment has come.
async fn fail(fault: Fault, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
    match fault {
        Fault::Reset(_) => End::Reset,
        Fault::Cut(_) => End::Closed,
        Fault::HalfClose(_) => {
            let _ = to.shutdown().await;
            lose(&mut from).await;
            End::Own
        }
        Fault::Lose(_) => {
            lose(&mut from).await;
            // Its end is lost as well, until the other side ends.
            std::future::pending().await
        }
        Fault::Stall(_) => std::future::pending().await,
        Fault::None | Fault::Split(_) | Fault::Delay(_) => End::Own,
    }
}

async fn lose(from: &mut ReadHalf<'_>) {
    let mut octets = vec![0; 16 * 1024];
    while from.read(&mut octets).await.is_ok_and(|read| read > 0) {}
}
