//! `vouchsafe serve`, the real one, with a server behind it of which two hundred cost nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::home::{Home, VOUCHSAFE};
use crate::lines::Lines;

/// An MCP server of one answer, which it gives to every request.
const SERVER: &str = r#"
about='"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"sh","version":"1"}'
while IFS= read -r line; do
    case $line in *'"id":'*)
        id=${line#*\"id\":}
        echo "{\"jsonrpc\":\"2.0\",\"id\":${id%%[,\}]*},\"result\":{$about,\"content\":[]}}"
    esac
done"#;

/// A gateway that serves until it is dropped.
pub(crate) struct Gate {
    process: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// What it says on standard error.
    pub(crate) says: Lines,
    audit: PathBuf,
}

impl Gate {
    /// With the identity of this name, at an address of this host, following lists from somewhere.
    pub(crate) fn open(home: &Home, identity: &str, host: &str, lists: &[&str]) -> Self {
        let audit = home.path(&format!("{identity}.jsonl"));
        let mut serve = home.command(VOUCHSAFE);
        serve.args(["serve", "--identity", identity, "--listen", &format!("{host}:0")]);
        serve.arg("--audit").arg(&audit).args(lists).args(["--env", "PATH=/usr/bin:/bin"]);
        let mut process = serve.args(["--", "sh", "-c", SERVER]).spawn().unwrap();
        let says = Lines::follow(process.stderr.take().unwrap());
        let (_, line) = says.wait_for(0, "listening on ");
        let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { process, address, says, audit }
    }

    /// What the gateway's audit says of one device, in order.
    pub(crate) fn events_of(&self, device: &str) -> Vec<Value> {
        let audit = fs::read_to_string(&self.audit).unwrap();
        let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let principal = format!("spiffe://acme.example/{device}");
        events.filter(|event| event["principal"] == *principal).collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let process = Pid::from_child(&self.process);
        // If it is gone already, there is nobody to tell.
        let _ = kill_process(process, Signal::TERM);
        drop(self.process.wait());
    }
}
