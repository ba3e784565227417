//! The root's key, brought from where it is kept for as long as one command takes.

use std::path::PathBuf;

use vouchsafe_ca::{Authority, keys};
use vouchsafe_certs::PrivateKey;

use crate::exit::Failure;
use crate::passphrase::{self, Passphrase};

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

impl RootKey {
    /// The key in the file that was named, if one was.
    pub(crate) fn read(&self) -> Result<Option<PrivateKey>, Failure> {
        let Some(path) = &self.root_key else { return Ok(None) };
        let passphrase = if keys::is_sealed(path)? { Some(self.obtain()?) } else { None };
        Ok(Some(keys::read(path, passphrase.as_ref().map(|secret| secret.as_slice()))?))
    }

    /// The key in the file that was named, or that of the newest root in the home, which the CA's
    /// passphrase opens.
    pub(crate) fn obtain_for(
        &self,
        authority: &Authority,
        passphrase: Option<&[u8]>,
    ) -> Result<PrivateKey, Failure> {
        if let Some(key) = self.read()? {
            return Ok(key);
        }
        let root = authority.root_at_work()?;
        let record = authority.look_up(|ledger| ledger.ca(&root))?;
        let record = record.ok_or(vouchsafe_ca::Refusal::NoSuchCa(root))?;
        let path = authority.home().key_path(&root, &record);
        if !path.exists() {
            let message = format!("the root's key is not in the home ({})", path.display());
            return Err(Failure::new(message)
                .hint("bring it from where it is kept, and name it with --root-key FILE"));
        }
        Ok(keys::read(&path, passphrase)?)
    }

    fn obtain(&self) -> Result<Passphrase, Failure> {
        passphrase::obtain(
            self.root_passphrase_file.as_deref(),
            "vouchsafe.root-passphrase",
            "Passphrase of the root's key: ",
        )
    }
}
