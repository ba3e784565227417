//! One `tools/call` after the other on one session, by four ways to the same server on stdio.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{WARM_UP, named};
use crate::args::{How, Work};
use crate::client::{Client, KeyExchange, agent, with_pipes};
use crate::findings::table::{optional, spread};
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::measurement::{Round, Way};
use crate::peers;
use crate::processes::{Running, pin};
use crate::server::{Behind, Server};
use crate::world::World;

const METHOD: &str = "One session, one call of 200 octets after the other, to a process of its own on stdio. `over \
    raw` is what a way adds to the bare pipe.";

const RAW: &str = "raw stdio";
const SERVE: &str = "vouchsafe serve";
const STUNNEL: &str = "stunnel exec";

/// A session that stays open for all rounds, and the processes that serve it.
struct Route {
    name: &'static str,
    session: Session,
    server: Running,
    bridge: Option<Running>,
}

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    pin(world.cores.client)?;
    let mut routes = vec![raw(world)?, serve(world)?, connect(world)?];
    routes.extend(stunnel(world)?);
    let mut ways: Vec<Way> = routes.iter().map(|route| Way::new(route.name)).collect();
    for _ in 0..how.rounds() {
        for (route, way) in routes.iter_mut().zip(&mut ways) {
            route.run(WARM_UP)?;
            way.rounds.push(route.run(how.window())?);
        }
    }
    Ok(findings(&ways))
}

fn raw(world: &World) -> Result<Route> {
    let mut command = Command::new(&world.own);
    let mut server = world.cores.start_server(with_pipes(command.arg("child")))?;
    let session = Session::begin(Client::over(&mut server)?)?;
    Ok(Route { name: RAW, session, server, bridge: None })
}

fn serve(world: &World) -> Result<Route> {
    let Server { process: server, address, .. } = Server::vouchsafe(world, Behind::Child, 0)?;
    let client = Client::connect(address, &agent(world, KeyExchange::PostQuantum)?)?;
    let session = Session::begin(client)?;
    Ok(Route { name: SERVE, session, server, bridge: None })
}

fn connect(world: &World) -> Result<Route> {
    let Server { process: server, address, .. } = Server::vouchsafe(world, Behind::Child, 0)?;
    let mut command = world.command();
    command.arg("connect").arg(address.to_string()).arg("--identity").arg(world.path("agent"));
    let mut bridge = Running::start(with_pipes(&mut command))?;
    let session = Session::begin(Client::over(&mut bridge)?)?;
    Ok(Route { name: "vouchsafe connect + serve", session, server, bridge: Some(bridge) })
}

fn stunnel(world: &World) -> Result<Option<Route>> {
    let Some(Server { process: server, address, .. }) = peers::stunnel_exec(world)? else {
        return Ok(None);
    };
    let client = Client::connect(address, &agent(world, KeyExchange::PostQuantum)?)?;
    let session = Session::begin(client)?;
    Ok(Some(Route { name: STUNNEL, session, server, bridge: None }))
}

fn findings(ways: &[Way]) -> Findings {
    let mut findings = Findings::new(&Work::Stdio, "Calls to a server on stdio, CPU", METHOD);
    let versions = peers::versions().into_iter();
    findings.beside = versions.filter(|version| version.starts_with("stunnel")).collect();
    let heads = ["way", "CPU µs/call", "over raw", "× stunnel", "p50 µs", "p99 µs", "bridge µs"];
    let mut table = Table::new("", heads);
    let mut chart =
        Chart::new("stdio", "CPU that a way adds to raw stdio", "µs of server CPU per call");
    let cpu = |name| named(ways, name).map(|way| way.cpu().median);
    let raw = cpu(RAW).unwrap_or_default();
    let rival = cpu(STUNNEL).map(|cpu| cpu - raw);
    for way in ways {
        let over = Some(way.cpu().median - raw).filter(|_| way.name != RAW);
        let bridge = Some(way.bridge().median).filter(|cpu| *cpu > 0.0);
        table.push([
            way.name.clone(),
            spread(way.cpu()),
            optional(over, 1),
            optional(over.zip(rival).map(|(over, rival)| over / rival), 2),
            optional(Some(way.median().median), 0),
            optional(Some(way.p99().median), 0),
            optional(bridge, 1),
        ]);
        chart.bars.extend(over.map(|over| Bar::new(&way.name, over)));
    }
    if let Some((ours, rival)) = cpu(SERVE).map(|cpu| cpu - raw).zip(rival) {
        let what = "CPU that `serve` adds to raw stdio, by what stunnel exec adds";
        findings.targets.push(Target::at_most(what, ours / rival, "×", 1.0));
    }
    findings.tables.push(table);
    findings.charts.push(chart);
    findings.note_disturbance(ways);
    findings
}

impl Route {
    fn run(&mut self, window: Duration) -> Result<Round> {
        let session = &mut self.session;
        Round::of(&self.server, self.bridge.as_ref(), window, || session.call())
    }
}

struct Session {
    client: Client,
    calls: u32,
}

impl Session {
    fn begin(mut client: Client) -> Result<Self> {
        client.initialize()?;
        Ok(Self { client, calls: 0 })
    }

    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        let line = crate::crowd::Tool::Echo.line(self.calls);
        let expected = format!("\"id\":{},\"result\"", self.calls);
        self.client.call(line.as_bytes(), expected.as_bytes())
    }
}
