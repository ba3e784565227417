//! Processes: on which core they run, what they cost, and that they end.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, id};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Which core the servers get, and which one the client and its bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cores {
    /// The first and the last of the cores that this process may use; on a machine with one they are the same.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = *ALLOWED;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let client = allowed.next().context("no core may be used")?;
        Ok(Self { server: allowed.next_back().unwrap_or(client), client })
    }

    /// Starts a process on the servers' core: it inherits the core of the thread that starts it.
    pub(crate) fn start_server(self, command: &mut Command) -> Result<Running> {
        pin(self.server)?;
        let started = Running::start(command);
        pin(self.client)?;
        started
    }
}

/// Puts this thread, and whatever it starts from now on, on one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// The cores that this process had when it began, before it put itself on one of them.
static ALLOWED: LazyLock<CpuSet> = LazyLock::new(|| sched_getaffinity(None).unwrap_or_default());

/// Gives this thread, and whatever it starts from now on, all of its cores again.
pub(crate) fn unpin() -> Result<()> {
    Ok(sched_setaffinity(None, &ALLOWED)?)
}

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.spawn();
        child
            .map(Self)
            .with_context(|| format!("{} does not start", command.get_program().display()))
    }

    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::of_tree(self.0.id())
    }

    /// What it and what it has started keep in memory.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut memory = Memory { private: 0.0, peak: 0.0 };
        for id in tree(self.0.id(), &all_stats()) {
            memory.private += kib(id, "smaps_rollup", "Pss_Anon:")?;
            memory.peak += kib(id, "status", "VmHWM:")?;
        }
        Ok(memory)
    }
}

fn kib(process: u32, file: &str, name: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.with_context(|| format!("the kernel does not say {name} of process {process}"))
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Not backed by a file: what it has allocated.
    pub(crate) private: f64,
    pub(crate) peak: f64,
}

/// CPU time, user and system.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Of a process itself.
    pub(crate) own: Duration,
    /// Of its descendants, those that have ended included.
    pub(crate) children: Duration,
}

impl Cpu {
    fn of_tree(root: u32) -> Self {
        let stats = all_stats();
        let mut cpu = stats.get(&root).map_or_else(Self::default, |stat| Self {
            own: ticks(stat.own),
            children: ticks(stat.reaped),
        });
        for id in tree(root, &stats).into_iter().skip(1) {
            if let Some(stat) = stats.get(&id) {
                cpu.children += ticks(stat.own + stat.reaped);
            }
        }
        cpu
    }

    pub(crate) fn total(self) -> Duration {
        self.own + self.children
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            own: self.own.saturating_sub(earlier.own),
            children: self.children.saturating_sub(earlier.children),
        }
    }
}

/// A process and all that come from it; itself first.
fn tree(root: u32, stats: &HashMap<u32, Stat>) -> Vec<u32> {
    let (mut found, mut next) = (vec![root], 0);
    while let Some(parent) = found.get(next).copied() {
        found.extend(stats.iter().filter(|(_, stat)| stat.parent == parent).map(|(id, _)| *id));
        next += 1;
    }
    found
}

/// CPU time of this process.
pub(crate) fn own_cpu() -> Duration {
    Stat::read(id()).map(|stat| ticks(stat.own)).unwrap_or_default()
}

/// CPU time of the processes that this one has started and that have ended.
pub(crate) fn children_cpu() -> Duration {
    Stat::read(id()).map(|stat| ticks(stat.reaped)).unwrap_or_default()
}

/// What all cores together have spent, idle time left out.
pub(crate) fn busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    // user nice system, then idle iowait, then irq softirq steal.
    let counted = fields.enumerate().filter(|(nth, _)| matches!(nth, 0..=2 | 5..=7));
    ticks(counted.filter_map(|(_, field)| field.parse::<u32>().ok()).sum())
}

fn ticks(count: u32) -> Duration {
    let per_second = u32::try_from(clock_ticks_per_second()).unwrap_or(100);
    Duration::from_secs(1) * count / per_second
}

/// One line of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    own: u32,
    /// Of children that have ended and were waited for.
    reaped: u32,
}

fn all_stats() -> HashMap<u32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|id| Some((id, Stat::read(id)?))).collect()
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in brackets may hold anything, blanks and brackets included.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let field = |nth: usize| fields.get(nth)?.parse::<u32>().ok();
        Some(Self {
            parent: field(1)?,
            own: field(11)? + field(12)?,
            reaped: field(13)? + field(14)?,
        })
    }
}
