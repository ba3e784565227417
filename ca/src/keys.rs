//! Files of private keys: PKCS#8 PEM, 0600, under a passphrase if there is one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fmt, fs};

use vouchsafe_certs::{KeyError, PrivateKey};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::file::{self, Access, FileError};
use crate::home::HomeError;

/// What opens the keys of the home, for as long as the CA is at work: what comes later is to be
/// sealed alike.
pub(crate) struct Passphrase(Option<Zeroizing<Vec<u8>>>);

impl Passphrase {
    pub(crate) fn new(octets: Option<&[u8]>) -> Self {
        Self(octets.map(|octets| octets.to_vec().into()))
    }

    pub(crate) fn octets(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|octets| octets.as_slice())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Whether a passphrase protects the key in a file.
///
/// # Errors
/// [`HomeError::NoKey`], [`HomeError::KeyExposed`], or what is wrong with the key.
pub fn is_sealed(path: &Path) -> Result<bool, Error> {
    match PrivateKey::from_pem(&text(path)?) {
        Ok(_) => Ok(false),
        Err(KeyError::PassphraseNeeded) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The key in a file.
///
/// # Errors
/// As [`is_sealed`], or that the passphrase does not open it.
pub fn read(path: &Path, passphrase: Option<&[u8]>) -> Result<PrivateKey, Error> {
    Ok(PrivateKey::open_pem(&text(path)?, passphrase)?)
}

/// Writes a key to a file that is not there yet.
pub(crate) fn create(
    path: &Path,
    key: &PrivateKey,
    passphrase: Option<&[u8]>,
) -> Result<(), Error> {
    Ok(file::create(path, key.sealed_pem(passphrase)?.as_bytes(), Access::Private)?)
}

/// Removes a key that nobody needs any more; that it is elsewhere is no error.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::writing(path)(error).into()),
        Ok(()) => Ok(file::sync_directory(file::parent(path))?),
    }
}

fn text(path: &Path) -> Result<Zeroizing<String>, Error> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(HomeError::NoKey(path.to_owned()).into());
        }
        Err(error) => return Err(FileError::reading(path)(error).into()),
    };
    if mode & 0o077 != 0 {
        return Err(HomeError::KeyExposed { path: path.to_owned(), mode }.into());
    }
    Ok(file::read(path)?.into())
}
