//! Where there is little memory: what the limits let in is what the gateway can bear.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;

use tokio::net::TcpStream;
use vouchsafe_tests::{hoard, identity_in};

use crate::observed::{ObservedGate, SERVER};

const MEGABYTE: u64 = 1024 * 1024;

/// For the gateway, and the children that it starts.
const LITTLE: u64 = 128 * MEGABYTE;

/// A group of processes that may use so much memory, and no more.
struct Group(PathBuf);

impl Group {
    /// `None` where this user can make none, or this system has none.
    fn with(memory: u64) -> Option<Self> {
        for (tree, limit) in [("memory", "memory.limit_in_bytes"), ("", "memory.max")] {
            let name = format!("vouchsafe-{}", process::id());
            let folder = Path::new("/sys/fs/cgroup").join(tree).join(name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self(folder);
            if let Ok(mut limit) = File::options().write(true).open(group.0.join(limit)) {
                limit.write_all(memory.to_string().as_bytes()).unwrap();
                return Some(group);
            }
        }
        None
    }

    /// What a shell does to get in, and whatever it starts with it.
    fn enter(&self) -> String {
        format!("echo $$ > {} || exit 1", self.0.join("cgroup.procs").display())
    }

    /// How many of its processes the system has killed because there was no more.
    fn killed(&self) -> u64 {
        let read = |file| fs::read_to_string(self.0.join(file));
        let counts = read("memory.events").or_else(|_| read("memory.oom_control")).unwrap();
        let killed = counts.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap();
        killed.parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that stays behind is in nobody's way.
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn limits_that_fit_the_memory_keep_a_gateway_alive() {
    let Some(group) = Group::with(LITTLE) else {
        println!("left out: no group with a limit of memory can be made here");
        return;
    };
    let message = 256 * 1024;
    let octets = message.to_string();
    let options =
        ["--max-sessions-per-principal", "32", "--max-sessions", "40", "--max-message", &octets];
    let gate = ObservedGate::limited(&group.enter(), &options, &["--", "sh", "-c", SERVER]);
    let at_rest = gate.at_rest().await;
    // A device takes every place that it may have, until it is told that there are no more.
    let (mut sessions, refused) = gate.fill(32).await;
    let told = refused["error"]["message"].as_str().unwrap();
    assert!(told.contains("sessions"), "{told}");
    // In each it begins a message as long as may be, and never ends it; many others say nothing at all.
    let mut begun = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","text":""#.to_owned();
    begun.push_str(&"x".repeat(message - 1 - begun.len()));
    for session in &mut sessions {
        session.write(begun.as_bytes()).await.unwrap();
    }
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(TcpStream::connect(gate.address).await.unwrap());
    }
    for _ in 0..20 {
        gate.serves().await;
    }
    println!("{} MB of {}, with all that", gate.memory() / MEGABYTE, LITTLE / MEGABYTE);
    assert_eq!(group.killed(), 0);
    drop((sessions, silent));
    gate.serves().await;
    gate.is_as_before(at_rest).await;
    // Over HTTP/2 it begins as many requests as it may on every connection, and ends none.
    let (a, mut hoards) = (identity_in(&gate.home.path("a")), Vec::new());
    for _ in 0..32 {
        hoards.push(hoard(gate.address, &a, 128, 65_535).await);
    }
    // All that is let in has come when it comes to no more.
    let mut before = 0;
    while gate.memory() > before {
        before = gate.memory() + MEGABYTE;
        for _ in 0..10 {
            gate.serves().await;
        }
    }
    println!("{} MB, with all that over HTTP/2", gate.memory() / MEGABYTE);
    assert_eq!(group.killed(), 0);
    drop(hoards);
    gate.serves().await;
}
