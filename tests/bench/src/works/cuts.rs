//! How long a revocation takes to reach the last of many live sessions.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Gate;
use crate::args::{How, Work};
use crate::client::{KeyExchange, holder};
use crate::crowd::{Crowd, Session};
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::limits::open_files;
use crate::measurement::micros;
use crate::processes::{Running, pin};
use crate::server::{Behind, Server};
use crate::statistics::Spread;
use crate::world::World;

const METHOD: &str = "A device holds many live sessions to `vouchsafe serve --share`, which follows the CA's list in a \
    file. `vouchsafe revoke` is started; every session's client notes when the first octet of its end arrives. Times \
    run from the start of the command, whose durable record, new list and exit are part of them, and from the moment \
    at which the list's file changed. The gateway has one core, the command and all clients have another.";

/// ms from the start of the command.
const MOST: f64 = 100.0;

/// Longer than any cut takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Files that a process has open besides its sessions'.
const OTHER_FILES: usize = 200;

/// One device revoked: when sessions ended, in ms.
struct Cut {
    first: f64,
    last: f64,
    /// From the list's change to the last session.
    after_list: f64,
    /// From the start of the command to the list's change.
    list: f64,
    /// Of the gateway, from the start of the command to the last session.
    cpu: f64,
}

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    pin(world.cores.client)?;
    let sessions = how.cut_sessions.min(open_files().saturating_sub(OTHER_FILES));
    let server = Server::vouchsafe_for(world, Behind::Shared, 0, sessions)?;
    let mut gate = Gate::new(world, "vouchsafe serve --share", server, KeyExchange::PostQuantum)?;
    let mut cuts = Vec::new();
    for round in 0..how.rounds() {
        let device = format!("device-{round}");
        world.issue_agent(&device)?;
        gate.door.config = holder(&world.path(&device), KeyExchange::PostQuantum)?;
        let crowd = Crowd::gather(&gate.door, sessions)?;
        cuts.push(cut(world, &gate.server.process, &device, crowd)?);
    }
    Ok(findings(&cuts, sessions))
}

fn cut(world: &World, gateway: &Running, device: &str, crowd: Crowd) -> Result<Cut> {
    let (runtime, sessions) = crowd.into_parts();
    let count = sessions.len();
    let waiting = wait_for_ends(&runtime, sessions);
    let cpu = gateway.cpu();
    #[expect(clippy::disallowed_methods, reason = "compared with the time of a file")]
    let (started, wall) = (Instant::now(), SystemTime::now());
    let mut command = world.command();
    command.args(["revoke", device]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut revoking = Running::start(command.stderr(Stdio::null()))?;
    let ends = runtime.block_on(ends(waiting))?;
    let cpu = gateway.cpu().since(cpu).total();
    ensure!(revoking.0.wait()?.success(), "`vouchsafe revoke` failed");
    ensure!(ends.len() == count, "some sessions were not cut");
    let list = fs::metadata(world.path("home/crl.pem"))?.modified()?;
    let list = list.duration_since(wall).unwrap_or_default();
    let since_start = |end: &Instant| milliseconds(end.duration_since(started));
    let last = ends.iter().map(since_start).fold(0.0, f64::max);
    Ok(Cut {
        first: ends.iter().map(since_start).fold(f64::MAX, f64::min),
        last,
        after_list: last - milliseconds(list),
        list: milliseconds(list),
        cpu: milliseconds(cpu),
    })
}

type Waiting = JoinSet<Result<(Instant, Session)>>;

/// One task for each session, which notes when something happens to it.
fn wait_for_ends(runtime: &Runtime, sessions: Vec<Session>) -> Waiting {
    let _on_it = runtime.enter();
    let mut waiting = JoinSet::new();
    for session in sessions {
        waiting.spawn(async move {
            let tcp = session.stream.get_ref().get_ref().0;
            tcp.readable().await?;
            Ok((Instant::now(), session))
        });
    }
    waiting
}

/// When each ended; and that it is really over.
async fn ends(mut waiting: Waiting) -> Result<Vec<Instant>> {
    let (mut ends, mut sessions) = (Vec::new(), Vec::new());
    while let Some(end) = timeout(PATIENCE, waiting.join_next()).await? {
        let (end, session) = end??;
        ends.push(end);
        sessions.push(session);
    }
    for mut session in sessions {
        let mut octets = [0; 256];
        let read = timeout(PATIENCE, session.stream.read(&mut octets));
        let read = read.await.context("a session was not ended")?;
        ensure!(read.is_err() || read.is_ok_and(|read| read == 0), "a session goes on");
    }
    Ok(ends)
}

fn milliseconds(duration: Duration) -> f64 {
    micros(duration) / 1e3
}

fn findings(cuts: &[Cut], sessions: usize) -> Findings {
    let title = format!("Revoking the holder of {sessions} live sessions");
    let mut findings = Findings::new(&Work::Cuts, &title, METHOD);
    let spread = |figure: fn(&Cut) -> f64| Spread::of(cuts.iter().map(figure));
    let rows: [(&str, Spread); 5] = [
        ("command to first session cut", spread(|cut| cut.first)),
        ("command to last session cut", spread(|cut| cut.last)),
        ("list changed to last session cut", spread(|cut| cut.after_list)),
        ("command to list changed", spread(|cut| cut.list)),
        ("CPU of the gateway meanwhile", spread(|cut| cut.cpu)),
    ];
    let mut table = Table::new("", ["from … to", "ms"]);
    let mut chart = Chart::new("cuts", &title, "ms");
    for (name, spread) in rows {
        table.push([name.to_owned(), crate::findings::table::spread(spread)]);
        chart.bars.push(Bar::of(name, spread));
    }
    chart.target = Some(MOST);
    let what = format!("`vouchsafe revoke` to the last of {sessions} sessions cut");
    findings.targets.push(Target::at_most(what, spread(|cut| cut.last).median, "ms", MOST));
    findings.tables.push(table);
    findings.charts.push(chart);
    findings.remarks.push(
        "nginx, haproxy and stunnel do not cut live sessions at all when a list changes."
            .to_owned(),
    );
    findings
}
