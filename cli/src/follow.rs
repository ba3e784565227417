//! Following revocation lists: in a file, or at the CA itself.
//!
//! What is offered is published only if it is signed by the right CA and no older than what is in
//! force. How long lists that do not come may be done without is another question for a file, which
//! somebody may be keeping from us, than for a CA, whose lists say themselves when they go stale.

mod ca;
mod cache;
mod file;
mod in_force;
mod watched;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use vouchsafe_transport::Revocations;

pub(crate) use self::ca::Followed;
pub(crate) use self::watched::Watched;
use crate::assemble::server_name;
use crate::confine::Needs;
use crate::exit::Failure;
use crate::identity::Present;

/// The CA as the source of the lists.
#[derive(Debug, clap::Args)]
pub(crate) struct CaArgs {
    /// The CA's public listener, HOST:PORT, whose revocation lists are followed as they change
    #[arg(long, value_name = "ADDR", conflicts_with = "crl")]
    ca: Option<String>,
    /// The name that the CA's certificate must carry [default: HOST]
    #[arg(long, value_name = "NAME", requires = "ca")]
    ca_name: Option<String>,
    /// Keep the CA's last lists in this file, for a start without the CA [default: DIR.crl.pem beside the identity DIR]
    #[arg(long, value_name = "FILE", requires = "ca")]
    cache: Option<PathBuf>,
}

impl CaArgs {
    /// What following the CA needs of a process that is about to be confined.
    pub(crate) fn add_to(&self, identity: &Path, needs: Needs) -> Result<Needs, Failure> {
        if self.ca.is_none() {
            return Ok(needs);
        }
        let cache = self.cache.clone().map_or_else(|| beside(identity), Ok)?;
        Ok(needs.connections(true).file(&cache))
    }

    /// The CA to follow, if one is named, for the owner of this identity directory.
    pub(crate) fn source(&self, identity: &Path) -> Result<Option<Source>, Failure> {
        let Some(address) = &self.ca else { return Ok(None) };
        let name = server_name(address, self.ca_name.as_deref())?;
        let cache = self.cache.clone().map_or_else(|| beside(identity), Ok)?;
        Ok(Some(Source::Ca(Followed { address: address.clone(), name, cache })))
    }
}

/// An identity directory holds nothing but the identity, and is exchanged whole.
fn beside(identity: &Path) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::new(format!("cannot use {}: {error}", identity.display()));
    let mut file = identity.canonicalize().map_err(failed)?.into_os_string();
    file.push(".crl.pem");
    Ok(file.into())
}

/// Where revocation lists come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file that somebody keeps current.
    File(PathBuf),
    /// The CA itself.
    Ca(Followed),
}

impl Source {
    /// Reads the lists for the first time, and follows them from a thread of its own. `notice`
    /// hears, in a sentence, of every list that is taken or not.
    ///
    /// # Errors
    /// [`Failure`] if there is nothing to begin with.
    pub(crate) fn follow(
        self,
        present: &Present,
        notice: impl Fn(&str) + Send + 'static,
    ) -> Result<watch::Receiver<Arc<Revocations>>, Failure> {
        match self {
            Self::File(path) => {
                file::follow(&path, present.identity.clone(), notice).map_err(Failure::new)
            }
            Self::Ca(followed) => ca::follow(followed, present.clone(), notice),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Ca(followed) => write!(f, "lists of {}", followed.address),
        }
    }
}
