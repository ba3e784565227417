//! A bundle: the revocation lists of several CAs, with the certificates of the issuing CAs among them.
//!
//! After a rotation, lists come from issuing CAs that the reader has never met. Their certificates
//! come with the lists (PEM `CERTIFICATE` beside `X509 CRL`; tools that read lists skip them), and
//! count only if a root that the reader trusts has signed them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustls_pki_types::pem::{PemObject, SectionKind};
use vouchsafe_certs::{CaCertificate, IssuerId, RevocationError, SignedList};

use super::following::Offer;
use super::revocations::{Listed, RevocationsError};

/// Bounds the signatures that are verified for whoever writes the bundle. Each CA has up to two lists
/// in it until its certificate ends; the CA sees to it that there are not too many.
pub(super) const MAX_SECTIONS: usize = 512;

/// Lists whose signatures were verified, by CAs that lead to a trusted root.
pub(super) struct Bundle {
    /// The CAs whose lists count.
    pub(super) known: Vec<Arc<CaCertificate>>,
    /// What each of them says, as far as it is in the bundle.
    pub(super) offers: HashMap<IssuerId, Offer>,
}

impl Bundle {
    /// Reads lists by CAs that the reader knows: its `issuers`, those that one of their roots has
    /// signed and whose certificate is in the bundle, and those of the lists that are in force.
    pub(super) fn read<'a>(
        pem: &[u8],
        issuers: &[CaCertificate],
        in_force: impl Iterator<Item = &'a Listed>,
    ) -> Result<Self, RevocationsError> {
        let (certificates, ders) = sections(pem)?;
        let mut known: Vec<_> = issuers.iter().cloned().map(Arc::new).collect();
        for der in certificates {
            known.push(Arc::new(CaCertificate::from_der(&der)?));
        }
        known.extend(in_force.map(|listed| Arc::clone(&listed.issuer)));
        let known = leading_to_a_root(known, issuers);
        let mut offers: HashMap<_, Offer> = HashMap::new();
        let mut left_out = None;
        for der in ders {
            match SignedList::by_one_of(&known, &der) {
                Ok(list) => offers.entry(list.issuer()).or_default().add(list)?,
                Err(error @ RevocationError::UnknownIssuer) => left_out = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        match (offers.is_empty(), left_out) {
            (false, _) => Ok(Self { known, offers }),
            (true, Some(error)) => Err(error.into()),
            (true, None) => Err(RevocationsError::Empty),
        }
    }
}

/// The CAs among them whose lists count, each certificate once: those that the reader knows, and
/// those that one of its roots has signed.
fn leading_to_a_root(
    authorities: Vec<Arc<CaCertificate>>,
    issuers: &[CaCertificate],
) -> Vec<Arc<CaCertificate>> {
    let is_root = |issuer: &&CaCertificate| issuer.issuer.is_none();
    let counts = |authority: &CaCertificate| {
        issuers.iter().any(|issuer| issuer.der == authority.der)
            || issuers.iter().filter(is_root).any(|root| root.has_signed(authority))
    };
    let mut seen = HashSet::new();
    let is_first = |authority: &Arc<CaCertificate>| seen.insert(authority.der.clone());
    authorities.into_iter().filter(is_first).filter(|authority| counts(authority)).collect()
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
