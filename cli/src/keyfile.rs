//! Identity directories: `certificate.pem` (leaf and issuing CA), `key.pem` (0600), `roots.pem`.
//!
//! A directory appears whole, and nothing is overwritten unless that was asked for.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{Issued, pem};
use vouchsafe_certs::{Certificate, CertificateError, KeyError, KeyType, PrivateKey};
use zeroize::Zeroizing;

use crate::exit::Failure;

/// Leaf and issuing CA, in the order of TLS.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
/// The leaf's private key.
pub(crate) const KEY: &str = "key.pem";
/// The key of a certificate that has been asked for and is not in its place yet.
pub(crate) const NEXT_KEY: &str = "key.next.pem";
/// What the holder trusts.
pub(crate) const ROOTS: &str = "roots.pem";

/// What the CA hands out, as it stands in the files of an identity.
#[derive(Debug)]
pub(crate) struct Papers {
    /// [`CERTIFICATE`]: leaf and issuing CA, PEM.
    pub(crate) certificate: String,
    /// [`ROOTS`], PEM.
    pub(crate) roots: String,
}

impl Papers {
    /// Of a certificate that was issued here.
    pub(crate) fn of(issued: &Issued) -> Self {
        Self {
            certificate: pem::certificates(&issued.chain),
            roots: pem::certificates(&issued.roots),
        }
    }
}

impl Papers {
    /// What the certificate says.
    pub(crate) fn leaf(&self) -> Result<Certificate, Failure> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let read = der.map_err(|_| CertificateError::Malformed);
        read.and_then(|der| Certificate::from_der(&der)).map_err(Failure::new)
    }
}

/// A place for an identity that was looked at before anything is issued for it.
#[derive(Debug)]
pub(crate) struct Destination {
    directory: PathBuf,
    /// Whether there is an identity that is to be replaced.
    replaces: bool,
}

impl Destination {
    /// For an identity with its key.
    pub(crate) fn whole(directory: PathBuf, force: bool) -> Result<Self, Failure> {
        let mut replaces = false;
        for name in names_in(&directory)? {
            if ![CERTIFICATE, KEY, NEXT_KEY, ROOTS].contains(&name.as_str()) {
                let directory = directory.display();
                let message = format!("{directory} holds other files than an identity ({name})");
                return Err(Failure::new(message).hint("say --out DIR for another directory"));
            }
            replaces = true;
        }
        if replaces && !force {
            return Err(occupied(&directory));
        }
        Ok(Self { directory, replaces })
    }

    /// For a certificate whose key is elsewhere, perhaps in the same directory.
    pub(crate) fn without_key(directory: PathBuf, force: bool) -> Result<Self, Failure> {
        let names = names_in(&directory)?;
        let replaces = names.iter().any(|name| name == CERTIFICATE || name == ROOTS);
        if replaces && !force {
            return Err(occupied(&directory));
        }
        Ok(Self { directory, replaces })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes an identity with its key, in one step.
    pub(crate) fn write(&self, papers: &Papers, key: &PrivateKey) -> Result<(), Failure> {
        self.write_sealed(papers, key, None)
    }

    /// Writes an identity with its key, which a passphrase protects if there is one, in one step.
    pub(crate) fn write_sealed(
        &self,
        papers: &Papers,
        key: &PrivateKey,
        passphrase: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let key = key.sealed_pem(passphrase).map_err(vouchsafe_ca::Error::from)?;
        let parent = match self.directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(|error| cannot_write(parent, &error))?;
        let made = tempfile::Builder::new()
            .prefix(".vouchsafe-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(|error| cannot_write(parent, &error))?;
        file::create(&made.path().join(KEY), key.as_bytes(), Access::Private)?;
        write_public(made.path(), papers)?;
        if self.replaces {
            // What was there is now where the new one was made, and goes with it.
            renameat_with(CWD, made.path(), CWD, &self.directory, RenameFlags::EXCHANGE)
                .map_err(|error| cannot_write(&self.directory, &error.into()))?;
        } else {
            fs::rename(made.path(), &self.directory)
                .map_err(|error| cannot_write(&self.directory, &error))?;
        }
        file::sync_directory(parent)?;
        Ok(())
    }

    /// Writes an identity beside its key.
    pub(crate) fn write_without_key(&self, papers: &Papers) -> Result<(), Failure> {
        if !self.directory.is_dir() {
            file::create_private_directory(&self.directory)?;
        }
        write_public(&self.directory, papers)
    }
}

fn write_public(directory: &Path, papers: &Papers) -> Result<(), Failure> {
    file::replace(&directory.join(ROOTS), papers.roots.as_bytes(), Access::Public)?;
    // Last: who finds a certificate finds what belongs to it.
    file::replace(&directory.join(CERTIFICATE), papers.certificate.as_bytes(), Access::Public)?;
    Ok(())
}

/// What is in a directory; nothing if it is not there.
fn names_in(directory: &Path) -> Result<Vec<String>, Failure> {
    let read = |entries: fs::ReadDir| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
    };
    match fs::read_dir(directory).and_then(read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::new(format!("cannot use {}: {error}", directory.display()))),
        Ok(names) => Ok(names),
    }
}

