//! A bag of certificates: what is unpacked packs into a bag that unpacks to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::certs_only::{pack, unpack};

fuzz_target!(|octets: &[u8]| {
    let Ok(certificates) = unpack(octets) else { return };
    let packed = pack(&certificates).unwrap();
    assert_eq!(unpack(&packed).unwrap(), certificates);
});
