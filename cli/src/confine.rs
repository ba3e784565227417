//! What a process gives up before it begins to serve, so that whoever broke into it would have no more.
//!
//! Nothing of it needs a privilege, and nothing of it can be taken back. It holds for the thread that
//! asks and for all that this one starts, so it is asked for before there is another.
//!
//! * Any that serves: no privileges that programs could gain by being started (`PR_SET_NO_NEW_PRIVS`),
//!   none that they inherit (capabilities(7), ambient and inheritable), no core dumps, for keys are in memory,
//!   and for the same reason nobody but root looks into it (`PR_SET_DUMPABLE`), a program that it started least of all.
//! * One that starts no programs: it cannot start any, writes only where it must, and connects to
//!   nobody where it has nobody to ask (landlock(7)).

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::exit::Failure;

/// What a process that starts no programs goes on to need. Reading stays free: what it reads is
/// protected by the permissions of the files, or by a unit of systemd.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    writes: Vec<PathBuf>,
    connects: bool,
}

impl Needs {
    /// Whatever is in this directory may be written, made and removed.
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.writes.push(directory.to_owned());
        self
    }

    /// This file, or others beside it that take its place.
    pub(crate) fn file(self, file: &Path) -> Self {
        match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.directory(parent),
            _ => self.directory(Path::new(".")),
        }
    }

    /// TCP connections to others, if there is somebody to ask.
    pub(crate) fn connections(self, connects: bool) -> Self {
        Self { connects: self.connects || connects, ..self }
    }
}

/// How far the system went along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Confined {
    /// All that was asked for is in force.
    Wholly(Needs),
    /// Programs are to be started, but gain nothing, and inherit nothing that their user would not have.
    Privileges {
        /// Whether that user may do everything.
        is_root: bool,
    },
    /// Somebody said not to.
    Unasked,
    /// The kernel knows a part of it.
    Partly,
    /// The kernel knows nothing of it.
    Not,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privileges { is_root: false } => {
                f.write_str("the server inherits and gains no privileges")
            }
            Self::Privileges { is_root: true } => f.write_str(
                "the server gains no privileges, but runs as root, as this process does",
            ),
            Self::Unasked => f.write_str("not: --unconfined"),
            Self::Wholly(Needs { writes, connects }) => {
                f.write_str("starts no programs, ")?;
                match connects {
                    true => f.write_str("writes ")?,
                    false => f.write_str("makes no TCP connections, writes ")?,
                }
                let shown: Vec<_> = writes.iter().map(|path| path.display().to_string()).collect();
                match shown.is_empty() {
                    true => f.write_str("nowhere"),
                    false => write!(f, "beneath {} only", shown.join(" and ")),
                }
            }
            Self::Partly => f.write_str("in part: this kernel's Landlock is an old one"),
            Self::Not => f.write_str("not: this system has no Landlock"),
        }
    }
}

/// How to keep more than that.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Confinement")]
pub(crate) struct ConfineArgs {
    /// Do not give up what is not needed: writing elsewhere, starting programs, gaining privileges
    #[arg(long)]
    unconfined: bool,
}

impl ConfineArgs {
    /// Gives up privileges; and, where no programs are to be started, everything but these needs.
    ///
    /// # Errors
    /// [`Failure`] if the system knows how and refuses.
    pub(crate) fn enforce(self, needs: Option<&Needs>) -> Result<Confined, Failure> {
        if self.unconfined {
            return Ok(Confined::Unasked);
        }
        renounce_privileges()?;
        let is_root = rustix::process::geteuid().is_root();
        needs.map_or(Ok(Confined::Privileges { is_root }), confine)
    }
}

/// Leaves nothing that a program started from here would inherit or could gain, and no core dumps.
///
/// # Errors
/// [`Failure`] if the system refuses, which it has no reason to.
fn renounce_privileges() -> Result<(), Failure> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(refused)?;
    #[cfg(target_os = "linux")]
    linux::renounce_privileges().map_err(refused)?;
    Ok(())
}

/// Confines this thread, and those that it starts, to what is needed.
///
/// # Errors
/// [`Failure`] if the system knows how and refuses.
fn confine(needs: &Needs) -> Result<Confined, Failure> {
    #[cfg(target_os = "linux")]
    return linux::confine(needs).map_err(refused);
    #[cfg(not(target_os = "linux"))]
    return Ok(Confined::Not);
}

fn refused(error: impl fmt::Display) -> Failure {
    Failure::new(format!("this process cannot be confined: {error}"))
        .hint("--unconfined goes without; the reason is worth knowing first")
}

