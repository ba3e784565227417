//! A CA's certificate together with its key: the only place where anything is signed.
//!
//! rcgen encodes, and decides nothing: every field is set here (its defaults are a validity of
//! 2,000 years and a serial number made from the key). Everything signed is read again with the
//! reader that relying parties use, and compared with what was meant.

mod delegate;
mod list;

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use vouchsafe_certs::{
    CaCertificate, Certificate, CertificateError, KeyError, PERMISSION_EXTENSION_OID, PrivateKey,
    RevocationError, Serial, SerialError, TrustDomain, Usage,
};

pub(crate) use delegate::Delegation;
pub use list::Entry;

use crate::profile::{BACKDATING, Plan, Planned};
use crate::text::date_time;

/// 20 years.
const ROOT_LIFETIME: Duration = Duration::from_secs(7_305 * 86_400);

/// 5 years.
const ISSUING_LIFETIME: Duration = Duration::from_secs(1_826 * 86_400);

/// A common name is at most 64 characters long (RFC 5280 appendix A.1), of which so many are the trust domain.
const MAX_DOMAIN_IN_NAME: usize = 40;

/// Why nothing was signed, or why what was signed is not handed out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The key is not the certificate's.
    #[error("the private key does not belong to the CA certificate beside it")]
    WrongKey,
    /// Encoding or signing failed.
    #[error("signing failed: {0}")]
    Failed(#[from] rcgen::Error),
    /// What was signed could not be read again.
    #[error("what was signed cannot be read again: {0}")]
    Unreadable(#[from] CertificateError),
    /// What was signed says something else than what was planned. The CA stops.
    #[error("what was signed is not what was planned; it is not handed out, and the CA stops")]
    NotAsPlanned,
    /// No serial number could be drawn.
    #[error("{0}")]
    Serial(#[from] SerialError),
    /// No key could be made.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A revocation list that nobody could write.
    #[error("{0}")]
    List(#[from] RevocationError),
    /// A date beyond the year 9999.
    #[error("the clock shows a time that no certificate can hold")]
    Date,
}

/// A certificate that says what its plan said.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignedCertificate {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// What it says.
    pub certificate: Certificate,
}

/// A CA's certificate together with its key.
pub struct Issuer {
    certificate: CaCertificate,
    signer: rcgen::Issuer<'static, PrivateKey>,
}

impl Issuer {
    /// Brings a certificate and its key together.
    ///
    /// # Errors
    /// [`SigningError::WrongKey`] if the key is another one.
    pub fn new(certificate: CaCertificate, key: PrivateKey) -> Result<Self, SigningError> {
        if key.public_key()? != certificate.public_key {
            return Err(SigningError::WrongKey);
        }
        let signer = rcgen::Issuer::from_ca_cert_der(&certificate.der, key)?;
        Ok(Self { certificate, signer })
    }

    /// Signs itself: the beginning of a trust domain.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn root(
        trust_domain: &TrustDomain,
        key: PrivateKey,
        now: UnixTime,
    ) -> Result<Self, SigningError> {
        let params = ca_params(trust_domain, "Root CA", now, ROOT_LIFETIME)?;
        let der = params.self_signed(&key)?.der().to_vec();
        let certificate = CaCertificate::from_der(&der)?;
        if !certificate.has_signed(&certificate) {
            return Err(SigningError::NotAsPlanned);
        }
        Self::new(certificate, key)
    }

    /// Signs an issuing CA, which may sign leaves and nothing that signs.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn issuing(
        &self,
        trust_domain: &TrustDomain,
        key: PrivateKey,
        now: UnixTime,
    ) -> Result<Self, SigningError> {
        // Nothing below a root outlives it.
        let left = self.certificate.not_after.as_secs().saturating_sub(now.as_secs());
        let lifetime = ISSUING_LIFETIME.min(Duration::from_secs(left));
        let mut params = ca_params(trust_domain, "Issuing CA", now, lifetime)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let der = params.signed_by(&key, &self.signer)?.der().to_vec();
        let certificate = CaCertificate::from_der(&der)?;
        if !self.certificate.has_signed(&certificate)
            || certificate.issuer != Some(self.certificate.id)
        {
            return Err(SigningError::NotAsPlanned);
        }
        Self::new(certificate, key)
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// The CA's key, to be written down once.
    pub(crate) fn key(&self) -> &PrivateKey {
        self.signer.key()
    }

    /// Signs what was planned, and nothing else. Spends the plan.
    ///
    /// # Errors
    /// [`SigningError::NotAsPlanned`] must stop the CA.
    pub fn sign(&self, plan: Plan) -> Result<SignedCertificate, SigningError> {
        let planned = plan.planned();
        let mut params = leaf_params(planned)?;
        if let Some(pointers) = plan.pointers() {
            pointers.add_to(&mut params);
        }
        let signed = params.signed_by(&planned.public_key, &self.signer)?;
        let certificate = Certificate::from_der(signed.der())?;
        if !plan.is_kept_by(&certificate) {
            return Err(SigningError::NotAsPlanned);
        }
        Ok(SignedCertificate { der: signed.der().clone(), certificate })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, signer: _ } = self;
        write!(f, "Issuer({}, …)", certificate.serial)
    }
}

