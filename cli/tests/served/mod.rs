//! `vouchsafe ca`, running, with everything it says written down.

use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::home::{Home, VOUCHSAFE};
use crate::lines::Lines;

/// The CA of a home, serving until it is dropped.
pub(crate) struct Served<'a> {
    home: &'a Home,
    process: Child,
    /// Where operators and agents with a certificate connect.
    pub(crate) operators: String,
    /// Where everybody else does.
    pub(crate) everybody: String,
    /// What it says on standard error.
    pub(crate) says: Lines,
}

impl<'a> Served<'a> {
    pub(crate) fn start(home: &'a Home, options: &[&str]) -> Self {
        Self::run(home, home.command(VOUCHSAFE), options)
    }

    /// By a command that runs the binary in its own way.
    pub(crate) fn run(home: &'a Home, mut serve: Command, options: &[&str]) -> Self {
        serve.arg("ca").args(options);
        for listener in ["--listen", "--public"] {
            if !options.contains(&listener) {
                serve.args([listener, "127.0.0.1:0"]);
            }
        }
        let mut process = serve.stdout(Stdio::null()).spawn().unwrap();
        let says = Lines::follow(process.stderr.take().unwrap());
        let (_, line) = says.wait_for(0, "for everybody");
        let address = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
        let everybody = address(&line);
        let operators = address(&says.wait_for(0, "for operators").1);
        Self { home, process, operators, everybody, says }
    }

    /// A command that asks this CA, as the operator in a directory. It has not begun yet.
    pub(crate) fn command(&self, identity: &str, arguments: &[&str]) -> Command {
        asking(self.home, &self.operators, identity, arguments)
    }

    /// The same, once it is done.
    pub(crate) fn ask(&self, identity: &str, arguments: &[&str]) -> Output {
        self.command(identity, arguments).output().unwrap()
    }

    /// One that must succeed, and what it printed.
    pub(crate) fn told(&self, identity: &str, arguments: &[&str]) -> String {
        let output = self.ask(identity, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// One that must succeed, and the JSON it printed.
    pub(crate) fn json(&self, identity: &str, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.told(identity, &[arguments, &["--json"]].concat())).unwrap()
    }

    /// One that must be refused, and what it said.
    pub(crate) fn refused(&self, identity: &str, arguments: &[&str]) -> String {
        let output = self.ask(identity, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stops(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        let status = self.process.wait().unwrap();
        (status, self.says.all())
    }
}

/// A command that asks the CA at this address, as the operator in a directory of the folder.
pub(crate) fn asking(home: &Home, ca: &str, identity: &str, arguments: &[&str]) -> Command {
    let mut command = home.command(VOUCHSAFE);
    // No home: whatever comes back came over the network.
    command.env_remove("VOUCHSAFE_HOME");
    command.args(arguments).args(["--ca", ca, "--identity", identity]);
    command
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        // If it is gone already, there is nobody to tell.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        drop(self.process.wait());
    }
}
