//! Where a CA lives: one directory, one process at a time.
//!
//! ```text
//! ca.toml         whom it vouches for, lifetimes, roles; written last, so a home with it is whole
//! root.pem        the first root's certificate
//! root.key        its key, 0600; may be kept elsewhere between two root lists
//! issuing.pem     the first issuing CA's certificate
//! issuing.key     its key, 0600
//! root-<serial>.… those that came later, alike; issuing-<serial>.… too
//! roots.pem       what relying parties trust: every root whose time is not over
//! crl.pem         the latest revocation lists of all, with the issuing CAs' certificates
//! store/          what the CA remembers
//! store.damaged-… one that was damaged, set aside when another was built from the journal
//! journal.jsonl   every event, a line each
//! journal.cut     what crashes have left of lines, if any have
//! lock            who is using the home
//! ```

mod rebuilding;

use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::geteuid;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use vouchsafe_certs::{CaCertificate, KeyType, PrivateKey, Serial, TrustDomain};

pub use self::rebuilding::{RebuildError, Rebuilt};
use crate::config::{Config, ConfigError};
use crate::error::Error;
use crate::file::{self, Access, FileError};
use crate::issuer::Issuer;
use crate::keys;
use crate::ledger::Ledger;
use crate::lock::HomeLock;
use crate::pem;
use crate::record::{Actor, CaRecord, Event, Tier};
use crate::store::{Store, StoreKind};

const CONFIG: &str = "ca.toml";
const STORE: &str = "store";
const JOURNAL: &str = "journal.jsonl";
const LISTS: &str = "crl.pem";
const ROOTS: &str = "roots.pem";
const ROOT_KEY: &str = "root.key";

/// Everything that a new CA must not find.
const PARTS: [&str; 9] =
    [CONFIG, STORE, JOURNAL, LISTS, ROOTS, "root.pem", ROOT_KEY, "issuing.pem", "issuing.key"];

/// What is wrong with a home.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HomeError {
    /// No CA here.
    #[error("there is no CA in {}", .0.display())]
    NoCa(PathBuf),
    /// A CA already.
    #[error("there is a CA in {} already", .0.display())]
    Exists(PathBuf),
    /// Parts of a CA, without `ca.toml`.
    #[error("{} holds parts of a CA ({part}) but no ca.toml", home.display())]
    Incomplete {
        /// Which home.
        home: PathBuf,
        /// One of the parts.
        part: &'static str,
    },
    /// A secret that is none.
    #[error("{} can be read by others (mode {mode:04o})", path.display())]
    KeyExposed {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others than whoever runs this can put files there.
    #[error("{} can be changed by others (user {owner}, mode {mode:04o})", home.display())]
    Shared {
        /// Which home.
        home: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// A key is elsewhere.
    #[error("{} is not here", .0.display())]
    NoKey(PathBuf),
    /// The key of the root is elsewhere.
    #[error("the root's key is not in the home ({})", .0.display())]
    RootElsewhere(PathBuf),
    /// The certificates beside the store are not those it was made with.
    #[error("{} is not the certificate that this CA was made with", .0.display())]
    OtherCertificate(PathBuf),
}

impl HomeError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoCa(_) => Some(
                "make one with: vouchsafe init --trust-domain NAME; or say where it is with --home",
            ),
            Self::Exists(_) => Some("use it, or say --home for another place"),
            Self::Incomplete { .. } => Some(
                "if init was interrupted, nothing was issued from it: remove the directory and run init again. Otherwise put ca.toml back from a backup",
            ),
            Self::KeyExposed { .. } => Some("consider who has read it, then: chmod 600 FILE"),
            Self::Shared { .. } => Some(
                "consider what others may have put there, then: chmod 700 DIR; for a new CA say --home for a directory that is yours or not there yet",
            ),
            Self::NoKey(_) => {
                Some("bring it back from where it is kept, for as long as this takes")
            }
            Self::RootElsewhere(_) => Some(
                "bring it from where it is kept, and name it with --root-key FILE where the home is",
            ),
            Self::OtherCertificate(_) => Some("put it back from a backup"),
        }
    }
}

/// What a new CA is made from.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct Founding<'a> {
    /// Whom it vouches for.
    pub trust_domain: TrustDomain,
    /// What the keys of both CAs are made of.
    pub key_type: KeyType,
    /// What keeps what it remembers.
    pub store: StoreKind,
    /// What protects the keys on disk; `None`: the file's mode alone.
    pub passphrase: Option<&'a [u8]>,
    /// Where the root's key goes; `None`: into the home.
    pub root_out: Option<RootOut<'a>>,
}

