//! Putting the parts of the transport together from files and flags.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::ServerName;
use tokio::sync::watch;
use vouchsafe_ca::file;
use vouchsafe_certs::{KeyError, PrivateKey};
use vouchsafe_transport::{
    Connector, Endpoint, Identity, IdentityError, Limits, Revocations, Trust,
};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::identity::Present;
use crate::keyfile::{CERTIFICATE, KEY, NEXT_KEY, ROOTS};
use crate::passphrase::{KeyPassphraseFile, Passphrase};

/// An identity directory, and what opens its key.
pub(crate) struct IdentityDirectory {
    path: PathBuf,
    /// Kept for as long as the directory is read again: a descriptor can be read only once.
    passphrase: Option<Passphrase>,
}

impl IdentityDirectory {
    /// Asks for the passphrase if the key in the directory needs one.
    pub(crate) fn open(path: &Path, passphrase: &KeyPassphraseFile) -> Result<Self, Failure> {
        let mut directory = Self { path: path.to_owned(), passphrase: None };
        if let Err(KeyError::PassphraseNeeded) = PrivateKey::from_pem(&directory.key_in(KEY)?) {
            directory.passphrase = Some(passphrase.obtain()?);
        }
        Ok(directory)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What opens its key, if it is closed.
    pub(crate) fn sealing(&self) -> Option<&[u8]> {
        self.passphrase.as_ref().map(|passphrase| passphrase.as_slice())
    }

    /// Reads the identity as it is now.
    pub(crate) fn read(&self) -> Result<Identity, Failure> {
        let unusable = |error: &dyn Display| {
            let directory = self.path.display();
            Failure::new(format!("the identity in {directory} cannot be used: {error}"))
        };
        let passphrase = self.passphrase.as_ref().map(|passphrase| passphrase.as_slice());
        let key = PrivateKey::open_pem(&self.key_in(KEY)?, passphrase)
            .map_err(|error| unusable(&IdentityError::from(error)))?;
        let (certificate, roots) = (self.text(CERTIFICATE)?, self.text(ROOTS)?);
        match Identity::with_key(certificate.as_bytes(), key, roots.as_bytes()) {
            // A renewal was interrupted between its two steps: the new key is still beside the old one.
            Err(IdentityError::KeyMismatch) if self.path.join(NEXT_KEY).exists() => {
                let key = PrivateKey::open_pem(&self.key_in(NEXT_KEY)?, passphrase)
                    .map_err(|error| unusable(&IdentityError::from(error)))?;
                Identity::with_key(certificate.as_bytes(), key, roots.as_bytes())
            }
            made => made,
        }
        .map_err(|error| unusable(&error))
    }

    fn text(&self, name: &str) -> Result<String, Failure> {
        let path = self.path.join(name);
        std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(format!("cannot read {}: {error}", path.display()))
                .hint("an identity directory is made by `vouchsafe issue NAME --out DIR`")
        })
    }

    fn key_in(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        let key = Zeroizing::new(self.text(name)?);
        let path = self.path.join(name);
        if let Some(mode) = file::exposed(&path)? {
            let path = path.display();
            return Err(Failure::new(format!(
                "{path} has mode {mode:o}: others can read or change the key"
            ))
            .hint(format!("chmod 600 {path}; if others may have read it, revoke the device")));
        }
        Ok(key)
    }
}

/// Reads an identity directory whose key no passphrase protects.
pub(crate) fn identity(path: &Path) -> Result<Present, Failure> {
    let directory = IdentityDirectory { path: path.to_owned(), passphrase: None };
    Ok(Present::fixed(directory.read()?))
}

/// Trust that follows revocation lists.
pub(crate) fn trust_with_lists(
    present: &Present,
    lists: &watch::Receiver<Arc<Revocations>>,
) -> Trust {
    Trust::new(present.roots.clone(), lists.clone(), Arc::new(DefaultTimeProvider))
}

/// Trust that asks for chain and dates alone.
pub(crate) fn trust_without_list(present: &Present) -> Trust {
    Trust::unchecked(present.roots.clone(), Arc::new(DefaultTimeProvider))
}

/// A connector to the gateway at `address`: `host:port`, or the URL at which it speaks HTTP.
pub(crate) fn connector(
    address: &str,
    server_name: Option<&str>,
    present: &Present,
    trust: Trust,
    limits: &Limits,
) -> Result<Connector, Failure> {
    if address.contains("://") {
        let endpoint = Endpoint::parse(address).map_err(Failure::usage)?;
        if !endpoint.is_https() {
            return Err(Failure::usage(format!(
                "{endpoint} is not encrypted: a gateway is at https://"
            )));
        }
        let (name, identity) =
            (self::server_name(&endpoint.address(), server_name)?, present.identity.clone());
        return Connector::over_http(endpoint, name, identity, trust, limits).map_err(Failure::new);
    }
    let name = self::server_name(address, server_name)?;
    Connector::new(address, name, present.identity.clone(), trust, limits).map_err(Failure::new)
}

/// The name that the certificate of the server at `address` must carry: the host's, unless another is given.
pub(crate) fn server_name(
    address: &str,
    given: Option<&str>,
) -> Result<ServerName<'static>, Failure> {
    let (host, _) = address
        .rsplit_once(':')
        .ok_or_else(|| Failure::usage(format!("{address} is no address: write HOST:PORT")))?;
    let host = given.unwrap_or_else(|| host.trim_matches(['[', ']']));
    ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::usage(format!("{host} is neither a host name nor an IP address")))
}
