//! The root's key, brought from where it is kept for as long as one command takes.

use std::path::PathBuf;

use vouchsafe_ca::{RootOut, keys};
use vouchsafe_certs::PrivateKey;

use crate::exit::Failure;
use crate::passphrase::{self, OF_ROOT, Passphrase};

/// Where the root's key is.
#[derive(clap::Args, Debug)]
pub(crate) struct RootKey {
    /// The root's key, if it is kept elsewhere than in the home
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,

    /// Read the passphrase of the root's key from this file (or /dev/fd/N); without it, the systemd credential vouchsafe.root-passphrase or a terminal is asked
    #[arg(long, value_name = "FILE")]
    root_passphrase_file: Option<PathBuf>,
}

/// Where the key of a new root goes.
#[derive(clap::Args, Debug)]
pub(crate) struct RootOutArgs {
    /// Write the root's key to root.key in this directory, and never into the home
    #[arg(long, value_name = "DIR")]
    root_out: Option<PathBuf>,

    /// Protect it there with the passphrase in this file (or /dev/fd/N) [default: that of the CA's keys]
    #[arg(long, value_name = "FILE", requires = "root_out")]
    root_passphrase_file: Option<PathBuf>,
}

/// A place for the key of a new root that was looked at before the key is made.
pub(crate) struct RootPlace {
    pub(crate) directory: PathBuf,
    passphrase: Option<Passphrase>,
}

impl RootOutArgs {
    /// The place, if one was named.
    pub(crate) fn place(self, of_ca: Option<&[u8]>) -> Result<Option<RootPlace>, Failure> {
        let Some(directory) = self.root_out else { return Ok(None) };
        let own = self.root_passphrase_file.as_deref().map(passphrase::read).transpose()?;
        let passphrase = own.or_else(|| of_ca.map(|secret| secret.to_vec().into()));
        Ok(Some(RootPlace { directory, passphrase }))
    }
}

impl RootPlace {
    pub(crate) fn out(&self) -> RootOut<'_> {
        RootOut { directory: &self.directory, passphrase: self.secret() }
    }

    /// The key that was written there.
    pub(crate) fn key(&self) -> Result<PrivateKey, Failure> {
        Ok(keys::read(&self.directory.join("root.key"), self.secret())?)
    }

    fn secret(&self) -> Option<&[u8]> {
        self.passphrase.as_ref().map(|secret| secret.as_slice())
    }
}

impl RootKey {
    /// The key in the file that was named, if one was.
    pub(crate) fn read(&self) -> Result<Option<PrivateKey>, Failure> {
        let Some(path) = &self.root_key else { return Ok(None) };
        let passphrase = if keys::is_sealed(path)? { Some(self.obtain()?) } else { None };
        Ok(Some(keys::read(path, passphrase.as_ref().map(|secret| secret.as_slice()))?))
    }

    fn obtain(&self) -> Result<Passphrase, Failure> {
        passphrase::obtain(self.root_passphrase_file.as_deref(), &OF_ROOT)
    }
}
