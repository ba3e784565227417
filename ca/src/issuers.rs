//! The CAs at work: whose keys are open, which of them signs, and which roots are trusted.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, UnixTime};
use vouchsafe_certs::{CaCertificate, PublicKey, Serial};

use crate::error::Error;
use crate::home::{Home, HomeError};
use crate::issuer::Issuer;
use crate::ledger::Ledger;
use crate::profile::CertificateProfile;
use crate::record::{CaRecord, Tier};

/// An issuing CA whose key is open.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) profile: CertificateProfile,
    begins: UnixTime,
    sequence: u64,
    /// Whether it may still sign certificates; lists it signs for as long as it is here.
    may_sign: bool,
}

impl Signer {
    fn new(home: &Home, record: &CaRecord, issuer: Arc<Issuer>) -> Self {
        let config = home.config();
        let trust_domain = config.trust_domain.clone();
        let profile = CertificateProfile::new(trust_domain, config.lifetimes, issuer.certificate())
            .pointing_to(config.public_url.as_ref());
        let CaRecord { begins, sequence, .. } = *record;
        Self { issuer, profile, begins, sequence, may_sign: record.may_sign() }
    }

    pub(crate) fn serial(&self) -> Serial {
        self.issuer.certificate().serial
    }
}

/// The CAs at work. Made anew whenever one comes, is revoked or goes.
#[derive(Debug)]
pub(crate) struct Issuers {
    /// The newest first.
    signers: Vec<Arc<Signer>>,
    /// Issuing CAs whose lists nobody signs any more: their key is elsewhere, or removed because their time is
    /// over, and that may have been by a clock that ran ahead.
    pub(crate) silent: Vec<Serial>,
    /// The newest first.
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

impl Issuers {
    /// Opens the key of every issuing CA whose time is not over. One whose key is elsewhere cannot
    /// sign its list, which goes stale; the one that signs certificates must have its key here.
    pub(crate) fn open(
        home: &Home,
        ledger: &Ledger,
        passphrase: Option<&[u8]>,
        now: UnixTime,
    ) -> Result<Self, Error> {
        let mut missing = None;
        let issuers = Self::with_keys(home, ledger, |serial, record| {
            let issuer = home.issuer(serial, record, passphrase)?;
            if issuer.is_none() && record.may_sign() && record.begins <= now {
                let path = || (record.sequence, home.key_path(serial, record));
                missing.get_or_insert_with(path);
            }
            Ok(issuer.map(Arc::new))
        })?;
        let signing = issuers.signing(now).map_or(0, |signer| signer.sequence);
        match missing {
            Some((sequence, path)) if sequence > signing => Err(HomeError::NoKey(path).into()),
            _ => Ok(issuers),
        }
    }

    /// The same after something was recorded of the CAs. `new` is one whose key was just made.
    pub(crate) fn after(
        &self,
        home: &Home,
        ledger: &Ledger,
        new: Option<Issuer>,
    ) -> Result<Self, Error> {
        let new = new.map(Arc::new);
        let known = |serial: &Serial| {
            let known = self.signers.iter().map(|signer| &signer.issuer).chain(&new);
            known.clone().find(|issuer| issuer.certificate().serial == *serial).cloned()
        };
        Self::with_keys(home, ledger, |serial, _| Ok(known(serial)))
    }

    fn with_keys(
        home: &Home,
        ledger: &Ledger,
        mut issuer: impl FnMut(&Serial, &CaRecord) -> Result<Option<Arc<Issuer>>, Error>,
    ) -> Result<Self, Error> {
        let mut issuers = Self { signers: Vec::new(), silent: Vec::new(), roots: Vec::new() };
        for (serial, record) in ledger.cas()? {
            match record.tier {
                Tier::Root if record.is_retired() => {}
                Tier::Root => issuers.roots.push(CertificateDer::from(record.certificate)),
                Tier::Issuing if record.is_retired() => issuers.silent.push(serial),
                Tier::Issuing => match issuer(&serial, &record)? {
                    Some(issuer) => {
                        issuers.signers.push(Arc::new(Signer::new(home, &record, issuer)));
                    }
                    None => issuers.silent.push(serial),
                },
            }
        }
        Ok(issuers)
    }

    /// The issuing CA that signs certificates now: the newest whose time has begun.
    pub(crate) fn signing(&self, now: UnixTime) -> Option<&Arc<Signer>> {
        let mut able = self.signers.iter().filter(|signer| signer.may_sign);
        let begun = able.clone().find(|signer| signer.begins <= now);
        // Under a clock that was set back the oldest answers, and says what is wrong.
        begun.or_else(|| able.next_back())
    }

    /// Everyone who signs a list.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Signer> {
        self.signers.iter().map(AsRef::as_ref)
    }

    /// The root with this key.
    pub(crate) fn root_of(&self, key: &PublicKey) -> Result<Option<CaCertificate>, Error> {
        for der in &self.roots {
            let root = CaCertificate::from_der(der)?;
            if root.public_key == *key {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }
}
