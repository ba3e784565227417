//! What it costs to issue a certificate that is durable before it is answered, without a network.

use std::env;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider as _};
use vouchsafe_ca::{
    Actor, Authority, Change, Founding, Home, Kind, Ledger, Order, SledStore, Store, StoreError,
};
use vouchsafe_certs::{KeyType, Permission, PrivateKey, PublicKey, TrustDomain};

use crate::args::Arguments;
use crate::disk;
use crate::processes::own_cpu;
use crate::statistics::quantile;

const CROWDS: [u32; 3] = [1, 32, 256];

/// One number of threads.
pub(crate) struct Issuing {
    pub(crate) threads: u32,
    pub(crate) certificates: u32,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Each one sync of the store and one of the journal, at the same time.
    pub(crate) writes: u64,
}

/// A durable store that counts its writes.
#[derive(Debug)]
struct CountingStore {
    inner: SledStore,
    writes: AtomicU64,
}

impl Store for CountingStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.scan_after(prefix, after, visit)
    }

    fn replace(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.replace(changes)
    }
}

/// Each number of threads in turn, on one CA.
pub(crate) fn measure(arguments: &Arguments) -> Result<Vec<Issuing>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("home");
    let clock = Arc::new(DefaultTimeProvider);
    let now = || clock.current_time().ok_or_else(|| anyhow!("the clock cannot be read"));
    let trust_domain = TrustDomain::parse("bench.example")?;
    let founding =
        Founding { trust_domain, key_type: KeyType::P256, passphrase: None, root_out: None };
    drop(Home::create(&path, founding, "bench", now()?)?);
    let home = Home::open(&path, "bench", now()?)?;
    let store = Arc::new(CountingStore { inner: home.open_store()?, writes: AtomicU64::new(0) });
    let shared: Arc<dyn Store> = store.clone();
    let ledger = Ledger::open(shared, &home.journal_path())?;
    let authority = Authority::open(home, ledger, None, clock)?;
    let key = PrivateKey::generate(KeyType::P256)?.public_key()?;
    let one = |threads| crowd(threads, &authority, &store, &key, arguments.window());
    CROWDS.into_iter().map(one).collect()
}

/// So many threads, each of which asks again as soon as it is answered.
fn crowd(
    threads: u32,
    authority: &Authority,
    store: &CountingStore,
    key: &PublicKey,
    window: Duration,
) -> Result<Issuing> {
    let writes = store.writes.load(Ordering::Relaxed);
    let (cpu, begun) = (own_cpu(), Instant::now());
    let latencies = thread::scope(|scope| {
        let one = |nth| {
            scope.spawn(move || {
                let mut latencies = Vec::new();
                while begun.elapsed() < window {
                    let order = order(&format!("team/agent-{nth}-{}", latencies.len()), key)?;
                    let started = Instant::now();
                    authority.issue(&Actor::Home, order)?;
                    latencies.push(started.elapsed());
                }
                Ok::<_, anyhow::Error>(latencies)
            })
        };
        let crowd: Vec<_> = (0..threads).map(one).collect();
        let panicked = |_| Err(anyhow!("a thread has panicked"));
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(panicked);
        crowd.into_iter().map(join).collect::<Result<Vec<Vec<Duration>>>>()
    })?;
    let (elapsed, cpu) = (begun.elapsed(), own_cpu().saturating_sub(cpu));
    let mut latencies = latencies.concat();
    latencies.sort_unstable();
    Ok(Issuing {
        threads,
        certificates: u32::try_from(latencies.len())?.max(1),
        elapsed,
        cpu,
        p50: quantile(&latencies, 1, 2),
        p99: quantile(&latencies, 99, 100),
        writes: store.writes.load(Ordering::Relaxed) - writes,
    })
}

fn order(name: &str, key: &PublicKey) -> Result<Order> {
    let trust_domain = TrustDomain::parse("bench.example")?;
    let allowed = ["tools:search", "tools:read_*", "resources:file:///srv/*"];
    Ok(Order {
        principal: trust_domain.principal(name)?,
        kind: Kind::Agent,
        permissions: allowed.into_iter().map(Permission::parse).collect::<Result<_, _>>()?,
        lifetime: None,
        public_key: key.clone(),
    })
}

/// What one sync of a small write costs here: the least that a durable answer can take.
pub(crate) fn sync() -> Result<Duration> {
    let mut times = disk::syncs(&env::temp_dir(), 200)?;
    times.sort_unstable();
    Ok(quantile(&times, 1, 2))
}
