//! `vouchsafe serve` and `vouchsafe connect`, running, with everything they say written down.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::home::{Home, VOUCHSAFE};
use crate::lines::Lines;

/// A gateway that serves until it is dropped.
pub(crate) struct Serving {
    process: Child,
    /// Where it listens.
    pub(crate) address: String,
    /// What it says on standard error.
    pub(crate) says: Lines,
}

impl Serving {
    /// As the gateway `gw`, with the demo's server behind it.
    pub(crate) fn notes(home: &Home, options: &[&str]) -> Self {
        Self::start(home, options, &[VOUCHSAFE, "demo-server"])
    }

    /// As the gateway `gw`, with any server behind it, or with one that the options name.
    pub(crate) fn start(home: &Home, options: &[&str], server: &[&str]) -> Self {
        let mut serve = home.command(VOUCHSAFE);
        serve.args(["serve", "--identity", "gw"]).args(options);
        if !options.contains(&"--listen") {
            serve.args(["--listen", "127.0.0.1:0"]);
        }
        if !server.is_empty() {
            serve.arg("--").args(server);
        }
        serve.env("PATH", "/usr/bin:/bin").env("PASSED", "on").env("SECRET", "x");
        let mut process = serve.stdout(Stdio::null()).spawn().unwrap();
        let says = Lines::follow(process.stderr.take().unwrap());
        let (_, line) = says.wait_for(0, "listening on ");
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { process, address, says }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stops(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        let status = self.process.wait().unwrap();
        (status, self.says.all())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // If it is gone already, there is nobody to tell.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        drop(self.process.wait());
    }
}

/// A client's session through `vouchsafe connect`.
pub(crate) struct Talk {
    process: Child,
    stdin: Option<ChildStdin>,
    /// What comes back.
    pub(crate) hears: Lines,
    errors: Lines,
    heard: usize,
}

impl Talk {
    /// As an identity; nothing is said yet.
    pub(crate) fn begin(home: &Home, address: &str, identity: &str, options: &[&str]) -> Self {
        let mut connect: Command = home.command(VOUCHSAFE);
        connect.args(["connect", address, "--identity", identity]).args(options);
        connect.stdin(Stdio::piped());
        let mut process = connect.spawn().unwrap();
        let hears = Lines::follow(process.stdout.take().unwrap());
        let errors = Lines::follow(process.stderr.take().unwrap());
        let stdin = process.stdin.take();
        Self { process, stdin, hears, errors, heard: 0 }
    }

    /// As an identity that is let in, with the version of MCP agreed.
    pub(crate) fn with(home: &Home, address: &str, identity: &str) -> Self {
        Self::with_options(home, address, identity, &[])
    }

    /// As [`with`](Self::with), with further flags of `connect`.
    pub(crate) fn with_options(
        home: &Home,
        address: &str,
        identity: &str,
        options: &[&str],
    ) -> Self {
        let mut talk = Self::begin(home, address, identity, options);
        let client = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let answer = talk.asks("initialize", &params);
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
        talk.says(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        talk
    }

    pub(crate) fn says(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// One request and the line that comes back.
    pub(crate) fn asks(&mut self, method: &str, params: &Value) -> Value {
        let id = self.heard + 1;
        self.says(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let (_, line) = self.hears.wait_for(self.heard, "{");
        self.heard += 1;
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// One call: the text of its result, or of its error.
    pub(crate) fn calls(&mut self, tool: &str, arguments: &Value) -> String {
        let answer = self.asks("tools/call", &json!({"name": tool, "arguments": arguments}));
        let text = answer["result"]["content"][0]["text"].as_str();
        text.or_else(|| answer["error"]["message"].as_str()).unwrap().to_owned()
    }

    /// How the session ended by itself: the exit code, and what was said on standard error.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let status = self.process.wait().unwrap();
        drop(self.stdin.take());
        let code = status.code();
        if code != Some(0) {
            self.errors.wait_for(0, "error: ");
        }
        (code, self.errors.all().join("\n"))
    }

    /// Leaves in good order.
    pub(crate) fn leaves(mut self) {
        drop(self.stdin.take());
        assert_eq!(self.ended(), (Some(0), String::new()));
    }
}

/// Puts a file in the place of another, in one step.
pub(crate) fn replace(path: &Path, contents: &[u8]) {
    let new = path.with_extension("new");
    File::create_new(&new).unwrap().write_all(contents).unwrap();
    std::fs::rename(new, path).unwrap();
}
