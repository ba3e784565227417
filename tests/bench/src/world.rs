//! What every measurement needs: a CA made with the real command line, a gateway's and an agent's identity, and
//! revocation lists of any length.

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
        let (own, vouchsafe) = (env::current_exe()?, program()?);
        let world = Self { folder: tempfile::tempdir()?, vouchsafe, own, cores: Cores::choose()? };
        world.make_ca()?;
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

    /// The lists of the home if `revoked` is 0; otherwise one that revokes so many, and nobody of this world.
    pub(crate) fn list(&self, revoked: u32) -> Result<PathBuf> {
        if revoked == 0 {
            return Ok(self.path("home/crl.pem"));
        }
        let path = self.path(&format!("crl-{revoked}.pem"));
        if !path.exists() {
            write(&path, &long_list::make(&self.path("home"), revoked)?)?;
        }
        Ok(path)
    }

    fn make_ca(&self) -> Result<()> {
        self.vouchsafe(&["init", "--trust-domain", "acme.example"])?;
        self.issue_agent("agent")?;
        let gateway = ["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"];
        self.vouchsafe(&[&gateway[..], &["--out", "gateway"]].concat())
    }

    /// An agent, whose identity is in the directory of its name.
    pub(crate) fn issue_agent(&self, name: &str) -> Result<()> {
        self.vouchsafe(&["issue", name, "--allow", "tools:*", "--out", name])
    }

    /// Runs `vouchsafe`, whose files go into this world.
    pub(crate) fn vouchsafe(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command();
        command.args(arguments).current_dir(self.folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().context("vouchsafe does not start")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "vouchsafe {} failed: {said}", arguments.join(" "));
        Ok(())
    }
}

/// The binary that is measured.
pub(crate) fn program() -> Result<PathBuf> {
    let path = match env::var_os("VOUCHSAFE") {
        Some(path) => path.into(),
        None => env::current_exe()?.with_file_name("vouchsafe"),
    };
    ensure!(
        path.is_file(),
        "there is no binary to measure: run `cargo build --release`, or set VOUCHSAFE"
    );
    Ok(path.canonicalize()?)
}

/// For files that live as long as this run, or are a report that can be made again.
#[expect(clippy::disallowed_methods, reason = "nothing is lost that cannot be made again")]
pub(crate) fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
