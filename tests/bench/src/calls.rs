//! One `tools/call` after the other on one session, by four ways to the same server.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::args::Arguments;
use crate::client::{Client, KeyExchange, agent, with_pipes};
use crate::measurement::{Round, Way};
use crate::processes::{Running, pin};
use crate::server::{Server, stunnel_program};
use crate::world::World;

pub(crate) const RAW: &str = "raw stdio";
pub(crate) const STUNNEL: &str = "stunnel exec";

/// Before each measurement: what cooled down while the others had their turns.
const WARM_UP: Duration = Duration::from_millis(200);

/// A session that stays open for all rounds, and the processes that serve it.
struct Route {
    name: &'static str,
    session: Session,
    server: Running,
    bridge: Option<Running>,
}

pub(crate) fn measure(world: &World, arguments: &Arguments) -> Result<Vec<Way>> {
    pin(world.cores.client)?;
    let mut routes = vec![raw(world)?, serve(world)?, connect(world)?];
    if stunnel_program().is_some() {
        routes.push(stunnel(world)?);
    }
    let mut ways: Vec<Way> = routes.iter().map(|route| Way::new(route.name)).collect();
    for _ in 0..arguments.rounds.max(1) {
        for (route, way) in routes.iter_mut().zip(&mut ways) {
            route.run(WARM_UP)?;
            way.rounds.push(route.run(arguments.window())?);
        }
    }
    Ok(ways)
}

fn raw(world: &World) -> Result<Route> {
    let mut command = Command::new(&world.own);
    let mut server = world.cores.start_server(with_pipes(command.arg("child")))?;
    let session = Session::begin(Client::over(&mut server)?)?;
    Ok(Route { name: RAW, session, server, bridge: None })
}

fn serve(world: &World) -> Result<Route> {
    let Server { process: server, address } = Server::vouchsafe(world, false)?;
    let client = Client::connect(address, &agent(world, KeyExchange::PostQuantum)?)?;
    let session = Session::begin(client)?;
    Ok(Route { name: "vouchsafe serve", session, server, bridge: None })
}

fn connect(world: &World) -> Result<Route> {
    let Server { process: server, address } = Server::vouchsafe(world, false)?;
    let mut command = world.command();
    command.arg("connect").arg(address.to_string()).arg("--identity").arg(world.path("agent"));
    let mut bridge = Running::start(with_pipes(&mut command))?;
    let session = Session::begin(Client::over(&mut bridge)?)?;
    Ok(Route { name: "vouchsafe connect + serve", session, server, bridge: Some(bridge) })
}

fn stunnel(world: &World) -> Result<Route> {
    let Server { process: server, address } = Server::stunnel(world, false)?;
    let client = Client::connect(address, &agent(world, KeyExchange::PostQuantum)?)?;
    let session = Session::begin(client)?;
    Ok(Route { name: STUNNEL, session, server, bridge: None })
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
    /// What is the same in every call, which is about 200 octets long.
    rest: String,
}

impl Session {
    fn begin(mut client: Client) -> Result<Self> {
        client.initialize()?;
        let message = "x".repeat(100);
        let rest = format!(
            ",\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"{message}\"}}}}}}\n"
        );
        Ok(Self { client, calls: 0, rest })
    }

    fn call(&mut self) -> Result<()> {
        self.calls += 1;
        let (id, rest) = (self.calls, &self.rest);
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id}{rest}");
        self.client.call(line.as_bytes(), format!("\"id\":{id},\"result\"").as_bytes())
    }
}
