//! A CA with very many certificates on record: what it takes to look at them, and to revoke one.

mod filling;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::args::{How, Work};
use crate::client::{Client, KeyExchange, holder};
use crate::disk;
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::micros;
use crate::processes::{Memory, Running, pin};
use crate::server::{Ca, installed};
use crate::statistics::{Spread, quantile};
use crate::world::World;

const METHOD: &str = "A home is filled through the library, every certificate signed and recorded as always. Then `vouchsafe ca` \
    is started on it, on one core, and an operator asks over mutual TLS: for pages of `list`, for the certificates of one device, for \
    what has a permission that nobody has (a page looks at so many records and no more), and to revoke. What a \
    revocation syncs is counted by strace, where it is installed.";

/// Questions of each kind.
const QUESTIONS: u32 = 50;

const OPERATOR: &str = "operator";

const PAGES: &str = "a page of `list`";
const DEVICE: &str = "`list` of one device";
const SEARCH: &str = "a page of a search without a hit";
const REVOKE: &str = "`revoke` of a device";

/// ms, syncs, s, and MiB.
const PAGE: f64 = 20.0;
const SYNCS: f64 = 2.0;
const START: f64 = 2.0;

/// What was asked, how long each answer took, and the CPU time that it took of the CA, in ms.
struct Asked {
    what: &'static str,
    took: Spread,
    cpu: f64,
}

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    let home = world.path("large");
    let filled = filling::fill(world, &home, how.stored)?;
    pin(world.cores.client)?;
    let begun = Instant::now();
    let ca = serve(world, &home)?;
    let start = begun.elapsed();
    let fresh = ca.process.memory()?;
    let mut operator = Operator::connect(world, &ca)?;
    let asked = vec![
        operator.pages(PAGES, &ca.process)?,
        operator.often(DEVICE, &ca.process, "list", |nth| json!({ "principal": device(nth) }))?,
        operator.often(SEARCH, &ca.process, "list", |_| json!({ "may": "nothing:here" }))?,
        operator.often(REVOKE, &ca.process, "revoke", |nth| json!({ "what": device(nth) }))?,
    ];
    let syncs = operator.syncs_of_revoking(world, &ca.process)?;
    let used = ca.process.memory()?;
    let again = restart(world, &home, ca)?;
    let mut findings =
        Findings::new(&Work::Store, &format!("A CA with {} certificates", how.stored), METHOD);
    tell(&asked, syncs, world, &mut findings)?;
    tell_size(&home, [fresh, used], [start, again], &filled, &mut findings)?;
    Ok(findings)
}

fn command(world: &World, home: &Path) -> Command {
    let mut command = Command::new(&world.vouchsafe);
    command.arg("--home").arg(home);
    command
}

fn serve(world: &World, home: &Path) -> Result<Ca> {
    Ca::serve_home(world, command(world, home))
}

/// As an upgrade does it: asked to stop, and started again.
fn restart(world: &World, home: &Path, mut ca: Ca) -> Result<Duration> {
    kill_process(Pid::from_child(&ca.process.0), Signal::TERM)?;
    ca.process.0.wait()?;
    let begun = Instant::now();
    serve(world, home)?;
    Ok(begun.elapsed())
}

/// The name of one of the devices on record.
fn device(nth: u32) -> String {
    format!("fleet/device-{nth}")
}

impl Asked {
    fn of(what: &'static str, took: Vec<f64>, cpu: Duration) -> Self {
        let cpu = micros(cpu) / 1e3 / f64::from(u32::try_from(took.len()).unwrap_or(u32::MAX));
        Self { what, took: Spread::of(took), cpu }
    }
}

struct Operator {
    client: Client,
    asked: u32,
}

impl Operator {
    fn connect(world: &World, ca: &Ca) -> Result<Self> {
        let config = holder(&world.path(OPERATOR), KeyExchange::PostQuantum)?;
        let mut client = Client::connect(ca.operators, &config)?;
        client.initialize()?;
        Ok(Self { client, asked: 0 })
    }

    /// Asks one question; says how long the answer took.
    fn ask(&mut self, tool: &str, arguments: &Value) -> Result<Duration> {
        self.asked += 1;
        let params = json!({ "name": tool, "arguments": arguments });
        let call =
            json!({ "jsonrpc": "2.0", "id": self.asked, "method": "tools/call", "params": params });
        let line = format!("{call}\n");
        let begun = Instant::now();
        self.client.call(line.as_bytes(), b"\"isError\":false")?;
        Ok(begun.elapsed())
    }

    fn often(
        &mut self,
        what: &'static str,
        ca: &Running,
        tool: &str,
        arguments: impl Fn(u32) -> Value,
    ) -> Result<Asked> {
        let before = ca.cpu().total();
        let ask = |nth| Ok(micros(self.ask(tool, &arguments(nth))?) / 1e3);
        let took = (0..QUESTIONS).map(ask).collect::<Result<Vec<_>>>()?;
        Ok(Asked::of(what, took, ca.cpu().total() - before))
    }

