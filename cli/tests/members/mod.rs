//! Those who make up a fleet: agents that work and renew, and clerks who keep a CA busy.

use std::collections::BTreeSet;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::home::{Home, VOUCHSAFE};
use crate::lines::{Lines, PATIENCE};
use crate::served::asking;
use crate::serving::Talk;

/// From one call of an agent to the next.
const PACE: Duration = Duration::from_millis(200);

/// What an agent did.
pub(crate) struct Work {
    pub(crate) calls: usize,
    /// What was answered instead of a result.
    pub(crate) lost: Vec<String>,
}

/// An agent with a bridge to a gateway, and a daemon that renews its certificate.
pub(crate) struct Agent {
    work: JoinHandle<Work>,
    enough: Arc<AtomicBool>,
    renewing: Child,
    /// What the daemon says.
    renewals: Lines,
}

impl Agent {
    /// Lets an agent that has enrolled call its gateway again and again.
    pub(crate) fn begin(home: &Home, name: &str, gate: &str, ca: &str) -> Self {
        let mut renew = home.command(VOUCHSAFE);
        renew.args(["renew", name, "--daemon", "--ca", ca]).stdout(Stdio::null());
        let mut renewing = renew.spawn().unwrap();
        let renewals = Lines::follow(renewing.stderr.take().unwrap());
        let talk = Talk::with(home, gate, name);
        let enough = Arc::new(AtomicBool::new(false));
        let enough_soon = Arc::clone(&enough);
        let work = spawn(move || work(talk, &enough_soon));
        Self { work, enough, renewing, renewals }
    }

    /// The serial numbers of two renewals, as soon as they are there.
    pub(crate) fn renews_twice(&self) -> [String; 2] {
        let mut from = 0;
        [(); 2].map(|()| {
            let (at, line) = self.renewals.wait_for(from, "renewed: certificate ");
            from = at + 1;
            line.split(' ').nth(2).unwrap().to_owned()
        })
    }

    /// Lets it finish the call it is at; what it did, and how often it renewed.
    pub(crate) fn ends(mut self) -> (Work, usize) {
        self.enough.store(true, Ordering::Relaxed);
        kill_process(Pid::from_child(&self.renewing), Signal::TERM).unwrap();
        self.renewing.wait().unwrap();
        let said = self.renewals.all();
        let renewed = said.iter().filter(|line| line.contains("renewed: certificate ")).count();
        (self.work.join().unwrap(), renewed)
    }
}

fn work(mut talk: Talk, enough: &AtomicBool) -> Work {
    let mut work = Work { calls: 0, lost: Vec::new() };
    while !enough.load(Ordering::Relaxed) {
        let answer = talk.asks("tools/call", &json!({"name": "work", "arguments": {}}));
        work.calls += 1;
        if !answer["result"].is_object() {
            work.lost.push(answer.to_string());
        }
        sleep(PACE);
    }
    work
}

/// What the CA has acknowledged.
#[derive(Clone, Default)]
pub(crate) struct Acknowledged {
    /// Serial numbers of certificates.
    pub(crate) issued: BTreeSet<String>,
    pub(crate) revoked: BTreeSet<String>,
    /// How often no answer came.
    pub(crate) unanswered: usize,
}

/// People who have certificates issued and every second one revoked, at the same time.
pub(crate) struct Clerks {
    enough: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    clerks: Vec<JoinHandle<()>>,
}

impl Clerks {
    /// As the operator in a directory.
    pub(crate) fn begin(home: &Arc<Home>, ca: &str, identity: &'static str) -> Self {
        let (enough, acknowledged) = <(Arc<AtomicBool>, Arc<Mutex<Acknowledged>>)>::default();
        let clerk = |number: usize| {
            let (enough, acknowledged) = (Arc::clone(&enough), Arc::clone(&acknowledged));
            let (home, ca) = (Arc::clone(home), ca.to_owned());
            spawn(move || {
                let ask =
                    |arguments: &[&str]| asking(&home, &ca, identity, arguments).output().unwrap();
                for turn in (0..).take_while(|_| !enough.load(Ordering::Relaxed)) {
                    let name = format!("clerk-{number}-{turn}");
                    let issued = ask(&["issue", &name, "--json"]);
                    let Some(serial) = note(&acknowledged, &issued, |it| &mut it.issued) else {
                        continue;
                    };
                    if turn % 2 == 1 {
                        note(&acknowledged, &ask(&["revoke", &serial, "--json"]), |it| {
                            &mut it.revoked
                        });
                    }
                }
            })
        };
        let clerks = (0..4).map(clerk).collect();
        Self { enough, acknowledged, clerks }
    }

    /// Waits until so many more certificates have been acknowledged; all that has been so far.
    pub(crate) fn get(&self, more: usize) -> Acknowledged {
        let so_far = || self.acknowledged.lock().unwrap().clone();
        let (wanted, begun) = (so_far().issued.len() + more, Instant::now());
        while so_far().issued.len() < wanted {
            assert!(begun.elapsed() < PATIENCE, "the CA acknowledges nothing");
            sleep(Duration::from_millis(1));
        }
        so_far()
    }

    /// Lets each finish what it is at.
    pub(crate) fn end(self) -> Acknowledged {
        self.enough.store(true, Ordering::Relaxed);
        self.clerks.into_iter().for_each(|clerk| clerk.join().unwrap());
        self.acknowledged.lock().unwrap().clone()
    }
}

/// Notes what a command was answered.
fn note(
    acknowledged: &Mutex<Acknowledged>,
    output: &Output,
    what: fn(&mut Acknowledged) -> &mut BTreeSet<String>,
) -> Option<String> {
    let mut acknowledged = acknowledged.lock().unwrap();
    if !output.status.success() {
        acknowledged.unanswered += 1;
        return None;
    }
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    let serial = view["serial"].as_str().unwrap().to_owned();
    what(&mut acknowledged).insert(serial.clone());
    Some(serial)
}
