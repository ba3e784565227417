//! The certificate by which a responder answers for a CA (RFC 6960 §4.2.2.2).

use std::time::Duration;

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use vouchsafe_certs::{Certificate, PublicKey, Serial};

use super::{Issuer, SigningError, serial_number};
use crate::profile::BACKDATING;
use crate::text::date_time;

/// So long a responder's key is good for something. It is on no list (see [`NO_CHECK`]).
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1): who asks whether the responder itself is revoked would ask
/// the responder. A short life takes the place of the question.
const NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];

/// DER of NULL.
const NULL: [u8; 2] = [0x05, 0x00];

/// A responder's certificate.
#[derive(Debug)]
pub(crate) struct Delegation {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
}

impl Issuer {
    /// Certifies a key that may answer for this CA, and may do nothing else.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub(crate) fn delegate(
        &self,
        key: &PublicKey,
        now: UnixTime,
    ) -> Result<Delegation, SigningError> {
        let now = Duration::from_secs(now.as_secs());
        let not_before = UnixTime::since_unix_epoch(now.saturating_sub(BACKDATING));
        let not_after = UnixTime::since_unix_epoch(now + LIFETIME).min(self.certificate.not_after);
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "OCSP responder");
        let mut no_check = CustomExtension::from_oid_content(NO_CHECK, NULL.to_vec());
        no_check.set_criticality(false);

        let mut params = CertificateParams::default();
        params.serial_number = Some(serial_number(&Serial::random()?));
        params.not_before = date_time(not_before).ok_or(SigningError::Date)?;
        params.not_after = date_time(not_after).ok_or(SigningError::Date)?;
        params.distinguished_name = name;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = vec![no_check];
        let der = params.signed_by(key, &self.signer)?.der().clone();
        // Whoever has the responder's key must not be able to pass for a principal.
        if Certificate::from_der(&der).is_ok() {
            return Err(SigningError::NotAsPlanned);
        }
        Ok(Delegation { der, not_before, not_after })
    }
}
