//! The child process behind one session: its own process group, a clean environment, an end that is certain.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::process::{self, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Peer;

/// What a child inherits of the gateway's environment; anything else may be a secret of the gateway's.
const INHERITED: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL"];

/// A child cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChildError {
    /// No command was given.
    #[error("no command was given to serve")]
    NoCommand,
    /// The system refuses to start it.
    #[error("{program} cannot be started: {error}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        error: io::Error,
    },
}

/// How to start the MCP server that a session talks to.
#[derive(Debug, Clone)]
pub struct ChildCommand {
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
}

impl ChildCommand {
    /// Of a program and its arguments. The environment is PATH, HOME, USER, LOGNAME, LANG, LC_ALL,
    /// TZ, TMPDIR and SHELL of this process, and what `environment` adds.
    ///
    /// # Errors
    /// [`ChildError::NoCommand`] if there is not even a program.
    pub fn new(
        command: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ChildError> {
        let mut command = command.into_iter();
        let program = command.next().ok_or(ChildError::NoCommand)?;
        let inherited =
            INHERITED.iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        let environment = inherited.chain(environment).collect();
        Ok(Self { program, arguments: command.collect(), environment })
    }

    /// Starts a child for a session of `peer`.
    pub(crate) fn start(
        &self,
        peer: &Peer,
        grace: Duration,
        alive: mpsc::Sender<()>,
    ) -> Result<(Child, Pipes), ChildError> {
        let spawned = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .env("VOUCHSAFE_PRINCIPAL", peer.principal.as_str())
            .env("VOUCHSAFE_PERMISSIONS", peer.permissions.to_string())
            .env("VOUCHSAFE_SERIAL", peer.serial.to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let failed = |error| ChildError::Start {
            program: self.program.to_string_lossy().into_owned(),
            error,
        };
        let mut process = spawned.map_err(failed)?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let running = Running { process, grace, _alive: alive };
        Ok((Child(Some(running)), Pipes { stdin, stdout, stderr }))
    }
}

/// A child's standard streams.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// A running child. Dropping it ends the child's whole process group.
pub(crate) struct Child(Option<Running>);

struct Running {
    process: process::Child,
    grace: Duration,
    /// Held until the child has been reaped, so that a gateway can wait for the last one.
    _alive: mpsc::Sender<()>,
}

impl Child {
    /// Ends the child the way MCP asks for: its stdin is closed by now; it gets time to leave by itself.
    pub(crate) fn finish(mut self) {
        if let Some(running) = self.0.take() {
            tokio::spawn(running.leave());
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            tokio::spawn(running.terminate());
        }
    }
}

impl Running {
    async fn leave(mut self) {
        // Whether it left or not, what remains of its group goes now.
        drop(timeout(self.grace, self.process.wait()).await);
        self.terminate().await;
    }

    async fn terminate(mut self) {
        let Some(group) = self.group() else { return };
        signal(group, Signal::TERM);
        drop(timeout(self.grace, self.process.wait()).await);
        // A leader that left may have left others of its group behind (npx does).
        signal(group, Signal::KILL);
        drop(self.process.wait().await);
    }

    /// The child leads its own process group, so the group's number is the child's.
    fn group(&self) -> Option<Pid> {
        self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }
}

fn signal(group: Pid, signal: Signal) {
    // The only error that can occur is that nobody of the group is left.
    let _ = kill_process_group(group, signal);
}
