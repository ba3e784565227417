//! Revocations that are on record and on no list, because the key of the CA that would have to sign
//! it is not in the home: it is kept elsewhere, or was removed when the CA's time was thought to be over.
//!
//! An acknowledged revocation is on a published list. So whoever asked for one that is not is told
//! that nobody heard of it yet, however often they ask, until the CA signs again or its root's list
//! names the CA itself.

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{CaCertificate, Serial};

use crate::authority::Authority;
use crate::error::Error;
use crate::record::CertificateRecord;
use crate::rotation::root_above;

impl Authority {
    /// Whether everything that was revoked of what `is_meant` is on a published list. Certificates
    /// whose time is over need none.
    ///
    /// # Errors
    /// [`Error::Untold`] with the first issuing CA whose list lacks one of them.
    pub(crate) fn demand_told(
        &self,
        now: UnixTime,
        is_meant: impl Fn(&CertificateRecord) -> bool,
    ) -> Result<(), Error> {
        let silent = self.silent(now, is_meant)?;
        silent.map_or(Ok(()), |issuer| Err(Error::Untold { issuer }))
    }

    /// An issuing CA that has revoked something of which nobody heard, if there is one: its key is
    /// not in the home, or not any more.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn silent_issuer(&self) -> Result<Option<Serial>, Error> {
        self.silent(self.now()?, |_| true)
    }

    fn silent(
        &self,
        now: UnixTime,
        is_meant: impl Fn(&CertificateRecord) -> bool,
    ) -> Result<Option<Serial>, Error> {
        for issuer in self.issuers()?.silent.iter().copied() {
            if self.is_named_by_its_root(&issuer)? {
                continue;
            }
            for (serial, revoked) in self.publisher.lists().untold(&issuer, &self.ledger)? {
                if revoked.not_after >= now
                    && self.ledger.certificate(&serial)?.is_some_and(|record| is_meant(&record))
                {
                    return Ok(Some(issuer));
                }
            }
        }
        Ok(None)
    }

    /// Whether a published list of its root says that an issuing CA is revoked, and all its
    /// certificates with it.
    fn is_named_by_its_root(&self, issuer: &Serial) -> Result<bool, Error> {
        let ca = self.ledger.ca(issuer)?.filter(|ca| ca.revoked.is_some());
        let Some(ca) = ca else { return Ok(false) };
        let root = root_above(&self.ledger, &CaCertificate::from_der(&ca.certificate)?)?;
        let untold = self.publisher.lists().untold(&root, &self.ledger)?;
        Ok(untold.iter().all(|(serial, _)| serial != issuer))
    }
}
