//! Whoever has shown a certificate: what is on record of it, and whether it still counts.

use vouchsafe_certs::{Fingerprint, Principal, Serial};

use crate::authority::Authority;
use crate::consequences;
use crate::error::Error;

impl Authority {
    /// Whether whoever has shown the certificate with this fingerprint still has a say, by what is on
    /// record now. The lists do not tell as much: while nobody can sign a CA's list
    /// ([`Error::Untold`]), its last one goes on leaving out whom the record knows to be revoked.
    ///
    /// # Errors
    /// [`Refusal::CallerUnknown`](crate::Refusal::CallerUnknown),
    /// [`Refusal::CallerRevoked`](crate::Refusal::CallerRevoked), or see [`Error`].
    pub fn demand_caller(&self, shown: &Fingerprint) -> Result<(), Error> {
        self.caller(shown).map(drop)
    }

    /// Whose certificate was shown, and its serial number.
    pub(crate) fn caller(&self, shown: &Fingerprint) -> Result<(Principal, Serial), Error> {
        self.look_up(|ledger| Ok(consequences::caller(ledger.store(), shown)?))
    }
}