    /// One page after the other, from the first.
    fn pages(&mut self, what: &'static str, ca: &Running) -> Result<Asked> {
        let (mut took, mut arguments) = (Vec::new(), json!({}));
        let before = ca.cpu().total();
        for _ in 0..QUESTIONS {
            took.push(micros(self.ask("list", &arguments)?) / 1e3);
            let answer: Value = serde_json::from_slice(self.client.answer())?;
            let next = answer.pointer("/result/structuredContent/next").and_then(Value::as_str);
            let Some(next) = next else { break };
            arguments = json!({ "after": next });
        }
        Ok(Asked::of(what, took, ca.cpu().total() - before))
    }

    /// How many syncs of files one revocation takes, if they can be counted.
    fn syncs_of_revoking(&mut self, world: &World, ca: &Running) -> Result<Option<f64>> {
        let Some(strace) = installed("strace") else { return Ok(None) };
        let trace = world.path("trace");
        let mut command = Command::new(strace);
        command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"]).arg(&trace);
        command.args(["-p", &ca.0.id().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut tracing = Running::start(&mut command)?;
        wait_until_traced(ca)?;
        for nth in 0..QUESTIONS {
            self.ask("revoke", &json!({ "what": device(QUESTIONS + nth) }))?;
        }
        kill_process(Pid::from_child(&tracing.0), Signal::INT)?;
        tracing.0.wait()?;
        let trace = fs::read_to_string(trace)?;
        let calls = trace.lines().filter(|line| line.contains("sync(")).count();
        Ok(Some(f64::from(u32::try_from(calls)?) / f64::from(QUESTIONS)))
    }
}

/// strace says nothing when it is ready; the kernel does.
fn wait_until_traced(process: &Running) -> Result<()> {
    let begun = Instant::now();
    let status = format!("/proc/{}/status", process.0.id());
    while fs::read_to_string(&status)?.lines().any(|line| line == "TracerPid:\t0") {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(10), "strace does not attach");
        thread::sleep(Duration::from_millis(10));
    }
    // Its other threads follow at once.
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

fn tell(asked: &[Asked], syncs: Option<f64>, world: &World, findings: &mut Findings) -> Result<()> {
    let mut table = Table::new("Asked over mutual TLS", ["question", "ms", "in syncs", "CPU ms"]);
    let mut chart = Chart::new("store", "A CA with very many certificates: answers", "ms");
    let mut times = disk::syncs(world.folder.path(), 200)?;
    times.sort_unstable();
    let sync = micros(quantile(&times, 1, 2)) / 1e3;
    for Asked { what, took, cpu } in asked {
        let spread = format!("{:.2} [{:.2}-{:.2}]", took.median, took.least, took.most);
        let syncs = format!("{:.1}", took.median / sync);
        table.push([(*what).to_owned(), spread, syncs, format!("{cpu:.2}")]);
        chart.bars.push(Bar::of(&format!("vouchsafe ca, {what}"), *took));
        if [PAGES, SEARCH].contains(what) {
            findings.targets.push(Target::at_most(*what, took.median, "ms", PAGE));
        }
    }
    if let Some(syncs) = syncs {
        findings.targets.push(Target::at_most("calls of fsync for a revocation", syncs, "", SYNCS));
    }
    findings.remarks.push(format!("One sync of this disk takes {sync:.2} ms."));
    findings.tables.push(table);
    findings.charts.push(chart);
    Ok(())
}

fn tell_size(
    home: &Path,
    [fresh, used]: [Memory; 2],
    [start, again]: [Duration; 2],
    filled: &Duration,
    findings: &mut Findings,
) -> Result<()> {
    let mebioctets = |kib: f64| format!("{:.0} MiB", kib / 1024.0);
    let mut table = Table::new("The service", ["", ""]);
    for (what, figure) in [
        ("first start", format!("{:.2} s", start.as_secs_f64())),
        ("start after a stop", format!("{:.2} s", again.as_secs_f64())),
        ("allocated after the start", mebioctets(fresh.private)),
        ("allocated after the questions", mebioctets(used.private)),
        ("most ever in memory", mebioctets(used.peak)),
        ("size of the home", format!("{:.2} GB", size(home)? / 1e9)),
        ("time to fill it", format!("{:.0} s", filled.as_secs_f64())),
    ] {
        table.push([what.to_owned(), figure]);
    }
    findings.tables.push(table);
    let what = "start of `vouchsafe ca`";
    findings.targets.push(Target::at_most(what, again.as_secs_f64(), "s", START));
    Ok(())
}

/// Octets of all files.
fn size(folder: &Path) -> Result<f64> {
    let mut octets = 0.0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).context("the home cannot be read")? {
            let entry = entry?;
            let file = entry.metadata()?;
            if file.is_dir() {
                folders.push(entry.path());
            } else {
                octets += f64::from(u32::try_from(file.len() / 1024)?) * 1024.0;
            }
        }
    }
    Ok(octets)
}
