//! One `tools/call` after the other over HTTP, by three gateways to the same server on stdio.

mod gateways;

use std::time::Duration;

use anyhow::{Context as _, Result};

use self::gateways::Gateway;
use super::{WARM_UP, named};
use crate::answer;
use crate::args::{How, Work};
use crate::client::{Client, agent_over_http};
use crate::findings::table::{optional, spread};
use crate::findings::{Bar, Chart, Findings, Table, Target};
use crate::issuance::http::is_whole;
use crate::measurement::{Round, Way};
use crate::processes::{Running, pin};
use crate::server::{Behind, Server};
use crate::world::World;

const METHOD: &str = "One client posts one call of about 200 octets after the other on one connection that it keeps. Ours does \
    mutual TLS, policy, revocation and audit meanwhile; the others speak plain HTTP and ask nobody who they are. \
    Behind each is the same server on stdio, whose own CPU is in `with the server` and not in the first column.";

const SESSION: &str = "vouchsafe serve, session";
const STATELESS: &str = "vouchsafe serve, stateless";

/// How much less than a gateway over HTTP ours is to cost.
const AT_LEAST: f64 = 10.0;

/// A connection that stays open for all rounds, and the gateway at its end.
struct Route {
    name: &'static str,
    server: Running,
    caller: Caller,
}

/// Who calls.
struct Caller {
    /// Connects anew for each turn: servers end connections that are silent while others have theirs.
    connect: Box<dyn Fn() -> Result<Client>>,
    client: Client,
    /// Lines that stand in the head of each request.
    fields: String,
    /// What stands in each call beside its name and arguments.
    meta: &'static str,
    calls: u32,
}

pub(crate) fn measure(world: &World, how: &How) -> Result<Findings> {
    pin(world.cores.client)?;
    let mut findings = Findings::new(&Work::Http, "Calls over HTTP, CPU of the gateway", METHOD);
    let mut routes = vec![ours(world, SESSION)?, ours(world, STATELESS)?];
    for gateway in Gateway::ALL {
        findings.beside.push(gateway.version());
        if gateway.is_installed() {
            let (server, address) = gateway.serve(world)?;
            let caller = Caller::with_session(Box::new(move || Client::plain(address)))
                .with_context(|| format!("{} does not answer", gateway.name))?;
            routes.push(Route { name: gateway.name, server, caller });
        }
    }
    let mut ways: Vec<Way> = routes.iter().map(|route| Way::new(route.name)).collect();
    for _ in 0..how.rounds() {
        for (route, way) in routes.iter_mut().zip(&mut ways) {
            route.caller.client = (route.caller.connect)()?;
            let name = route.name;
            route.run(WARM_UP).with_context(|| format!("{name} does not answer"))?;
            way.rounds.push(route.run(how.window())?);
        }
    }
    tell(&ways, &mut findings);
    Ok(findings)
}

fn ours(world: &World, name: &'static str) -> Result<Route> {
    let Server { process: server, address, .. } = Server::vouchsafe(world, Behind::Child, 0)?;
    let config = agent_over_http(world)?;
    let connect = Box::new(move || Client::connect(address, &config));
    let caller =
        if name == SESSION { Caller::with_session(connect)? } else { Caller::stateless(connect)? };
    Ok(Route { name, server, caller })
}

fn tell(ways: &[Way], findings: &mut Findings) {
    let ours = named(ways, SESSION).map(|way| way.cpu_alone().median);
    let heads = ["way", "CPU µs/call", "× ours", "with the server", "p50 µs", "p99 µs"];
    let mut table = Table::new("", heads);
    let mut chart =
        Chart::new("http", "CPU of a gateway for a call over HTTP", "µs of gateway CPU per call");
    for way in ways {
        let cpu = way.cpu_alone();
        let ratio = ours.map(|ours| cpu.median / ours);
        table.push([
            way.name.clone(),
            spread(cpu),
            optional(ratio, 1),
            spread(way.cpu()),
            optional(Some(way.median().median), 0),
            optional(Some(way.p99().median), 0),
        ]);
        chart.bars.push(Bar::of(&way.name, cpu));
        if let Some(ratio) = ratio.filter(|_| !way.name.starts_with("vouchsafe")) {
            let what = format!("CPU of a call over HTTP: {}, by ours", way.name);
            findings.targets.push(Target::at_least(what, ratio, "×", AT_LEAST));
        }
    }
    findings.tables.push(table);
    findings.charts.push(chart);
    findings.note_disturbance(ways);
}

impl Route {
    fn run(&mut self, window: Duration) -> Result<Round> {
        let caller = &mut self.caller;
        Round::of(&self.server, None, window, || caller.call())
    }
}

impl Caller {
    /// As revisions up to 2025-11-25 have it: initialized, and a session named in every request.
    fn with_session(connect: Box<dyn Fn() -> Result<Client>>) -> Result<Self> {
        let mut client = connect()?;
        let body = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}";
        client.exchange(&post("", body), is_whole, b"\"protocolVersion\"")?;
        let answer = String::from_utf8_lossy(client.answer()).into_owned();
        let named = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
        };
        let session = answer.lines().find_map(named).context("there is no session")?;
        let fields = format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-06-18\r\n");
        let initialized = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
        client.exchange(&post(&fields, initialized), is_whole, b" 202 ")?;
        Ok(Self { connect, client, fields, meta: "", calls: 0 })
    }

    /// As 2026-07-28 has it: every request stands for itself.
    fn stateless(connect: Box<dyn Fn() -> Result<Client>>) -> Result<Self> {
        let fields =
            "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n";
        let meta = ",\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientInfo\":{\"name\":\"bench\",\"version\":\"1\"},\"io.modelcontextprotocol/clientCapabilities\":{}}";
        let client = connect()?;
        Ok(Self { connect, client, fields: fields.to_owned(), meta, calls: 0 })
    }

    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"{:x<100}\"}}{}}}}}",
            self.calls, "", self.meta
        );
        self.client.exchange(&post(&self.fields, &body), is_whole, answer::ECHOED)
    }
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    let fields = format!("Accept: application/json, text/event-stream\r\n{fields}");
    crate::issuance::http::post("/mcp", "application/json", &fields, body)
}
