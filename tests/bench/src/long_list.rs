//! A revocation list as a CA has it after years: signed with the issuing CA's own key, because revoking very
//! many certificates one by one would first have to issue them.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::{Duration, OffsetDateTime};
use vouchsafe_certs::{CaCertificate, RevocationList};

/// The bundle of the home, with the issuing CA's list replaced by one of a higher number that revokes so many.
pub(crate) fn make(home: &Path, revoked: u32) -> Result<String> {
    let issuing = CertificateDer::from_pem_file(home.join("issuing.pem"))?;
    let issuing_ca = CaCertificate::from_der(&issuing)?;
    let key = KeyPair::from_pem(&fs::read_to_string(home.join("issuing.key"))?)?;
    let list = params(&issuing_ca, revoked).signed_by(&Issuer::from_ca_cert_der(&issuing, key)?)?;
    let bundle = fs::read_to_string(home.join("crl.pem"))?;
    let others = bundle.split_inclusive(END).filter(|pem| !is_of(pem, &issuing_ca));
    Ok(others.chain([list.pem()?.as_str()]).collect())
}

const END: &str = "-----END X509 CRL-----\n";

fn is_of(pem: &str, issuer: &CaCertificate) -> bool {
    let list = CertificateRevocationListDer::from_pem_slice(pem.as_bytes());
    list.is_ok_and(|list| RevocationList::from_der(&list, issuer).is_ok())
}

fn params(issuer: &CaCertificate, count: u32) -> CertificateRevocationListParams {
    let now = OffsetDateTime::now_utc();
    let revoked = |nth: u32| RevokedCertParams {
        // As long as the serial numbers that the CA draws, and none of them.
        serial_number: SerialNumber::from((u128::from(nth) + (1 << 126)).to_be_bytes().to_vec()),
        revocation_time: now,
        reason_code: None,
        invalidity_date: None,
    };
    CertificateRevocationListParams {
        this_update: now,
        next_update: now + Duration::DAY,
        crl_number: SerialNumber::from(1_000_000_u64),
        issuing_distribution_point: None,
        revoked_certs: (0..count).map(revoked).collect(),
        key_identifier_method: KeyIdMethod::PreSpecified(issuer.key_identifier.clone()),
    }
}
