//! What it costs to issue a certificate that is durable before it is answered, without a network.

use std::env;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider as _};
use vouchsafe_ca::{Actor, Authority, Founding, Home, Kind, Ledger, Order, Store, StoreKind};
use vouchsafe_certs::{KeyType, Permission, PrivateKey, PublicKey, TrustDomain};

use crate::args::{How, Work};
use crate::counting_store::CountingStore;
use crate::disk;
use crate::findings::{Findings, Table};
use crate::measurement::micros;
use crate::processes::own_cpu;
use crate::statistics::quantile;
use crate::world::World;

const CROWDS: [u32; 3] = [1, 32, 256];

/// One number of threads.
struct Issuing {
    threads: u32,
    certificates: u32,
    elapsed: Duration,
    cpu: Duration,
    p50: Duration,
    p99: Duration,
    /// Each one sync of the store and one of the journal, at the same time.
    writes: u64,
}

const METHOD: &str = "Threads share one CA in this process and ask for one certificate after the other: planned, signed, \
    read again, compared with the plan, recorded in store and journal, both synced. Threads that ask while the disk is \
    busy share the next write. All cores work.";

pub(crate) fn measure(_: &World, how: &How) -> Result<Findings> {
    crate::processes::unpin()?;
    let (crowds, sync) = (crowds(how.window())?, sync()?);
    let mut findings =
        Findings::new(&Work::Issuing, "Durable certificates without a network", METHOD);
    let heads = ["threads", "CPU µs", "per s", "p50 µs", "p99 µs", "writes"];
    let mut table = Table::new("", heads);
    for one in &crowds {
        let each = f64::from(one.certificates);
        let writes = f64::from(u32::try_from(one.writes).unwrap_or(u32::MAX)) / each;
        table.push([
            one.threads.to_string(),
            format!("{:.1}", micros(one.cpu) / each),
            format!("{:.0}", each / one.elapsed.as_secs_f64()),
            format!("{:.0}", micros(one.p50)),
            format!("{:.0}", micros(one.p99)),
            format!("{writes:.3}"),
        ]);
    }
    findings.tables.push(table);
    findings.remarks.push(format!(
        "All figures for one certificate. A write is one sync of the store and one of the journal at the same time; \
         one sync alone takes {:.0} µs here.",
        micros(sync)
    ));
    Ok(findings)
}

/// Each number of threads in turn, on one CA.
fn crowds(window: Duration) -> Result<Vec<Issuing>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("home");
    let clock = Arc::new(DefaultTimeProvider);
    let now = || clock.current_time().ok_or_else(|| anyhow!("the clock cannot be read"));
    let trust_domain = TrustDomain::parse("bench.example")?;
    let founding = Founding {
        trust_domain,
        key_type: KeyType::P256,
        store: StoreKind::default(),
        passphrase: None,
        root_out: None,
    };
    drop(Home::create(&path, founding, "bench", now()?)?);
    let home = Home::open(&path, "bench", now()?)?;
    let store = Arc::new(CountingStore::new(home.open_store()?));
    let shared: Arc<dyn Store> = store.clone();
    let ledger = Ledger::open(shared, &home.journal_path())?;
    let authority = Authority::open(home, ledger, None, clock)?;
    let key = PrivateKey::generate(KeyType::P256)?.public_key()?;
    let one = |threads| crowd(threads, &authority, &store, &key, window);
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
    let writes = store.writes();
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
        writes: store.writes() - writes,
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
fn sync() -> Result<Duration> {
    let mut times = disk::syncs(&env::temp_dir(), 200)?;
    times.sort_unstable();
    Ok(quantile(&times, 1, 2))
}
