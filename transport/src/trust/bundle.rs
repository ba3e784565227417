//! A bundle: the revocation lists of several CAs, with the certificates of the issuing CAs among them.
//!
//! After a rotation, lists come from issuing CAs that the reader has never met. Their certificates
//! come with the lists (PEM `CERTIFICATE` beside `X509 CRL`; tools that read lists skip them), and
//! count only if a root that the reader trusts has signed them.

use std::collections::{HashMap, HashSet};

use rustls_pki_types::pem::{PemObject, SectionKind};
use vouchsafe_certs::{CaCertificate, IssuerId, RevocationError, RevocationList, SignedList};

use super::{Revocations, RevocationsError};

/// Bounds the signatures that are verified for whoever writes the bundle. An issuing CA stays in it
/// until its certificate ends, so this is a change every few days for years.
const MAX_SECTIONS: usize = 512;

impl Revocations {
    /// Reads a bundle of PEM lists. `issuers` are the roots that the reader trusts, and CAs below
    /// them that it knows; those in the bundle that such a root has signed count as well.
    ///
    /// A list by a CA that leads to no such root says nothing of anybody who could be let in, and is
    /// left out: so a reader that knows one of two roots goes on through a change of the root.
    ///
    /// # Errors
    /// See [`RevocationsError`]. A bundle is taken whole or not at all.
    pub fn from_pem(pem: &[u8], issuers: &[CaCertificate]) -> Result<Self, RevocationsError> {
        Self::from_changes(pem, issuers, &Self::Unreadable)
    }