/// A place for a root's key away from the home.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct RootOut<'a> {
    /// The directory, in which the key is written to `root.key`.
    pub directory: &'a Path,
    /// What protects it there; `None`: the file's mode alone.
    pub passphrase: Option<&'a [u8]>,
}

impl fmt::Debug for RootOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, passphrase: _ } = self;
        write!(f, "RootOut({}, …)", directory.display())
    }
}

impl RootOut<'_> {
    /// Writes the key.
    pub(crate) fn keep(&self, key: &PrivateKey) -> Result<(), Error> {
        file::create_private_directory(self.directory)?;
        keys::create(&self.directory.join(ROOT_KEY), key, self.passphrase)
    }
}

/// An open home. Nobody else has it meanwhile.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    config: Config,
    opened_at: UnixTime,
    _lock: HomeLock,
}

impl Home {
    /// Makes a CA: two keys, two certificates, an empty memory.
    ///
    /// # Errors
    /// [`HomeError::Exists`] and [`HomeError::Incomplete`] if there is one already, whole or in part;
    /// [`HomeError::Shared`] if others can write there.
    pub fn create(
        path: &Path,
        founding: Founding<'_>,
        command: &str,
        now: UnixTime,
    ) -> Result<(Self, Ledger), Error> {
        let Founding { trust_domain, key_type, store: kind, passphrase, root_out } = founding;
        file::create_private_directory(path)?;
        close_if_empty(path)?;
        refuse_shared(path, is_own)?;
        let lock = HomeLock::acquire(path, command, now)?;
        refuse_parts(path)?;
        let root = Issuer::root(&trust_domain, PrivateKey::generate(key_type)?, now)?;
        let issuing = root.issuing(&trust_domain, PrivateKey::generate(key_type)?, now)?;
        match root_out {
            Some(out) => out.keep(root.key())?,
            None => keys::create(&path.join(ROOT_KEY), root.key(), passphrase)?,
        }
        keys::create(&path.join("issuing.key"), issuing.key(), passphrase)?;
        for (tier, issuer) in [(Tier::Root, &root), (Tier::Issuing, &issuing)] {
            let certificate = pem::certificates([&issuer.certificate().der]);
            let path = path.join(format!("{tier}.pem"));
            file::create(&path, certificate.as_bytes(), Access::Public)?;
        }
        let (root, issuing) = (root.certificate().clone(), issuing.certificate().clone());
        let ledger = Ledger::begin(kind.create(&path.join(STORE))?, &path.join(JOURNAL))?;
        let event = Event::Initialized {
            trust_domain: trust_domain.clone(),
            root: root.der.to_vec(),
            issuing: issuing.der.to_vec(),
        };
        ledger.record(&Actor::Home, &event, now)?;
        let config = Config::new(trust_domain, kind);
        file::create(&path.join(CONFIG), config.to_text().as_bytes(), Access::Private)?;
        Ok((Self { path: path.to_owned(), config, opened_at: now, _lock: lock }, ledger))
    }

    /// Opens a home. `command` is what other processes are told while this one has it.
    ///
    /// # Errors
    /// [`Error::Home`], [`Error::Lock`], [`Error::Config`]: each says what to do.
    pub fn open(path: &Path, command: &str, now: UnixTime) -> Result<Self, Error> {
        if !path.join(CONFIG).exists() {
            refuse_parts(path)?;
            return Err(HomeError::NoCa(path.to_owned()).into());
        }
        // Root may work in anybody's.
        refuse_shared(path, |owner| geteuid().is_root() || is_own(owner))?;
        let lock = HomeLock::acquire(path, command, now)?;
        let config_path = path.join(CONFIG);
        let config = Config::parse(&file::read(&config_path)?, &config_path)?;
        Ok(Self { path: path.to_owned(), config, opened_at: now, _lock: lock })
    }

