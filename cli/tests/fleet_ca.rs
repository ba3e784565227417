//! One CA, three gateways, and agents that enrol, work and renew. A device that is stolen loses every
//! session at every gateway at once, and a CA that is killed takes nothing with it.
//!
//! What is promised is promised of fifty agents, in fifty repetitions, by what is optimised:
//!
//! ```text
//! VOUCHSAFE_FLEET_AGENTS=50 VOUCHSAFE_FLEET_REPETITIONS=50 \
//!     cargo test --release -p vouchsafe --test fleet_ca -- --nocapture
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod crowd;
#[expect(dead_code, reason = "of how sessions end, this needs a part")]
mod cut;
mod gate;
mod home;
mod lines;
mod members;
#[expect(dead_code, reason = "of what a served CA can be asked, this needs a part")]
mod served;
#[expect(dead_code, reason = "agents talk, and the gateways are others")]
mod serving;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::Output;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crowd::{Crowd, Gathering};
use cut::{Cut, bound, lost_nothing};
use gate::Gate;
use home::{Home, VOUCHSAFE};
use members::{Acknowledged, Agent, Clerks};
use rustix::process::Signal;
use serde_json::Value;
use served::Served;
use tokio::time::sleep;
use vouchsafe_tests::identity_in;

const OPERATOR: &str = "home/operator";

/// Where the CA serves, on whatever port is free.
const CA: &str = "127.0.0.2";

/// The gateways, where they serve, and how many sessions a stolen device has there.
const GATES: [(&str, &str, usize); 3] =
    [("gate-1", "127.0.0.3", 4), ("gate-2", "127.0.0.4", 3), ("gate-3", "127.0.0.5", 3)];

/// How long the agents' certificates live.
const LIFETIME: &str = "15s";

/// From the acknowledgement of a revocation to the last cut.
const PROMISED: Duration = Duration::from_millis(100);

struct Fleet {
    home: Arc<Home>,
    gates: Vec<Gate>,
    /// Certificates whose issuance was acknowledged.
    issued: BTreeSet<String>,
    /// Devices whose revocation was acknowledged.
    revoked: BTreeSet<String>,
}

/// The sessions of one device, by gateway.
struct Stolen {
    name: String,
    sessions: Vec<Crowd>,
}

