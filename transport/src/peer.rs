//! The other side, as its verified certificate chain shows it.

use rustls_pki_types::{CertificateDer, UnixTime};
use vouchsafe_certs::{
    CaCertificate, Certificate, CertificateError, Fingerprint, IssuerId, PermissionSet, Principal,
    Serial, Usage,
};

use crate::{Denial, tls};

/// Which side of a session a peer is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It connects: an agent. A server's certificate is not enough.
    Client,
    /// It connects to be served over HTTP, for which it need not be an agent: whoever has a certificate may renew it.
    Holder,
    /// It accepts: a gateway. An agent's certificate is not enough.
    Server,
}

/// A peer whose chain the TLS library has verified.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Peer {
    /// Who it is.
    pub principal: Principal,
    /// What every certificate on its chain allows.
    pub permissions: PermissionSet,
    /// The serial number of its leaf.
    pub serial: Serial,
    /// SHA-256 of its leaf.
    pub fingerprint: Fingerprint,
    /// The last second at which every certificate on its chain is valid.
    pub not_after: UnixTime,
    /// Each certificate of the chain below the root, leaf first.
    pub(crate) links: Vec<(IssuerId, Serial)>,
    /// What it showed, leaf first, so that it can be verified again.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) role: Role,
}

impl Peer {
    /// Reads what a verified chain says. Permissions narrow at every certificate that carries the
    /// extension, whether or not the verified path used it: showing more certificates never widens.
    ///
    /// # Errors
    /// [`Denial::Certificate`] or [`Denial::Usage`]. Signatures and dates are the TLS library's part.
    pub fn from_chain(
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        roots: &[CaCertificate],
        role: Role,
    ) -> Result<Self, Denial> {
        let shown = std::iter::once(leaf).chain(intermediates);
        let chain = shown.map(|der| der.clone().into_owned()).collect();
        let leaf = Certificate::from_der(leaf)?;
        match (role, leaf.usage) {
            (Role::Client, Usage::Agent) | (Role::Server, Usage::Server) | (Role::Holder, _) => {}
            _ => return Err(Denial::Usage(role)),
        }
        let authorities = intermediates
            .iter()
            .map(|der| CaCertificate::from_der(der))
            .collect::<Result<Vec<_>, CertificateError>>()?;
        let mut peer = Self {
            principal: leaf.principal,
            permissions: leaf.permissions,
            serial: leaf.serial,
            fingerprint: leaf.fingerprint,
            not_after: leaf.not_after,
            links: vec![(leaf.issuer, leaf.serial)],
            chain,
            role,
        };
        for authority in &authorities {
            peer.narrow(authority);
            // A root among the intermediates is of no account: no list speaks of it.
            peer.links.extend(authority.issuer.map(|issuer| (issuer, authority.serial)));
        }
        for root in roots {
            if peer.links.iter().any(|(issuer, _)| *issuer == root.id) {
                peer.narrow(root);
            }
        }
        Ok(peer)
    }

    /// Whether the same chain makes the same peer under other roots.
    pub(crate) fn verify_again(
        &self,
        roots: &[CaCertificate],
        now: UnixTime,
    ) -> Result<(), Denial> {
        tls::verify_again(self, roots, now).map_err(|_| Denial::UntrustedIssuer)?;
        let (leaf, intermediates) = self.chain.split_first().ok_or(Denial::UntrustedIssuer)?;
        let again = Self::from_chain(leaf, intermediates, roots, self.role)?;
        // A root may narrow what stands below it.
        let is_same = again.permissions == self.permissions && again.not_after == self.not_after;
        if is_same { Ok(()) } else { Err(Denial::Path("its root is another".to_owned())) }
    }

    /// Whether it may be a client of MCP, which takes an agent's certificate.
    pub(crate) fn is_agent(&self) -> bool {
        Certificate::from_der(self.certificate()).is_ok_and(|leaf| leaf.usage == Usage::Agent)
    }

    /// The leaf that it showed.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], AsRef::as_ref)
    }

    fn narrow(&mut self, authority: &CaCertificate) {
        self.permissions = narrowed(&self.permissions, authority);
        self.not_after = self.not_after.min(authority.not_after);
    }
}

fn narrowed(permissions: &PermissionSet, authority: &CaCertificate) -> PermissionSet {
    match &authority.permissions {
        Some(allowed) => permissions.intersection(allowed),
        None => permissions.clone(),
    }
}
