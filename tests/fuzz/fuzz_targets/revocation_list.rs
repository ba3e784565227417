//! A revocation list: whatever another verifier takes for revoked must be revoked for us, and nothing else.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::UnixTime;
use vouchsafe_certs::{RevocationList, Serial};
use vouchsafe_fuzz::issuer;
use webpki::BorrowedCertRevocationList;

fuzz_target!(|octets: &[u8]| {
    judge(octets);
    // The same content with the CA's signature: without it, no mutation would get past the signature.
    judge(&issuer::signed(octets));
});

fn judge(der: &[u8]) {
    let Ok(list) = RevocationList::from_der(der, &issuer::CA) else { return };
    assert!(list.serials().is_sorted_by(|one, next| one < next));
    assert!(list.serials().iter().all(|serial| list.revokes(serial)));
    assert!(!list.is_stale(list.next_update));
    let later = Duration::from_secs(list.next_update.as_secs() + 1);
    assert!(list.is_stale(UnixTime::since_unix_epoch(later)));
    if let Some(theirs) = read_by_webpki(der) {
        assert_eq!(list.serials(), theirs, "another verifier reads another set");
    }
}

fn read_by_webpki(der: &[u8]) -> Option<Vec<Serial>> {
    let list = BorrowedCertRevocationList::from_der(der).ok()?;
    let serial = |octets| Serial::from_der_content(octets).ok();
    let serials = list.into_iter().map(|entry| serial(entry.ok()?.serial_number));
    let mut serials = serials.collect::<Option<Vec<Serial>>>()?;
    serials.sort_unstable();
    serials.dedup();
    Some(serials)
}
