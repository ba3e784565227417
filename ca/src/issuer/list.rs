//! Revocation lists (RFC 5280 §5: v2, with number, authority key identifier, reasons), complete or of
//! what was revoked since a complete one.

use rcgen::SigningKey;
use rustls_pki_types::UnixTime;
use vouchsafe_certs::{ListEntry, Serial, SignedList, UnsignedList};

use super::{Issuer, SigningError};
use crate::reason::Reason;

/// One entry of a revocation list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Which certificate.
    pub serial: Serial,
    /// Since when.
    pub revoked_at: UnixTime,
    /// Why.
    pub reason: Reason,
}

impl Entry {
    pub(crate) fn new(serial: Serial, revoked_at: UnixTime, reason: Reason) -> Self {
        Self { serial, revoked_at, reason }
    }
}

impl Issuer {
    /// Signs a complete list.
    ///
    /// # Errors
    /// [`SigningError::NotAsPlanned`] must stop the CA.
    pub fn sign_list(
        &self,
        number: u64,
        this_update: UnixTime,
        next_update: UnixTime,
        entries: &[Entry],
    ) -> Result<Vec<u8>, SigningError> {
        self.sign_as(None, number, (this_update, next_update), entries)
    }

    /// Signs what was revoked since the complete list with the number `base` (RFC 5280 §5.2.4).
    ///
    /// # Errors
    /// [`SigningError::NotAsPlanned`] must stop the CA.
    pub fn sign_delta(
        &self,
        base: u64,
        number: u64,
        this_update: UnixTime,
        next_update: UnixTime,
        entries: &[Entry],
    ) -> Result<Vec<u8>, SigningError> {
        self.sign_as(Some(base), number, (this_update, next_update), entries)
    }

    fn sign_as(
        &self,
        base_number: Option<u64>,
        number: u64,
        (this_update, next_update): (UnixTime, UnixTime),
        entries: &[Entry],
    ) -> Result<Vec<u8>, SigningError> {
        let issuer = &self.certificate;
        let entry = |Entry { serial, revoked_at, reason }: &Entry| ListEntry {
            serial: *serial,
            revoked_at: *revoked_at,
            reason: reason.code(),
        };
        let entries: Vec<ListEntry> = entries.iter().map(entry).collect();
        let entries = &entries;
        let meant = UnsignedList { issuer, number, base_number, this_update, next_update, entries };
        let to_be_signed = meant.to_be_signed()?;
        let signature = self.signer.key().sign(&to_be_signed)?;
        let der = meant.signed(&to_be_signed, &signature)?;
        if !self.has_signed_list(&der, &meant) {
            return Err(SigningError::NotAsPlanned);
        }
        Ok(der)
    }

