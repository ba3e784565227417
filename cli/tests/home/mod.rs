//! A CA in a folder of its own, worked by the real binary.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The binary under test.
pub(crate) const VOUCHSAFE: &str = env!("CARGO_BIN_EXE_vouchsafe");

/// A folder with a CA in `home`; nothing of the surrounding environment gets in.
pub(crate) struct Home(TempDir);

impl Home {
    /// A new CA.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A new CA that is made in some way.
    pub(crate) fn with(options: &[&str]) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.run(&[&["init", "--trust-domain", "acme.example"], options].concat());
        home
    }

    /// Of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command that has not begun yet.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.0.path()).env_clear().env("VOUCHSAFE_HOME", self.path("home"));
        // The user's runtime directory, where a test makes one.
        if self.path("run").is_dir() {
            command.env("XDG_RUNTIME_DIR", self.path("run"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A command that must succeed, and what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(VOUCHSAFE).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }
}
