//! Whoever has shown a certificate: what is on record of it, and whether it still counts.

use vouchsafe_certs::Fingerprint;

use crate::authority::Authority;
use crate::error::Error;
use crate::record::{CertificateRecord, Revocation};
use crate::refusal::Refusal;

impl Authority {
    /// Whether whoever has shown the certificate with this fingerprint still has a say, by what is on
    /// record now. The lists do not tell as much: while nobody can sign a CA's list
    /// ([`Error::Untold`]), its last one goes on leaving out whom the record knows to be revoked.
    ///
    /// # Errors
    /// [`Refusal::CallerUnknown`], [`Refusal::CallerRevoked`], or see [`Error`].
    pub fn demand_caller(&self, shown: &Fingerprint) -> Result<(), Error> {
        self.caller(shown).map(drop)
    }

    /// What is known of the certificate that was shown. Not of its serial number: whoever has stolen
    /// an issuing CA's key can give any number to a certificate of their own.
    pub(crate) fn caller(&self, shown: &Fingerprint) -> Result<CertificateRecord, Error> {
        let held = self.look_up(|ledger| match ledger.serial_of(shown)? {
            Some(serial) => ledger.certificate(&serial),
            None => Ok(None),
        })?;
        let held = held.ok_or(Refusal::CallerUnknown(*shown))?;
        let device = self.look_up(|ledger| ledger.device(&held.planned.principal))?;
        let issuer = self.look_up(|ledger| ledger.ca(&held.planned.issuer))?;
        let device = device.and_then(|device| device.revoked);
        let issuer = issuer.and_then(|issuer| issuer.revoked);
        match device.or(held.revoked).or(issuer) {
            None => Ok(held),
            Some(Revocation { reason, .. }) => {
                Err(Refusal::CallerRevoked { caller: held.planned.principal, reason }.into())
            }
        }
    }
}
