//! A certificate signing request. What another reader takes for a request for authority must not pass ours.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateSigningRequestParams, IsCa, KeyUsagePurpose};
use vouchsafe_certs::{CertificateRequest, PublicKey};
use vouchsafe_fuzz::issuer;

fuzz_target!(|octets: &[u8]| {
    let _ = CertificateRequest::from_pem_or_der(octets);
    judge(octets);
    // The same content with a signature that fits the key of the seeds.
    judge(&issuer::signed(octets));
});

fn judge(der: &[u8]) {
    let Ok(request) = CertificateRequest::from_der(der) else { return };
    let key = request.public_key;
    assert_eq!(PublicKey::from_der(&key.to_der()).as_ref(), Ok(&key));
    assert!(CertificateRequest::from_der(&[der, b"\0"].concat()).is_err(), "octets after the end");
    let Ok(other) = CertificateSigningRequestParams::from_der(&der.into()) else { return };
    assert!(matches!(other.params.is_ca, IsCa::NoCa | IsCa::ExplicitNoCa), "asks to be a CA");
    for usage in other.params.key_usages {
        let presumes = matches!(usage, KeyUsagePurpose::KeyCertSign | KeyUsagePurpose::CrlSign);
        assert!(!presumes, "asks to sign");
    }
}
