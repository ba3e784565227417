//! Revocation lists that no CA of ours signs.

use std::time::Duration;

use rcgen::SigningKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;
use vouchsafe_ca::pem;
use vouchsafe_certs::{CaCertificate, PrivateKey, UnsignedList};

/// In seconds, from now on.
const LIFE: u64 = 1_000_000;

/// A list with any number that names nobody, PEM: what whoever has the CA's key can sign.
pub fn list_of_nobody(issuer: &CaCertificate, key: &PrivateKey, number: u64) -> String {
    let now = DefaultTimeProvider.current_time().unwrap();
    let next_update = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + LIFE));
    let (this_update, base_number, entries) = (now, None, &[]);
    let list = UnsignedList { issuer, number, base_number, this_update, next_update, entries };
    let to_be_signed = list.to_be_signed().unwrap();
    let signature = key.sign(&to_be_signed).unwrap();
    pem::revocation_lists([list.signed(&to_be_signed, &signature).unwrap()])
}