fn serial_number(serial: &Serial) -> SerialNumber {
    SerialNumber::from_slice(serial.as_bytes())
}

fn ca_params(
    trust_domain: &TrustDomain,
    role: &str,
    now: UnixTime,
    lifetime: Duration,
) -> Result<CertificateParams, SigningError> {
    let serial = Serial::random()?;
    let now = Duration::from_secs(now.as_secs());
    let time = |at| date_time(UnixTime::since_unix_epoch(at)).ok_or(SigningError::Date);
    // The tail of the serial number sets two CAs of one trust domain apart (RFC 5280 §4.2.1.1:
    // a name identifies one CA), also in the eyes of tools that go by names alone.
    let text = serial.to_string();
    let tail = text.get(text.len().saturating_sub(6)..).unwrap_or_default();
    let domain = trust_domain.as_str();
    let domain = domain.get(..MAX_DOMAIN_IN_NAME).unwrap_or(domain);
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("{domain} {role} {tail}"));

    let mut params = CertificateParams::default();
    params.serial_number = Some(serial_number(&serial));
    params.not_before = time(now.saturating_sub(BACKDATING))?;
    params.not_after = time(now + lifetime)?;
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The subject is empty and the alternative name therefore critical (RFC 5280 §4.1.2.6): every
/// verifier tried accepts that, a common name is limited to 64 characters, and some verifiers
/// would take one for a host name.
fn leaf_params(planned: &Planned) -> Result<CertificateParams, SigningError> {
    let Planned {
        serial,
        issuer: _,
        principal,
        usage,
        permissions,
        dns_names,
        ip_addresses,
        not_before,
        not_after,
        public_key: _,
    } = planned;
    let mut names = vec![SanType::URI(principal.as_str().try_into()?)];
    for name in dns_names {
        names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    names.extend(ip_addresses.iter().copied().map(SanType::IpAddress));

    let mut params = CertificateParams::default();
    params.serial_number = Some(serial_number(serial));
    params.not_before = date_time(*not_before).ok_or(SigningError::Date)?;
    params.not_after = date_time(*not_after).ok_or(SigningError::Date)?;
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match usage {
        Usage::Server => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
        // Of a usage that is not known here, the comparison with the plan will tell.
        _ => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.use_authority_key_identifier_extension = true;
    if !permissions.is_empty() {
        let value = permissions.to_der().map_err(CertificateError::from)?;
        // Not critical: stock verifiers refuse a critical extension they do not know.
        let mut extension = CustomExtension::from_oid_content(PERMISSION_EXTENSION_OID, value);
        extension.set_criticality(false);
        params.custom_extensions = vec![extension];
    }
    Ok(params)
}

#[cfg(test)]
pub(crate) mod tests {
    use vouchsafe_certs::{KeyType, Permission};

    use super::*;
    use crate::config::Lifetimes;
    use crate::kind::Kind;
    use crate::profile::{CertificateProfile, Order};

    fn trust_domain() -> TrustDomain {
        TrustDomain::parse("acme.example").unwrap()
    }

    /// An issuing CA under a root of its own.
    pub(crate) fn issuing_ca(now: UnixTime) -> Issuer {
        let key = || PrivateKey::generate(KeyType::P256).unwrap();
        let root = Issuer::root(&trust_domain(), key(), now).unwrap();
        root.issuing(&trust_domain(), key(), now).unwrap()
    }

    fn now() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
    }

    fn plan(issuer: &Issuer, kind: Kind, permissions: &[&str], key_type: KeyType) -> Plan {
        let profile =
            CertificateProfile::new(trust_domain(), Lifetimes::default(), issuer.certificate());
        let order = Order {
            principal: trust_domain().principal("team-a/build-7").unwrap(),
            kind,
            permissions: permissions.iter().map(|p| Permission::parse(p).unwrap()).collect(),
            lifetime: None,
            public_key: PrivateKey::generate(key_type).unwrap().public_key().unwrap(),
        };
        profile.plan(order, Serial::random().unwrap(), now()).unwrap()
    }

    #[test]
    fn every_key_type_signs_and_is_certified() {
        for ca_key in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
            let key = || PrivateKey::generate(ca_key).unwrap();
            let root = Issuer::root(&trust_domain(), key(), now()).unwrap();
            let issuing = root.issuing(&trust_domain(), key(), now()).unwrap();
            assert!(root.certificate().has_signed(issuing.certificate()));
            for leaf_key in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
                let plan = plan(&issuing, Kind::Agent, &["tools:search"], leaf_key);
                let signed = issuing.sign(plan).unwrap();
                assert!(signed.certificate.permissions.allows("tools", "search"));
                assert_eq!(signed.certificate.issuer, issuing.certificate().id);
            }
        }
    }

    #[test]
    fn servers_have_their_names_and_need_no_permissions() {
        let issuing = issuing_ca(now());
        let kind = Kind::Server {
            dns_names: vec!["localhost".into(), "a.example".into()],
            ip_addresses: vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()],
        };
        let signed = issuing.sign(plan(&issuing, kind, &[], KeyType::P256)).unwrap();
        assert_eq!(signed.certificate.usage, Usage::Server);
        assert_eq!(signed.certificate.dns_names, ["a.example", "localhost"]);
        assert_eq!(signed.certificate.ip_addresses.len(), 2);
        assert!(signed.certificate.permissions.is_empty());
        // No extension at all, rather than one that holds nothing: the UUID's arcs are not there.
        let arc = [0x80 | 2, 0x80 | 60, 42];
        assert!(!signed.der.windows(3).any(|window| window == arc));
    }

    #[test]
    fn two_cas_of_one_trust_domain_differ_in_name() {
        let one = issuing_ca(now());
        let two = issuing_ca(now());
        assert!(!one.certificate().may_have_issued(two.certificate()));
        assert_ne!(one.certificate().id, two.certificate().id);
    }

    #[test]
    fn a_plan_of_another_ca_is_not_signed() {
        let (one, two) = (issuing_ca(now()), issuing_ca(now()));
        let foreign = two.sign(plan(&one, Kind::Agent, &[], KeyType::P256));
        assert!(matches!(foreign, Err(SigningError::NotAsPlanned)));
    }

    #[test]
    fn a_key_must_fit_its_certificate() {
        let certificate = issuing_ca(now()).certificate().clone();
        let other = PrivateKey::generate(KeyType::P256).unwrap();
        assert!(matches!(Issuer::new(certificate, other), Err(SigningError::WrongKey)));
    }

    #[test]
    fn debug_shows_no_secret() {
        let issuer = issuing_ca(now());
        let serial = issuer.certificate().serial;
        assert_eq!(format!("{issuer:?}"), format!("Issuer({serial}, …)"));
    }
}