/// The events of a device whose sessions have ended; the record follows a moment after the cut.
async fn when_recorded(gate: &Gate, device: &str) -> Vec<Value> {
    for _ in 0..500 {
        let events = gate.events_of(device);
        let count = |kinds: &[&str]| {
            events.iter().filter(|event| kinds.iter().any(|kind| event["event"] == **kind)).count()
        };
        if count(&["opened"]) == count(&["cut", "closed"]) {
            return events;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("a session of {device} has not ended by the record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_device_is_cut_at_every_gateway_and_a_killed_ca_takes_nothing_with_it() {
    let agents = number("VOUCHSAFE_FLEET_AGENTS", 12);
    let repetitions = number("VOUCHSAFE_FLEET_REPETITIONS", 6);
    let home = Arc::new(Home::new());
    let listeners = [format!("{CA}:0"), format!("{CA}:0")];
    let ca = serve(&home, &listeners);
    let mut fleet = Fleet::gather(&home, &ca);
    let crew = fleet.enlist(&ca, agents);

    let mut cuts = Vec::new();
    for turn in 0..repetitions / 2 {
        cuts.push(fleet.loses(&ca, &format!("stolen-{turn}")).await);
    }
    let (ca, first_again) = fleet.survives_its_ca(&home, ca).await;
    for turn in repetitions / 2..repetitions {
        cuts.push(fleet.loses(&ca, &format!("stolen-{turn}")).await);
    }

    fleet.issued.extend(crew.iter().flat_map(Agent::renews_twice));
    let (mut calls, mut lost, mut renewals) = (0, Vec::new(), 0);
    for agent in crew {
        let (work, renewed) = agent.ends();
        calls += work.calls;
        lost.extend(work.lost);
        renewals += renewed;
    }
    fleet.is_on_record(&ca, &BTreeSet::new());
    let times = Times::of(&cuts);
    eprintln!(
        "{agents} agents, {repetitions} devices stolen: the last of 10 sessions of each was cut {times} after it was acknowledged\n\
         the first revocation after the CA was killed and back: {first_again:+.1} ms\n\
         the agents renewed {renewals} times and made {calls} calls, {} lost",
        lost.len()
    );
    assert_eq!(lost, Vec::<String>::new());
    assert!(times.p99 <= bound(PROMISED).as_secs_f64() * 1000.0, "{times}");
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

fn serve<'a>(home: &'a Home, [operators, everybody]: &[String; 2]) -> Served<'a> {
    let options = ["--listen", operators, "--public", everybody, "--ip", CA];
    Served::start(home, &[&options[..], &["--audit", "ca.jsonl"]].concat())
}

/// The serial number in what a command printed, which must have succeeded.
fn serial(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    text(&view, "serial").to_owned()
}

fn enrol(home: &Home, ca: &Served<'_>, name: &str, options: &[&str]) -> String {
    enrol_into(home, ca, name, name, options)
}

fn enrol_into(
    home: &Home,
    ca: &Served<'_>,
    directory: &str,
    name: &str,
    options: &[&str],
) -> String {
    let invite = ["invite", name, "--address", &ca.everybody];
    let said = ca.told(OPERATOR, &[&invite, options].concat());
    let mut enroll = home.command(VOUCHSAFE);
    serial(&enroll.args(["enroll", said.trim(), "--out", directory, "--json"]).output().unwrap())
}

impl Fleet {
    /// The gateways, which enrol as everybody does.
    fn gather(home: &Arc<Home>, ca: &Served<'_>) -> Self {
        let mut issued = BTreeSet::new();
        let gates = GATES.map(|(name, host, _)| {
            issued.insert(enrol(home, ca, name, &["--server", "--dns", "localhost", "--ip", host]));
            Gate::open(home, name, host, &["--ca", &ca.everybody])
        });
        let gates = Vec::from(gates);
        Self { home: Arc::clone(home), gates, issued, revoked: BTreeSet::new() }
    }

    /// Agents that enrol all at once, and work from then on.
    fn enlist(&mut self, ca: &Served<'_>, agents: usize) -> Vec<Agent> {
        let begin = |number: usize| {
            let name = format!("agent-{number}");
            let issued = enrol(&self.home, ca, &name, &["--allow", "tools:*", "--ttl", LIFETIME]);
            let gate = self.gates[number % self.gates.len()].address.to_string();
            (issued, Agent::begin(&self.home, &name, &gate, &ca.operators))
        };
        let begun: Vec<_> = thread::scope(|scope| {
            let beginning: Vec<_> =
                (0..agents).map(|number| scope.spawn(move || begin(number))).collect();
            beginning.into_iter().map(|agent| agent.join().unwrap()).collect()
        });
        let (issued, crew): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
        self.issued.extend(issued);
        crew
    }

    /// A device that enrols, renews, and enrols anew, and has sessions of every one of its certificates
    /// at different gateways.
    async fn steal(&mut self, ca: &Served<'_>, name: &str) -> Stolen {
        let options = ["--allow", "tools:*", "--ttl", "10m"];
        let anew = format!("{name}-anew");
        let mut sessions = Vec::new();
        for (turn, (gate, (_, _, size))) in self.gates.iter().zip(GATES).enumerate() {
            let directory = if turn < 2 { name } else { &anew };
            let held = if turn == 1 {
                let mut renew = self.home.command(VOUCHSAFE);
                renew.args(["renew", name, "--ca", &ca.operators, "--json"]);
                serial(&renew.output().unwrap())
            } else {
                enrol_into(&self.home, ca, directory, name, &options)
            };
            self.issued.insert(held);
            let identity = identity_in(&self.home.path(directory));
            sessions.push(Gathering::of(&identity, gate.address, size).await);
        }
        let sessions = sessions.into_iter().map(Gathering::begin).collect();
        Stolen { name: name.to_owned(), sessions }
    }

    /// Revokes a device while it is at work, and waits until every session of it was cut: how they
    /// ended, by gateway, seen from the acknowledgement.
    async fn revoke(&mut self, ca: &Served<'_>, stolen: Stolen) -> Vec<Cut> {
        let Stolen { name, sessions } = stolen;
        let mut revoke = ca.command(OPERATOR, &["revoke", &name]).spawn().unwrap();
        let mut line = String::new();
        let read = BufReader::new(revoke.stdout.take().unwrap()).read_line(&mut line);
        let acknowledged = Instant::now();
        assert!(read.unwrap() > 0 && revoke.wait().unwrap().success());
        let mut cuts = Vec::new();
        for crowd in sessions {
            cuts.push(Cut::of(&crowd.until_cut().await, acknowledged));
        }
        for (gate, cut) in self.gates.iter().zip(&cuts) {
            cut.is_the_last_word(&when_recorded(gate, &name).await, "the certificate is revoked");
        }
        self.revoked.insert(name);
        cuts
    }

    /// Steals and revokes: how long after the acknowledgement the last session was cut, in milliseconds.
    async fn loses(&mut self, ca: &Served<'_>, name: &str) -> f64 {
        let stolen = self.steal(ca, name).await;
        sleep(Duration::from_millis(100)).await;
        last_ms(&self.revoke(ca, stolen).await)
    }

    /// Kills the CA in the midst of work, and starts it again where it was; how long after the
    /// acknowledgement of the first revocation from then on the last session was cut.
    async fn survives_its_ca<'a>(&mut self, home: &'a Home, ca: Served<'a>) -> (Served<'a>, f64) {
        let stolen = self.steal(&ca, "stolen-meanwhile").await;
        self.issued.insert(enrol(home, &ca, "steady", &["--allow", "tools:*"]));
        let clerks = Clerks::begin(&self.home, &ca.operators, OPERATOR);
        clerks.get(8);
        let addresses = [ca.operators.clone(), ca.everybody.clone()];
        ca.stops(Signal::KILL);
        let killed = Instant::now();

        // The gateways have noticed, go on, and let in whom they know nothing bad of.
        let noticed = |gate: &Gate| gate.says.wait_for(0, "the list in force stays until").0;
        let noticed: Vec<_> = self.gates.iter().map(noticed).collect();
        let steady = identity_in(&home.path("steady"));
        let mut others = Vec::new();
        for gate in &self.gates {
            others.push(Gathering::of(&steady, gate.address, 1).await.begin());
        }
        let ca = serve(home, &addresses);
        let outage = killed.elapsed();
        let cuts = self.revoke(&ca, stolen).await;
        clerks.get(8);
        let Acknowledged { issued, revoked, unanswered } = clerks.end();
        assert!(unanswered > 0, "it was not killed in the midst of work");
        eprintln!(
            "the CA was gone for {outage:.1?}; {} certificates and {} revocations were acknowledged just \
             before and after, {unanswered} requests were not answered",
            issued.len(),
            revoked.len()
        );
        self.issued.extend(issued);
        self.is_on_record(&ca, &revoked);
        for (gate, noticed) in self.gates.iter().zip(noticed) {
            gate.says.wait_for(noticed, " again");
        }
        sleep(Duration::from_secs(1)).await;
        for crowd in others {
            let lives = crowd.disperse().await;
            cuts.iter().for_each(|cut| assert!(lost_nothing(&lives, cut) > 0));
        }
        (ca, last_ms(&cuts))
    }

    /// Everything that was acknowledged is known to the CA, and its history is whole.
    fn is_on_record(&self, ca: &Served<'_>, revoked: &BTreeSet<String>) {
        let listed = ca.json(OPERATOR, &["list"]);
        let listed: BTreeMap<_, _> =
            listed.as_array().unwrap().iter().map(|view| (text(view, "serial"), view)).collect();
        for serial in &self.issued {
            assert!(listed.contains_key(serial.as_str()), "{serial} was lost");
        }
        for serial in revoked {
            assert_eq!(listed[serial.as_str()]["status"], "revoked");
        }
        for device in &self.revoked {
            let principal = format!("spiffe://acme.example/{device}");
            let mut held = listed.values().filter(|view| view["principal"] == *principal);
            assert!(held.clone().count() == GATES.len(), "{device}");
            assert!(held.all(|view| view["status"] == "revoked"), "{device}");
        }
        assert!(ca.told(OPERATOR, &["audit", "--verify"]).starts_with("The history is whole"));
    }
}

fn text<'a>(view: &'a Value, field: &str) -> &'a str {
    view[field].as_str().unwrap()
}

/// The last of the cuts at all gateways, in milliseconds after the acknowledgement, or before it.
fn last_ms(cuts: &[Cut]) -> f64 {
    cuts.iter().map(Cut::last_ms).fold(f64::NEG_INFINITY, f64::max)
}

/// Figures of many repetitions, in milliseconds.
struct Times {
    half: f64,
    /// By nearest rank.
    p99: f64,
    longest: f64,
}

impl Times {
    fn of(times: &[f64]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable_by(f64::total_cmp);
        let rank = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        Self { half: rank(50), p99: rank(99), longest: rank(100) }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { half, p99, longest } = self;
        write!(f, "p50 {half:+.1}, p99 {p99:+.1}, at most {longest:+.1} ms")
    }
}
