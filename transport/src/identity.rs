//! What one side shows: its certificate chain and the key to it, and the roots it trusts.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use vouchsafe_certs::{CaCertificate, Certificate, CertificateError, KeyError, PrivateKey};

use crate::{TlsError, tls};

/// A certificate chain, its key, and the roots that the owner trusts.
#[derive(Debug)]
#[non_exhaustive]
pub struct Identity {
    /// The leaf, read.
    pub certificate: Certificate,
    /// Leaf first, then the issuing CA.
    pub chain: Vec<CertificateDer<'static>>,
    /// The issuing CAs of the chain, read.
    pub authorities: Vec<CaCertificate>,
    /// The leaf's private key.
    pub key: PrivateKey,
    /// What peers must chain to.
    pub roots: Arc<[CaCertificate]>,
}

/// Why files do not make an identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No PEM certificate where one is needed.
    #[error("there is no certificate in {0}")]
    NoCertificate(&'static str),
    /// A certificate is refused.
    #[error("a certificate in {0} is refused: {1}")]
    Certificate(&'static str, CertificateError),
    /// The key is refused.
    #[error("key.pem is refused: {0}")]
    Key(#[from] KeyError),
    /// The key belongs to another certificate.
    #[error("key.pem is not the key of certificate.pem")]
    KeyMismatch,
    /// Chain and roots do not belong together.
    #[error("certificate.pem does not lead to a root in roots.pem")]
    Root,
    /// The TLS library does not take it.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

impl Identity {
    /// Reads the three files of an identity directory: `certificate.pem`, `key.pem`, `roots.pem`.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn from_pem(certificate: &[u8], key: &str, roots: &[u8]) -> Result<Self, IdentityError> {
        Self::with_key(certificate, PrivateKey::from_pem(key)?, roots)
    }

    /// Reads the other two files of an identity directory whose key has been opened.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn with_key(
        certificate: &[u8],
        key: PrivateKey,
        roots: &[u8],
    ) -> Result<Self, IdentityError> {
        let chain = certificates(certificate, "certificate.pem")?;
        let (leaf, above) =
            chain.split_first().ok_or(IdentityError::NoCertificate("certificate.pem"))?;
        let refused = |error| IdentityError::Certificate("certificate.pem", error);
        let certificate = Certificate::from_der(leaf).map_err(refused)?;
        let authorities = authorities(above, "certificate.pem")?;
        let roots: Arc<[_]> = authorities_of_pem(roots)?.into();
        if key.public_key()? != certificate.public_key {
            return Err(IdentityError::KeyMismatch);
        }
        let is_rooted = |issuer| roots.iter().any(|root| root.id == issuer);
        let links = authorities.iter().filter_map(|authority| authority.issuer);
        if !links.chain([certificate.issuer]).any(is_rooted) {
            return Err(IdentityError::Root);
        }
        let identity = Self { certificate, chain, authorities, key, roots };
        tls::try_identity(&identity)?;
        Ok(identity)
    }

    /// Every CA whose revocation list the owner can verify: its roots and those of its own chain.
    #[must_use]
    pub fn list_issuers(&self) -> Vec<CaCertificate> {
        self.roots.iter().chain(&self.authorities).cloned().collect()
    }
}

fn authorities_of_pem(roots: &[u8]) -> Result<Vec<CaCertificate>, IdentityError> {
    let ders = certificates(roots, "roots.pem")?;
    if ders.is_empty() {
        return Err(IdentityError::NoCertificate("roots.pem"));
    }
    authorities(&ders, "roots.pem")
}

fn authorities(
    ders: &[CertificateDer<'_>],
    file: &'static str,
) -> Result<Vec<CaCertificate>, IdentityError> {
    let read = ders.iter().map(|der| CaCertificate::from_der(der));
    read.collect::<Result<_, _>>().map_err(|error| IdentityError::Certificate(file, error))
}

fn certificates(
    pem: &[u8],
    file: &'static str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| IdentityError::NoCertificate(file))
}
