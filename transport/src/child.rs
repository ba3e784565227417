//! The child process behind one session: its own process group, a clean environment, and an end that is
//! certain for it and for whoever stays in its group.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use thiserror::Error;
use tokio::process::{self, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use vouchsafe_certs::Permission;

use crate::frame::LineReader;
use crate::{Limits, Peer};

/// Octets of one line of a child's stderr that are passed on.
const STDERR_LINE: usize = 8 * 1024;

/// How long what a child has said on its stderr may take to be read once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often one looks whether anybody of a group is left: its leader's end is told, theirs is not.
const LOOK: Duration = Duration::from_millis(20);

/// Whatever must be held until a child has been reaped: its place among the sessions, for instance.
pub(crate) type Keeper = Box<dyn Send>;

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
#[derive(Clone)]
pub struct ChildCommand {
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    stderr: Option<mpsc::Sender<(u64, String)>>,
}

/// Values of the environment may be secrets.
impl fmt::Debug for ChildCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, arguments, environment, stderr: _ } = self;
        let names: Vec<&OsString> = environment.keys().collect();
        write!(f, "ChildCommand({program:?} {arguments:?}, environment {names:?})")
    }
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
        Ok(Self { program, arguments: command.collect(), environment, stderr: None })
    }

    /// Sends the lines of the children's stderr there, each with its session's number, instead of
    /// nowhere. A full channel loses lines, never time.
    #[must_use]
    pub fn with_stderr(self, lines: mpsc::Sender<(u64, String)>) -> Self {
        Self { stderr: Some(lines), ..self }
    }

    /// Starts a child for a session of `peer`.
    pub(crate) fn start(
        &self,
        session: u64,
        peer: &Peer,
        limits: &Limits,
        keeper: Keeper,
    ) -> Result<(Child, Pipes), ChildError> {
        // A pattern may hold spaces, but no control characters.
        let permissions: Vec<&str> = peer.permissions.iter().map(Permission::as_str).collect();
        let mut command = self.command();
        command
            .env("VOUCHSAFE_PRINCIPAL", peer.principal.as_str())
            .env("VOUCHSAFE_PERMISSIONS", permissions.join("\n"))
            .env("VOUCHSAFE_SERIAL", peer.serial.to_string());
        self.spawn(command, session, limits, keeper)
    }

    /// Starts a child for many sessions, which have no principal in common. What it prints to its
    /// stderr is said under the number 0.
    pub(crate) fn start_shared(&self, limits: &Limits) -> Result<(Child, Pipes), ChildError> {
        self.spawn(self.command(), 0, limits, Box::new(()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(&self.environment);
        command
    }

    fn spawn(
        &self,
        mut command: Command,
        session: u64,
        limits: &Limits,
        keeper: Keeper,
    ) -> Result<(Child, Pipes), ChildError> {
        let spawned = command
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
        let group = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (is_over, over) = oneshot::channel();
        let drained = drain(stderr, session, self.stderr.clone(), limits.idle);
        tokio::spawn(until_over(drained, over));
        let grace = limits.child_grace;
        let running = Running { process, group, grace, _is_over: is_over, _keeper: keeper };
        Ok((Child(Some(running)), Pipes { stdin, stdout }))
    }
}

/// A child's standard input and output.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

/// A child whose stderr nobody reads stops once the pipe is full, so it is always read.
async fn drain(
    stderr: ChildStderr,
    session: u64,
    lines: Option<mpsc::Sender<(u64, String)>>,
    idle: Duration,
) {
    let mut reader = LineReader::new(stderr, STDERR_LINE, idle);
    if let Some(lines) = lines {
        while let Ok(Some(line)) = reader.next().await {
            let text = String::from_utf8_lossy(line);
            drop(lines.try_send((session, text.trim_end().to_owned())));
        }
    }
    // Nobody to tell, or a line beyond the limit: the pipe is emptied without looking.
    drop(tokio::io::copy(&mut reader.into_inner(), &mut tokio::io::sink()).await);
}

/// Reads on for a moment when the child is over. Its stderr may have no end even then: whoever left its
/// group has it too, and would keep a descriptor of ours for as long as it lives.
async fn until_over(drained: impl Future<Output = ()>, over: oneshot::Receiver<()>) {
    let mut drained = std::pin::pin!(drained);
    tokio::select! {
        () = &mut drained => {}
        // Nothing is ever sent; the other end is dropped.
        _ = over => drop(timeout(LAST_WORDS, drained).await),
    }
}

/// A running child. Dropping it ends the child's whole process group.
pub(crate) struct Child(Option<Running>);

struct Running {
    process: process::Child,
    /// The child leads its own process group, so the group's number is the child's.
    group: Option<Pid>,
    grace: Duration,
    /// Dropped when the child has been reaped.
    _is_over: oneshot::Sender<()>,
    _keeper: Keeper,
}

impl Child {
    /// Ends the child the way MCP asks for: its stdin is closed by now; it gets time to leave by itself.
    pub(crate) fn finish(mut self) {
        if let Some(running) = self.0.take() {
            tokio::spawn(running.leave());
        }
    }

    /// As [`finish`](Self::finish), and waits until it has ended.
    pub(crate) async fn ended(mut self) {
        if let Some(running) = self.0.take() {
            running.leave().await;
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
        let Some(group) = self.group else { return };
        signal(group, Signal::TERM);
        // A leader that left may have left others of its group behind (npx does). Their group keeps
        // its number for as long as one of them lives, so nobody else can be hit.
        if timeout(self.grace, self.group_is_gone(group)).await.is_err() {
            signal(group, Signal::KILL);
        }
        drop(self.process.wait().await);
    }

    async fn group_is_gone(&mut self, group: Pid) {
        drop(self.process.wait().await);
        while test_kill_process_group(group).is_ok() {
            sleep(LOOK).await;
        }
    }
}

fn signal(group: Pid, signal: Signal) {
    // The only error that can occur is that nobody of the group is left.
    let _ = kill_process_group(group, signal);
}
