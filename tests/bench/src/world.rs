//! What every measurement needs: a CA made with the real command line, a gateway's and an agent's identity, and
//! revocation lists of two lengths.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::long_list;
use crate::processes::Cores;

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) vouchsafe: PathBuf,
    /// This program, which is also the MCP server behind everything.
    pub(crate) own: PathBuf,
    pub(crate) cores: Cores,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let own = env::current_exe()?;
        let vouchsafe = match env::var_os("VOUCHSAFE") {
            Some(path) => path.into(),
            None => own.with_file_name("vouchsafe"),
        };
        ensure!(
            vouchsafe.is_file(),
            "there is no binary to measure: run `cargo build --release`, or set VOUCHSAFE"
        );
        let vouchsafe = vouchsafe.canonicalize()?;
        let world = Self { folder: tempfile::tempdir()?, vouchsafe, own, cores: Cores::choose()? };
        world.make_ca()?;
        world.make_long_list()?;
        Ok(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `vouchsafe` on this world's home.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.vouchsafe);
        command.arg("--home").arg(self.path("home"));
        command
    }

    /// The list that revokes nobody, or the long one that revokes everybody but us.
    pub(crate) fn list(&self, many_revoked: bool) -> PathBuf {
        self.path(if many_revoked { "long-crl.pem" } else { "home/crl.pem" })
    }

    fn make_ca(&self) -> Result<()> {
        self.vouchsafe(&["init", "--trust-domain", "acme.example"])?;
        self.vouchsafe(&["issue", "agent", "--allow", "tools:*", "--out", "agent"])?;
        let gateway = ["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"];
        self.vouchsafe(&[&gateway[..], &["--out", "gateway"]].concat())
    }

    /// Runs `vouchsafe`, whose files go into this world.
    pub(crate) fn vouchsafe(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command();
        command.args(arguments).current_dir(self.folder.path()).stdout(Stdio::null());
        let status = command.status().context("vouchsafe does not start")?;
        ensure!(status.success(), "vouchsafe {} failed", arguments.join(" "));
        Ok(())
    }

    fn make_long_list(&self) -> Result<()> {
        let list = long_list::make(&self.path("home"))?;
        #[expect(clippy::disallowed_methods, reason = "a file that lives as long as this run")]
        Ok(fs::write(self.list(true), list)?)
    }
}