fn occupied(directory: &Path) -> Failure {
    Failure::new(format!("{} holds an identity already", directory.display()))
        .hint("say --force to replace it, or --out DIR for another directory")
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
}

/// A key for which a certificate is asked, on disk before anybody is asked: if the process ends between
/// the answer and the writing of it, the same key is asked for again, and gets the same answer.
pub(crate) struct PendingKey {
    path: PathBuf,
    key: PrivateKey,
}

impl PendingKey {
    /// For an identity directory that is still to be made: a file beside it.
    pub(crate) fn beside(
        directory: &Path,
        kind: KeyType,
        passphrase: Option<&[u8]>,
    ) -> Result<Self, Failure> {
        let mut name = directory.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(NEXT_KEY);
        let path = directory.with_file_name(name);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(|error| cannot_write(parent, &error))?;
        }
        Self::at(path, kind, passphrase)
    }

    /// For an identity that is renewed.
    pub(crate) fn within(
        directory: &Path,
        kind: KeyType,
        passphrase: Option<&[u8]>,
    ) -> Result<Self, Failure> {
        Self::at(directory.join(NEXT_KEY), kind, passphrase)
    }

    fn at(path: PathBuf, kind: KeyType, passphrase: Option<&[u8]>) -> Result<Self, Failure> {
        let failed = |error: KeyError| {
            Failure::new(format!("the key in {} cannot be used: {error}", path.display()))
                .hint("remove it to begin with a new key")
        };
        let key = match file::read(&path) {
            Ok(text) => PrivateKey::open_pem(&Zeroizing::new(text), passphrase).map_err(failed)?,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                let key = PrivateKey::generate(kind).map_err(failed)?;
                let text = key.sealed_pem(passphrase).map_err(failed)?;
                file::create(&path, text.as_bytes(), Access::Private)?;
                key
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path, key })
    }

    pub(crate) fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The key has been written where it belongs, so it need not wait here any longer.
    pub(crate) fn discard(self) -> Result<(), Failure> {
        fs::remove_file(&self.path).map_err(|error| cannot_write(&self.path, &error))
    }

    /// Puts certificate and key into the directory of the identity that is renewed. Between the two
    /// steps the directory holds a new certificate and an old key; whoever reads it then takes the
    /// key that waits here.
    pub(crate) fn succeed(self, papers: &Papers) -> Result<(), Failure> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        write_public(directory, papers)?;
        let key = directory.join(KEY);
        fs::rename(&self.path, &key).map_err(|error| cannot_write(&key, &error))?;
        file::sync_directory(directory)?;
        Ok(())
    }
}