#[cfg(target_os = "linux")]
mod linux {
    use landlock::{
        ABI, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, path_beneath_rules,
    };
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    use rustix::thread::{
        CapabilitySet, capabilities, clear_ambient_capability_set, set_capabilities,
        set_no_new_privs,
    };

    use super::{Confined, Needs};

    /// What the kernel may know beyond this is not asked for: it could take away what is needed.
    const KNOWN: ABI = ABI::V5;

    /// A passphrase is asked for at the terminal.
    const DEVICES: [&str; 2] = ["/dev/tty", "/dev/null"];

    pub(super) fn renounce_privileges() -> rustix::io::Result<()> {
        // A dump that goes to a program is not held to a limit (core(5)). Programs that are started
        // have this anew (prctl(2)).
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        set_no_new_privs(true)?;
        // Kernels that know no ambient set have none to clear.
        clear_ambient_capability_set().or_else(unless_unknown)?;
        let mut own = capabilities(None)?;
        own.inheritable = CapabilitySet::empty();
        set_capabilities(None, own)
    }

    fn unless_unknown(error: rustix::io::Errno) -> rustix::io::Result<()> {
        if error == rustix::io::Errno::INVAL { Ok(()) } else { Err(error) }
    }

    pub(super) fn confine(needs: &Needs) -> Result<Confined, RulesetError> {
        let (writing, executing) = (AccessFs::from_write(KNOWN), BitFlags::from(AccessFs::Execute));
        let mut ruleset = Ruleset::default().handle_access(writing | executing)?;
        if !needs.connects {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
        }
        let status = ruleset
            .create()?
            .add_rules(path_beneath_rules(&needs.writes, writing))?
            .add_rules(path_beneath_rules(DEVICES, writing))?
            .restrict_self()?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Confined::Wholly(needs.clone()),
            RulesetStatus::PartiallyEnforced => Confined::Partly,
            RulesetStatus::NotEnforced => Confined::Not,
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
#[expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "what is written here is for the moment; a test that cannot go on should stop"
)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;
    use std::thread;

    use super::*;

    /// On a thread of its own, for it cannot be taken back.
    fn confined<T: Send>(needs: &Needs, then: impl FnOnce() -> T + Send) -> Option<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| match confine(needs).unwrap() {
                Confined::Wholly(_) => Some(then()),
                // Nothing to be seen on such a kernel.
                _ => None,
            });
            thread.join().unwrap()
        })
    }

    #[test]
    fn writes_where_it_must_and_nowhere_else() {
        let (own, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let theirs = others.path().join("kept");
        fs::write(&theirs, "as it was").unwrap();
        confined(&Needs::default().directory(own.path()), || {
            let file = own.path().join("made");
            fs::write(&file, "mine").unwrap();
            fs::rename(&file, own.path().join("renamed")).unwrap();
            assert!(fs::write(&theirs, "changed").is_err());
            assert!(fs::remove_file(&theirs).is_err());
            assert!(fs::create_dir(others.path().join("new")).is_err());
        });
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "as it was");
    }

    #[test]
    fn starts_no_programs() {
        assert!(Command::new("/bin/true").status().is_ok());
        let started = confined(&Needs::default(), || Command::new("/bin/true").status().is_ok());
        assert_ne!(started, Some(true));
    }

    #[test]
    fn connects_where_there_is_somebody_to_ask_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connects = |needs: &Needs| confined(needs, || TcpStream::connect(address).is_ok());
        assert_ne!(connects(&Needs::default()), Some(true));
        assert_ne!(connects(&Needs::default().connections(true)), Some(false));
        // And it is asked all the same.
        assert_ne!(
            confined(&Needs::default(), || TcpListener::bind("127.0.0.1:0").is_ok()),
            Some(false)
        );
    }

    #[test]
    fn gains_and_passes_on_no_privileges() {
        thread::spawn(|| {
            renounce_privileges().unwrap();
            assert!(rustix::thread::no_new_privs().unwrap());
            let dumpable = rustix::process::dumpable_behavior().unwrap();
            assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
            assert!(rustix::thread::capabilities(None).unwrap().inheritable.is_empty());
            let started =
                Command::new("grep").args(["NoNewPrivs:\\|CapAmb:", "/proc/self/status"]).output();
            let told = String::from_utf8(started.unwrap().stdout).unwrap();
            let told: Vec<&str> = told.split_whitespace().collect();
            assert_eq!(told, ["CapAmb:", "0000000000000000", "NoNewPrivs:", "1"]);
        })
        .join()
        .unwrap();
    }
}
