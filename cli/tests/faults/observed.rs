//! `vouchsafe serve`, and all that the system knows of it.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustls::ClientConfig;
use serde_json::{Value, json};
use vouchsafe_tests::{Client, Memory, children, identity_in, tls_config};

use crate::home::{Home, VOUCHSAFE};
use crate::lines::{Lines, PATIENCE};

/// A server of one answer: some octets, or eight million where the call says `large`.
pub(crate) const SERVER: &str = r#"
while IFS= read -r line; do
    id=${line#*\"id\":}
    case $line in *large*) text=$(head -c 8000000 /dev/zero | tr '\0' x) ;; *) text=here ;; esac
    printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}\n' "${id%%,*}" "$text"
done
"#;

/// A process that serves until it is dropped.
pub(crate) struct ObservedGate {
    pub(crate) home: Home,
    process: Child,
    pub(crate) address: SocketAddr,
    says: Lines,
}

impl ObservedGate {
    /// With the server above behind it, and agents `a` and `honest`.
    pub(crate) fn open(options: &[&str]) -> Self {
        Self::limited("true", options, &["--", "sh", "-c", SERVER])
    }

    /// After a command of the shell that sets limits, and with any server.
    pub(crate) fn limited(limit: &str, options: &[&str], server: &[&str]) -> Self {
        let home = Home::new();
        // For the control socket, which is its owner's alone.
        DirBuilder::new().mode(0o700).create(home.path("run")).unwrap();
        home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
        for agent in ["a", "honest"] {
            home.run(&["issue", agent, "--allow", "tools:*"]);
        }
        let mut serve = home.command("/bin/sh");
        serve.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), VOUCHSAFE, "serve"]);
        serve.args(["--identity", "gw", "--listen", "127.0.0.1:0", "--audit", "audit.jsonl"]);
        if !geteuid().is_root() {
            // Only root may count the descriptors of a process that nobody looks into.
            serve.arg("--unconfined");
        }
        serve.args(options).args(server);
        let mut process = serve.env("PATH", "/usr/bin:/bin").spawn().unwrap();
        let says = Lines::follow(process.stderr.take().unwrap());
        let (_, line) = says.wait_for(0, "listening on ");
        let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { home, process, address, says }
    }

    /// What `a` connects with.
    pub(crate) fn config(&self) -> ClientConfig {
        tls_config(&identity_in(&self.home.path("a")))
    }

    /// Sessions of `a`, each answered once, until one is refused; and what that one is told.
    pub(crate) async fn fill(&self, at_most: usize) -> (Vec<Client>, Value) {
        let mut sessions = Vec::new();
        loop {
            let mut client = Client::connect_with(self.address, self.config()).await.unwrap();
            let answer = client.try_call("any", json!({})).await.unwrap().unwrap();
            if answer["result"].is_null() {
                return (sessions, answer);
            }
            sessions.push(client);
            assert!(sessions.len() <= at_most, "there is no end of sessions");
        }
    }

    /// An honest agent comes, calls and leaves.
    pub(crate) async fn serves(&self) {
        let honest = identity_in(&self.home.path("honest"));
        let mut client = Client::connect(self.address, &honest).await;
        assert_eq!(client.call("any", json!({})).await, "here");
        client.close().await;
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let audit = fs::read_to_string(self.home.path("audit.jsonl")).unwrap();
        // The last line may be on its way.
        audit.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the audit is as it should be.
    pub(crate) async fn until(&self, what: &str, is_it: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let events = self.events();
            if is_it(&events) {
                return events;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {:#?} {:#?}", events, self.says.all());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the process holds: descriptors and children.
    pub(crate) fn holds(&self) -> (usize, usize) {
        let own = self.process.id().to_string();
        let descriptors = fs::read_dir(format!("/proc/{own}/fd")).unwrap().count();
        (descriptors, children(&own).len())
    }

    /// What it holds after an honest agent was there: no child, and so many descriptors.
    pub(crate) async fn at_rest(&self) -> usize {
        self.serves().await;
        let begun = Instant::now();
        let mut before = usize::MAX;
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (descriptors, children) = self.holds();
            if children == 0 && descriptors == before {
                return descriptors;
            }
            before = descriptors;
            assert!(begun.elapsed() < PATIENCE, "{children} children");
        }
    }

    /// Nothing is left of all that was: no child, no session, no descriptor more than at rest.
    pub(crate) async fn is_as_before(&self, at_rest: usize) {
        let begun = Instant::now();
        while self.holds().1 > 0 || self.holds().0 > at_rest {
            assert!(begun.elapsed() < PATIENCE, "{:?} against {at_rest} at rest", self.holds());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.home.run(&["sessions"]), "no sessions\n");
    }

    /// Octets of memory that are its own.
    pub(crate) fn memory(&self) -> u64 {
        Memory::Own.of(self.process.id())
    }
}

impl Drop for ObservedGate {
    fn drop(&mut self) {
        // If it is gone already, there is nobody to tell.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        drop(self.process.wait());
    }
}