    /// Whether a list, read as relying parties read it, says what was meant.
    fn has_signed_list(&self, der: &[u8], meant: &UnsignedList<'_>) -> bool {
        let issuers = std::slice::from_ref(&self.certificate);
        let (base, read) = match SignedList::by_one_of(issuers, der) {
            Ok(SignedList::Complete(list)) => (None, list),
            Ok(SignedList::Delta(delta)) => (Some(delta.base_number()), delta.changes().clone()),
            _ => return false,
        };
        let mut serials: Vec<Serial> = meant.entries.iter().map(|entry| entry.serial).collect();
        serials.sort_unstable();
        base == meant.base_number
            && read.number == meant.number
            && read.this_update == meant.this_update
            && read.next_update == meant.next_update
            && read.serials() == serials
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vouchsafe_certs::{MAX_LIST_LEN, RevocationError, RevocationList};

    use super::super::tests::issuing_ca;
    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    const NOW: u64 = 1_800_000_000;

    fn some_entries() -> Vec<Entry> {
        let entry = |reason| Entry::new(Serial::random().unwrap(), at(NOW), reason);
        Reason::ALL.into_iter().map(entry).collect()
    }

    #[test]
    fn lists_say_what_was_revoked() {
        let issuer = issuing_ca(at(NOW));
        let mut entries = some_entries();
        for number in [1, 127, 128, 255, 256, u64::MAX / 2] {
            let der = issuer.sign_list(number, at(NOW), at(NOW + 9), &entries).unwrap();
            let read = RevocationList::from_der(&der, issuer.certificate()).unwrap();
            assert_eq!((read.number, read.serials().len()), (number, entries.len()));
            entries.pop();
        }
        assert!(entries.is_empty());
    }

    #[test]
    fn lists_can_be_dated_beyond_2049_and_not_beyond_9999() {
        let issuer = issuing_ca(at(NOW));
        let in_2100 = at(4_102_444_800);
        let der = issuer.sign_list(1, at(NOW), in_2100, &some_entries()).unwrap();
        let read = RevocationList::from_der(&der, issuer.certificate()).unwrap();
        assert_eq!(read.next_update, in_2100);
        let unwritable = issuer.sign_list(1, at(NOW), at(300_000_000_000), &[]);
        assert!(matches!(unwritable, Err(SigningError::List(RevocationError::Unwritable))));
    }

    #[test]
    fn a_list_that_no_reader_takes_is_not_written() {
        let issuer = issuing_ca(at(NOW));
        let list = UnsignedList {
            issuer: issuer.certificate(),
            number: 1,
            base_number: None,
            this_update: at(NOW),
            next_update: at(NOW + 9),
            entries: &[],
        };
        let unwritable = list.signed(&vec![0; MAX_LIST_LEN], &[0; 64]).err();
        assert_eq!(unwritable, Some(RevocationError::Unwritable));
        // As PEM it would have been about as long as readers take.
        let pem = crate::pem::revocation_list_len(MAX_LIST_LEN);
        assert!((252 << 20..256 << 20).contains(&pem), "{pem}");
    }

    #[test]
    fn a_list_and_what_changed_since_make_the_next_list() {
        let issuer = issuing_ca(at(NOW));
        let issuers = [issuer.certificate().clone()];
        let (old, new) = (some_entries(), some_entries());
        let der = issuer.sign_list(5, at(NOW), at(NOW + 10), &old).unwrap();
        let list = RevocationList::from_der(&der, issuer.certificate()).unwrap();
        // A certificate that was on the list for another reason is named again.
        let since: Vec<Entry> = new.iter().chain(&old[..1]).copied().collect();
        let delta = |base, number| {
            let der = issuer.sign_delta(base, number, at(NOW + 1), at(NOW + 20), &since).unwrap();
            let Ok(SignedList::Delta(delta)) = SignedList::by_one_of(&issuers, &der) else {
                panic!("no delta")
            };
            let complete = RevocationList::from_der(&der, issuer.certificate());
            assert_eq!(complete, Err(RevocationError::Delta));
            delta
        };
        let next = list.with(&delta(5, 7)).unwrap();
        assert_eq!((next.number, next.serials().len()), (7, old.len() + new.len()));
        assert!(next.serials().is_sorted());
        assert!(old.iter().chain(&new).all(|entry| next.revokes(&entry.serial)));
        assert_eq!((next.this_update, next.next_update), (at(NOW + 1), at(NOW + 20)));
        // Made for an earlier list it fits as well; for a later one it does not.
        assert_eq!(next.with(&delta(5, 8)).unwrap().number, 8);
        assert_eq!(list.with(&delta(6, 8)), Err(RevocationError::Baseless));
        // What is known already is not unlearnt.
        assert_eq!(next.with(&delta(5, 6)), Ok(next.clone()));
        let stranger = issuing_ca(at(NOW));
        let der = stranger.sign_list(5, at(NOW), at(NOW + 10), &[]).unwrap();
        let foreign = RevocationList::from_der(&der, stranger.certificate()).unwrap();
        assert_eq!(foreign.with(&delta(5, 7)), Err(RevocationError::Baseless));
    }
}