    /// As [`from_pem`](Self::from_pem), where delta lists (RFC 5280 §5.2.4) may also say what was
    /// revoked since the lists in `current`.
    ///
    /// # Errors
    /// [`RevocationError::Baseless`] if a delta fits neither a list beside it nor the current one;
    /// otherwise as [`from_pem`](Self::from_pem).
    pub fn from_changes(
        pem: &[u8],
        issuers: &[CaCertificate],
        current: &Self,
    ) -> Result<Self, RevocationsError> {
        let (certificates, ders) = sections(pem)?;
        let known = known(&certificates, issuers)?;
        let (mut lists, mut deltas) = (HashMap::new(), Vec::new());
        let mut left_out = None;
        for der in ders {
            match SignedList::by_one_of(&known, &der) {
                Ok(SignedList::Complete(list)) => {
                    if lists.insert(list.issuer, list).is_some() {
                        return Err(RevocationsError::Twice);
                    }
                }
                Ok(SignedList::Delta(delta)) => deltas.push(delta),
                Ok(_) => return Err(RevocationError::CriticalExtension.into()),
                Err(error @ RevocationError::UnknownIssuer) => left_out = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let mut changed = HashSet::new();
        for delta in deltas {
            let issuer = delta.issuer();
            if !changed.insert(issuer) {
                return Err(RevocationsError::Twice);
            }
            let base = lists.get(&issuer).or_else(|| current.list_of(&issuer));
            let list = base.ok_or(RevocationError::Baseless)?.with(&delta)?;
            lists.insert(issuer, list);
        }
        match (lists.is_empty(), left_out) {
            (false, _) => Ok(Self::Lists(lists)),
            (true, Some(error)) => Err(error.into()),
            (true, None) => Err(RevocationsError::Empty),
        }
    }

    fn list_of(&self, issuer: &IssuerId) -> Option<&RevocationList> {
        if let Self::Lists(lists) = self { lists.get(issuer) } else { None }
    }
}

/// The CAs whose lists count: those that are known, and those that one of their roots has signed.
fn known(
    certificates: &Ders,
    issuers: &[CaCertificate],
) -> Result<Vec<CaCertificate>, RevocationsError> {
    let mut known = issuers.to_vec();
    for der in certificates {
        let authority = CaCertificate::from_der(der)?;
        let is_root = |issuer: &&CaCertificate| issuer.issuer.is_none();
        if issuers.iter().filter(is_root).any(|root| root.has_signed(&authority)) {
            known.push(authority);
        }
    }
    Ok(known)
}

type Ders = Vec<Vec<u8>>;

/// The DER of the certificates and of the lists.
fn sections(pem: &[u8]) -> Result<(Ders, Ders), RevocationsError> {
    let (mut certificates, mut lists) = (Ders::new(), Ders::new());
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|_| RevocationError::Malformed)?;
        let kept = match kind {
            SectionKind::Certificate => &mut certificates,
            SectionKind::Crl => &mut lists,
            _ => continue,
        };
        if kept.len() == MAX_SECTIONS {
            return Err(RevocationsError::TooMany);
        }
        kept.push(der);
    }
    Ok((certificates, lists))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
        KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber,
    };
    use time::OffsetDateTime;

    use super::*;

    struct Ca {
        issuer: Issuer<'static, KeyPair>,
        certificate: CaCertificate,
        pem: String,
    }

    impl Ca {
        fn new(name: &str, above: Option<&Self>) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.serial_number = Some(SerialNumber::from_slice(&[9]));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate().unwrap();
            let signed = match above {
                Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
                None => params.self_signed(&key).unwrap(),
            };
            let certificate = CaCertificate::from_der(signed.der()).unwrap();
            Self { issuer: Issuer::new(params, key), certificate, pem: signed.pem() }
        }

        fn list(&self, number: u64) -> String {
            let at = |seconds| OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let params = CertificateRevocationListParams {
                this_update: at(1_800_000_000),
                next_update: at(1_800_000_100),
                crl_number: SerialNumber::from(number),
                issuing_distribution_point: None,
                revoked_certs: vec![],
                key_identifier_method: KeyIdMethod::PreSpecified(
                    self.certificate.key_identifier.clone(),
                ),
            };
            params.signed_by(&self.issuer).unwrap().pem().unwrap()
        }
    }

    /// The numbers of the lists that are taken.
    fn taken(bundle: &[&str], issuers: &[&Ca]) -> Result<Vec<u64>, RevocationsError> {
        let issuers: Vec<_> = issuers.iter().map(|ca| ca.certificate.clone()).collect();
        let read = Revocations::from_pem(bundle.concat().as_bytes(), &issuers)?;
        let mut numbers: Vec<_> = read.lists().map(|list| list.number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    #[test]
    fn the_list_of_a_new_issuing_ca_counts_if_its_certificate_leads_to_a_trusted_root() {
        let root = Ca::new("Root", None);
        let (old, new) = (Ca::new("Old", Some(&root)), Ca::new("New", Some(&root)));
        let lists = [old.list(1), new.list(2), root.list(3)].concat();
        // Who knows the old issuing CA alone has the others' lists, but not the new one's.
        assert_eq!(taken(&[&lists], &[&root, &old]), Ok(vec![1, 3]));
        // The certificate brings it, before or after the lists.
        assert_eq!(taken(&[&lists, &new.pem], &[&root, &old]), Ok(vec![1, 2, 3]));
        assert_eq!(taken(&[&new.pem, &lists], &[&root, &old]), Ok(vec![1, 2, 3]));
        // What is in the bundle vouches for nothing: neither a root nor an issuing CA in it.
        let strange = Ca::new("Strange", None);
        let below = Ca::new("Below", Some(&strange));
        let foreign = [strange.list(4), below.list(5), strange.pem, below.pem].concat();
        assert_eq!(taken(&[&lists, &new.pem, &foreign], &[&root]), Ok(vec![2, 3]));
        let unknown = Err(RevocationError::UnknownIssuer.into());
        assert_eq!(taken(&[&foreign], &[&root]), unknown);
        // An issuing CA that the reader knows makes no others known.
        let sub = Ca::new("Sub", Some(&old));
        assert_eq!(taken(&[&sub.pem, &sub.list(6)], &[&root, &old]), unknown);
    }

    #[test]
    fn a_bundle_with_a_forged_list_a_list_twice_or_too_many_is_refused_whole() {
        let root = Ca::new("Root", None);
        let good = root.list(1);
        let mut forged = root.list(2).into_bytes();
        let at = forged.len() - "-----END X509 CRL-----\n".len() - 12;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        let issuing = Ca::new("Issuing", Some(&root));
        let refused = Err(RevocationError::Signature.into());
        assert_eq!(taken(&[&issuing.list(3), &issuing.pem, &forged], &[&root]), refused);
        assert_eq!(taken(&[&good, &good], &[&root]), Err(RevocationsError::Twice));
        let many = issuing.pem.repeat(MAX_SECTIONS);
        assert_eq!(taken(&[&many, &good], &[&root]), Ok(vec![1]));
        assert_eq!(taken(&[&many, &issuing.pem, &good], &[&root]), Err(RevocationsError::TooMany));
        let leaf = good.replace("X509 CRL", "CERTIFICATE");
        assert!(matches!(taken(&[&good, &leaf], &[&root]), Err(RevocationsError::Certificate(_))));
    }
}
