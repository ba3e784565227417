//! `vouchsafe serve`, the real one, with a server behind it of which two hundred cost nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vouchsafe_transport::Identity;

use crate::home::{Home, VOUCHSAFE};

/// An MCP server of one line: it answers every request alike.
const SERVER: &str = r#"while IFS= read -r line; do
    id=${line#*\"id\":}
    echo "{\"jsonrpc\":\"2.0\",\"id\":${id%%[,\}]*},\"result\":{\"content\":[]}}"
done"#;

/// A gateway that serves until it is dropped, following `home/crl.pem`.
pub(crate) struct Gate {
    process: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    audit: PathBuf,
}

impl Gate {
    pub(crate) fn open(home: &Home) -> Self {
        home.run(&["issue", "gate", "--server", "--dns", "localhost"]);
        let list = home.path("home/crl.pem").display().to_string();
        let mut serve = home.command(VOUCHSAFE);
        serve.args(["serve", "--identity", "gate", "--listen", "127.0.0.1:0"]);
        serve.args(["--audit", "audit.jsonl", "--crl", &list, "--env", "PATH=/usr/bin:/bin"]);
        let mut process = serve.args(["--", "sh", "-c", SERVER]).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap_or_else(|| panic!("{first}"));
        let address = address.parse().unwrap();
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { process, address, audit: home.path("audit.jsonl") }
    }

    /// What the gateway's audit says of one device, in order.
    pub(crate) fn events_of(&self, identity: &Identity) -> Vec<Value> {
        let audit = fs::read_to_string(&self.audit).unwrap();
        let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let principal = identity.certificate.principal.to_string();
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

/// Issues an agent's certificate, and reads the identity that was written.
pub(crate) fn agent(home: &Home, name: &str, more: &[&str]) -> Arc<Identity> {
    home.run(&[&["issue", name, "--allow", "tools:*"], more].concat());
    let read = |file: &str| fs::read(home.path(name).join(file)).unwrap();
    let key = String::from_utf8(read("key.pem")).unwrap();
    let identity = Identity::from_pem(&read("certificate.pem"), &key, &read("roots.pem"));
    Arc::new(identity.unwrap())
}