    /// Opens the store alone, as it is: for a verification.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn open_store(&self) -> Result<Arc<dyn Store>, Error> {
        Ok(self.config.store.open(&self.path.join(STORE))?)
    }

    fn open_ledger_as_it_is(&self) -> Result<Ledger, Error> {
        let ledger = Ledger::open(self.open_store()?, &self.journal_path())?;
        self.recognise(&ledger)?;
        Ok(ledger)
    }

    /// Whether the files of this home are those of the CA in the ledger.
    fn recognise(&self, ledger: &Ledger) -> Result<(), Error> {
        let made = ledger.authority()?;
        for (serial, record) in ledger.cas()? {
            let path = self.certificate_path(&serial, &record);
            let der = CertificateDer::from_pem_slice(file::read(&path)?.as_bytes());
            if !der.is_ok_and(|der| *der == record.certificate[..]) {
                return Err(HomeError::OtherCertificate(path).into());
            }
        }
        if self.config.trust_domain != made.trust_domain {
            let (said, made) = (self.config.trust_domain.clone(), made.trust_domain);
            return Err(ConfigError::TrustDomain { said, made }.into());
        }
        Ok(())
    }

    /// Where the home is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `ca.toml` says.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the journal is.
    #[must_use]
    pub fn journal_path(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Where the revocation lists are published.
    #[must_use]
    pub fn lists_path(&self) -> PathBuf {
        self.path.join(LISTS)
    }

    /// Where the roots are for relying parties.
    #[must_use]
    pub fn roots_path(&self) -> PathBuf {
        self.path.join(ROOTS)
    }

    /// Where a CA's key is, or would be.
    #[must_use]
    pub fn key_path(&self, serial: &Serial, record: &CaRecord) -> PathBuf {
        self.file_of(serial, record, "key")
    }

    /// Where a CA's certificate is.
    #[must_use]
    pub fn certificate_path(&self, serial: &Serial, record: &CaRecord) -> PathBuf {
        self.file_of(serial, record, "pem")
    }

    /// Those that `init` makes have plain names; those that come later are told apart.
    fn file_of(&self, serial: &Serial, record: &CaRecord, extension: &str) -> PathBuf {
        let CaRecord { tier, sequence, .. } = record;
        match sequence {
            1 => self.path.join(format!("{tier}.{extension}")),
            _ => self.later_path(*tier, serial, extension),
        }
    }

    /// Where a file of a CA goes that is not one of those that `init` makes.
    pub(crate) fn later_path(&self, tier: Tier, serial: &Serial, extension: &str) -> PathBuf {
        self.path.join(format!("{tier}-{serial}.{extension}"))
    }

    /// Whether a passphrase protects the key of an issuing CA.
    ///
    /// # Errors
    /// [`HomeError::KeyExposed`], or what is wrong with the key.
    pub fn needs_passphrase(&self, ledger: &Ledger) -> Result<bool, Error> {
        for (serial, record) in ledger.cas()? {
            let path = self.key_path(&serial, &record);
            if record.tier == Tier::Issuing && path.exists() && keys::is_sealed(&path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A CA's certificate together with its key; `None` if the key is elsewhere.
    ///
    /// # Errors
    /// As [`needs_passphrase`](Self::needs_passphrase), or that the key does not fit.
    pub fn issuer(
        &self,
        serial: &Serial,
        record: &CaRecord,
        passphrase: Option<&[u8]>,
    ) -> Result<Option<Issuer>, Error> {
        let path = self.key_path(serial, record);
        if !path.exists() {
            return Ok(None);
        }
        let certificate = CaCertificate::from_der(&record.certificate)?;
        Ok(Some(Issuer::new(certificate, keys::read(&path, passphrase)?)?))
    }
}

fn is_own(owner: u32) -> bool {
    owner == geteuid().as_raw()
}

/// Whoever can write in a home could put another configuration, another store or another lock there.
fn refuse_shared(home: &Path, is_fit: impl Fn(u32) -> bool) -> Result<(), Error> {
    let metadata = fs::metadata(home).map_err(FileError::reading(home))?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if is_fit(owner) && mode & 0o022 == 0 {
        return Ok(());
    }
    Err(HomeError::Shared { home: home.to_owned(), owner, mode }.into())
}

/// A directory that was made for the home, by hand or by a service manager, is closed to others. With
/// other files in it, it serves something else as well, and stays as it is.
fn close_if_empty(home: &Path) -> Result<(), FileError> {
    let close = || match fs::read_dir(home)?.next() {
        None if is_own(fs::metadata(home)?.uid()) => {
            fs::set_permissions(home, Permissions::from_mode(0o700))
        }
        _ => Ok(()),
    };
    close().map_err(FileError::writing(home))
}

fn refuse_parts(home: &Path) -> Result<(), HomeError> {
    match PARTS.into_iter().find(|part| home.join(part).exists()) {
        None => Ok(()),
        Some(CONFIG) => Err(HomeError::Exists(home.to_owned())),
        Some(part) => Err(HomeError::Incomplete { home: home.to_owned(), part }),
    }
}
