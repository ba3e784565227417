//! A peer's certificate: the first thing that an outsider makes us read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::{CaCertificate, Certificate, Fingerprint, Principal, PublicKey, Serial};
use vouchsafe_fuzz::issuer;

fuzz_target!(|octets: &[u8]| {
    judge(octets);
    // The same content as if our own CA had signed it.
    judge(&issuer::signed(octets));
});

fn judge(der: &[u8]) {
    let leaf = Certificate::from_der(der);
    let ca = CaCertificate::from_der(der);
    assert!(leaf.is_err() || ca.is_err(), "both a leaf and a CA");
    if let Ok(leaf) = leaf {
        must_be_sound(&leaf);
        assert!(Certificate::from_der(&[der, b"\0"].concat()).is_err(), "octets after the end");
    }
    if let Ok(ca) = ca {
        assert!(ca.not_before <= ca.not_after);
        let _ = ca.has_signed(&issuer::CA) || issuer::CA.has_signed(&ca);
    }
}

/// Whatever was read holds to its own rules and can be written again.
fn must_be_sound(leaf: &Certificate) {
    assert!(leaf.not_before <= leaf.not_after);
    assert_eq!(Principal::parse(leaf.principal.as_str()).as_ref(), Ok(&leaf.principal));
    assert_eq!(leaf.serial.to_string().parse::<Serial>().as_ref(), Ok(&leaf.serial));
    assert_eq!(leaf.fingerprint.to_string().parse::<Fingerprint>().as_ref(), Ok(&leaf.fingerprint));
    assert!(leaf.permissions.to_der().is_ok());
    let key = PublicKey::from_der(&leaf.public_key.to_der());
    assert_eq!(key.as_ref(), Ok(&leaf.public_key));
}
