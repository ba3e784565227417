//! Identity directories: `certificate.pem` (leaf and issuing CA), `key.pem` (0600), `roots.pem`.
//!
//! A directory appears whole, and nothing is overwritten unless that was asked for.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::process::geteuid;
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
        let pending = Self::at(path, kind, passphrase)?;
        match pending.key.public_key().and_then(|key| key.key_type()) {
            Ok(waiting) if waiting != kind => {
                let path = pending.path.display();
                let hint = format!(
                    "if an enrolment was interrupted, go on with --key-type {waiting}; otherwise remove the file to begin with a new key"
                );
                Err(Failure::new(format!("the key that waits in {path} is {waiting}, not {kind}"))
                    .hint(hint))
            }
            _ => Ok(pending),
        }
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
        let key = match read_own(&path)? {
            Some(text) => PrivateKey::open_pem(&text, passphrase).map_err(failed)?,
            None => {
                let key = PrivateKey::generate(kind).map_err(failed)?;
                let text = key.sealed_pem(passphrase).map_err(failed)?;
                file::create(&path, text.as_bytes(), Access::Private)?;
                key
            }
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

/// `O_NOFOLLOW`, and `O_NONBLOCK` for whoever has put a pipe there.
const AS_IT_IS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

/// Reads a key that waits, if one does. Others may write in the directory: a key that one of them has put
/// there, or may have read, would be certified in this one's name.
fn read_own(path: &Path) -> Result<Option<Zeroizing<String>>, Failure> {
    let shown = path.display();
    let failed = |error| Failure::new(format!("cannot read {shown}: {error}"));
    let refused = |why: String| {
        Failure::new(format!("a new key should wait in {shown}, but {why}")).hint(
            "see who has put it there and why; then remove it, and the command makes a new key",
        )
    };
    let mut file = match OpenOptions::new().read(true).custom_flags(AS_IT_IS).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            return Err(refused("that is a symbolic link".to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    if let Some(why) = strange(&file).map_err(failed)? {
        return Err(refused(why));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Why a file is not one that this user alone has written and can read, if it is not.
fn strange(file: &File) -> io::Result<Option<String>> {
    let metadata = file.metadata()?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    Ok(if !metadata.is_file() {
        Some("that is no file".to_owned())
    } else if owner != geteuid().as_raw() {
        Some(format!("that file belongs to another user ({owner})"))
    } else if mode & 0o077 != 0 {
        Some(format!("others can read or change that file (mode {mode:04o})"))
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// What is said of the key that waits for an identity.
    fn said(directory: &Path, kind: KeyType) -> String {
        PendingKey::beside(directory, kind, None).err().map(|error| error.to_string()).unwrap()
    }

    #[test]
    fn an_enrolment_goes_on_with_its_own_key_and_with_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (agent, waiting) =
            (folder.path().join("agent"), folder.path().join("agent.key.next.pem"));
        let key_of = |pending: PendingKey| pending.key().public_key().unwrap();
        let begin = |kind| PendingKey::beside(&agent, kind, None);
        let begun = key_of(begin(KeyType::Ed25519).unwrap());
        assert_eq!(key_of(begin(KeyType::Ed25519).unwrap()), begun);
        let other = said(&agent, KeyType::P256);
        assert!(other.contains("agent.key.next.pem is ed25519, not p256"), "{other}");

        // Somebody else has it as well, or may have.
        fs::set_permissions(&waiting, Permissions::from_mode(0o644)).unwrap();
        let exposed = said(&agent, KeyType::Ed25519);
        assert!(exposed.contains("others can read or change that file (mode 0644)"), "{exposed}");
        fs::set_permissions(&waiting, Permissions::from_mode(0o600)).unwrap();
        // Only root gives files away, and root could be given one.
        if chown(&waiting, Some(65_534), None).is_ok() {
            let foreign = said(&agent, KeyType::Ed25519);
            assert!(foreign.contains("belongs to another user (65534)"), "{foreign}");
        }
        let elsewhere = folder.path().join("elsewhere.pem");
        let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
        file::create(&elsewhere, key.to_pem().as_bytes(), Access::Private).unwrap();
        fs::remove_file(&waiting).unwrap();
        symlink(&elsewhere, &waiting).unwrap();
        let link = said(&agent, KeyType::Ed25519);
        assert!(link.contains("that is a symbolic link"), "{link}");
        fs::remove_file(&waiting).unwrap();
        fs::create_dir(&waiting).unwrap();
        let directory = said(&agent, KeyType::Ed25519);
        assert!(directory.contains("that is no file"), "{directory}");

        fs::remove_dir(&waiting).unwrap();
        assert_ne!(key_of(begin(KeyType::Ed25519).unwrap()), begun);
    }

    #[test]
    fn a_renewal_takes_no_key_that_others_may_know_either() {
        let folder = tempfile::tempdir().unwrap();
        let begin = || PendingKey::within(folder.path(), KeyType::P256, None);
        begin().unwrap();
        begin().unwrap();
        let waiting = folder.path().join(NEXT_KEY);
        fs::set_permissions(&waiting, Permissions::from_mode(0o604)).unwrap();
        let refused = begin().err().unwrap().to_string();
        assert!(refused.contains("mode 0604"), "{refused}");
    }
}
