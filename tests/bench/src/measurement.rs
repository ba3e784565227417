//! Doing one thing again and again for some time, and what that cost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::processes::{Running, busy, own_cpu};
use crate::statistics::{Spread, quantile};

/// Until the processes of sessions that have ended are counted.
const SETTLE: Duration = Duration::from_millis(100);

/// One way to do it, with one measurement a round.
pub(crate) struct Way {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Round>,
}

/// One measurement.
pub(crate) struct Round {
    operations: u32,
    elapsed: Duration,
    server: Duration,
    children: Duration,
    bridge: Duration,
    others: Duration,
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Round {
    /// Does `operation` for as long as `window`.
    pub(crate) fn of(
        server: &Running,
        bridge: Option<&Running>,
        window: Duration,
        operation: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        Self::around(server, bridge, || repeat(window, operation))
    }

    /// Does `work`, which says how long each of its operations took.
    pub(crate) fn around(
        server: &Running,
        bridge: Option<&Running>,
        work: impl FnOnce() -> Result<Vec<Duration>>,
    ) -> Result<Self> {
        let bridge_cpu = || bridge.map(|bridge| bridge.cpu().total()).unwrap_or_default();
        sleep(SETTLE);
        let before = (server.cpu(), bridge_cpu(), own_cpu(), busy());
        let begun = Instant::now();
        let mut latencies = work()?;
        let elapsed = begun.elapsed();
        sleep(SETTLE);
        let (tree, bridge) = (server.cpu().since(before.0), bridge_cpu() - before.1);
        let ours = tree.total() + bridge + own_cpu().saturating_sub(before.2);
        latencies.sort_unstable();
        Ok(Self {
            operations: u32::try_from(latencies.len())?.max(1),
            elapsed,
            server: tree.own,
            children: tree.children,
            bridge,
            others: busy().saturating_sub(before.3).saturating_sub(ours),
            latencies,
        })
    }

    fn each(&self, cpu: Duration) -> f64 {
        micros(cpu) / f64::from(self.operations)
    }
}

/// Does `operation` again and again for as long as `window`, and says how long each took.
fn repeat(window: Duration, mut operation: impl FnMut() -> Result<()>) -> Result<Vec<Duration>> {
    let (begun, mut latencies) = (Instant::now(), Vec::new());
    while begun.elapsed() < window {
        let started = Instant::now();
        operation()?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

impl Way {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: Vec::new() }
    }

    /// Whatever stands for one operation: CPU time of this part of the process tree, by something that counts more.
    pub(crate) fn cpu_per(&self, units: f64) -> Spread {
        let Spread { median, least, most } = self.cpu();
        Spread { median: median / units, least: least / units, most: most / units }
    }

    fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure))
    }

    /// Microseconds of CPU time per operation: the server and the processes it started.
    pub(crate) fn cpu(&self) -> Spread {
        self.spread(|round| round.each(round.server + round.children))
    }

    /// The same without the processes it started.
    pub(crate) fn cpu_alone(&self) -> Spread {
        self.spread(|round| round.each(round.server))
    }

    /// Of the bridge on the client's side, where there is one.
    pub(crate) fn bridge(&self) -> Spread {
        self.spread(|round| round.each(round.bridge))
    }

    /// Microseconds that half of the operations took at most.
    pub(crate) fn median(&self) -> Spread {
        self.spread(|round| micros(quantile(&round.latencies, 1, 2)))
    }

    /// Microseconds that 99 of 100 operations took at most.
    pub(crate) fn p99(&self) -> Spread {
        self.spread(|round| micros(quantile(&round.latencies, 99, 100)))
    }

    pub(crate) fn per_second(&self) -> Spread {
        self.spread(|round| f64::from(round.operations) / round.elapsed.as_secs_f64())
    }

    /// Cores that everything else on this machine kept busy.
    pub(crate) fn others(&self) -> Spread {
        self.spread(|round| round.others.as_secs_f64() / round.elapsed.as_secs_f64())
    }
}
