//! TLS configurations: 1.3 only, certificates on both sides, no resumption, no early data.
//!
//! Chains are verified by the TLS library's stock verifiers. They are wrapped, not replaced: after
//! the stock verifier has accepted a chain, [`Trust`] is asked the same question that it is asked
//! for the rest of the session, so that a refused peer gets the right alert in the handshake.

#[cfg(test)]
mod limbo;
mod verified;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use tokio::sync::watch;
use vouchsafe_certs::{CaCertificate, Fingerprint};

use crate::fetch::Anchor;
use crate::{ALPN, HTTP, HTTP_2, Identity, Peer, Role, Trust};

/// Why no TLS configuration can be made of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("the identity cannot be used for TLS: {0}")]
pub struct TlsError(String);

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// Whether the library takes this key, chain and roots, so that nobody finds out later that it does not.
pub(crate) fn try_identity(identity: &Identity) -> Result<(), TlsError> {
    anchors(&identity.roots)?;
    CertifiedKey::from_der(identity.chain.clone(), identity.key.to_tls(), &provider())?;
    Ok(())
}

/// Asks the stock verifiers again, under other roots, about a chain that they accepted once.
pub(crate) fn verify_again(
    peer: &Peer,
    roots: &[CaCertificate],
    now: UnixTime,
) -> Result<(), TlsError> {
    let (leaf, intermediates) = peer.chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    match peer.role {
        Role::Client | Role::Holder => {
            client_verifier(roots)?.verify_client_cert(leaf, intermediates, now)?;
        }
        Role::Server => verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &*anchors(roots)?,
            intermediates,
            now,
            provider().signature_verification_algorithms.all,
        )?,
    }
    Ok(())
}

fn anchors(roots: &[CaCertificate]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.der.clone())?;
    }
    Ok(Arc::new(store))
}

fn client_verifier(roots: &[CaCertificate]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(anchors(roots)?, provider())
        .build()
        .map_err(|error| TlsError(error.to_string()))
}

/// X25519MLKEM768 first, then the classical groups. Signatures on certificates are computed once.
fn provider() -> Arc<CryptoProvider> {
    let stock = aws_lc_rs::default_provider();
    let algorithms = verified::remembering(&stock.signature_verification_algorithms);
    Arc::new(CryptoProvider { signature_verification_algorithms: algorithms, ..stock })
}

/// The accepting side of MCP: a client certificate is required, and judged.
pub(crate) fn server_config(identity: &Identity, trust: &Trust) -> Result<ServerConfig, TlsError> {
    accepting(identity, trust, Role::Client, &[ALPN])
}

/// The accepting side of MCP, also over HTTP.
pub(crate) fn server_config_with_http(
    identity: &Identity,
    trust: &Trust,
) -> Result<ServerConfig, TlsError> {
    accepting(identity, trust, Role::Client, &[ALPN, HTTP_2, HTTP])
}

/// The accepting side of MCP, and of HTTP for everybody who has a certificate. Which of the two it
/// will be is not known yet when the client's certificate is judged, so what MCP alone asks is asked
/// after the handshake.
pub(crate) fn server_config_for_holders(
    identity: &Identity,
    trust: &Trust,
) -> Result<ServerConfig, TlsError> {
    accepting(identity, trust, Role::Holder, &[ALPN, HTTP])
}

fn accepting(
    identity: &Identity,
    trust: &Trust,
    role: Role,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let stock = client_verifier(trust.roots())?;
    let verifier = ClientVerifier { stock, trust: trust.clone(), role };
    let mut config = ServerConfig::builder_with_details(provider(), trust.clock())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.chain.clone(), identity.key.to_tls())?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // A resumed session would never be judged: the library skips the client verifier (RFC 8446 §4.6.1).
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// The side that serves strangers: it shows who it is, and asks nothing.
///
/// The root goes along (RFC 8446 §4.4.2 lets it be left out, and others do so): a device that knows
/// nothing but the root's fingerprint finds the root here.
pub(crate) fn public_config(
    identity: &Identity,
    clock: Arc<dyn TimeProvider>,
) -> Result<ServerConfig, TlsError> {
    let links = identity.authorities.iter().filter_map(|authority| authority.issuer);
    let issuers: Vec<_> = links.chain([identity.certificate.issuer]).collect();
    let roots = identity.roots.iter().filter(|root| issuers.contains(&root.id));
    let chain = identity.chain.iter().chain(roots.map(|root| &root.der)).cloned().collect();
    let mut config = ServerConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, identity.key.to_tls())?;
    config.alpn_protocols = vec![HTTP.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// The connecting side of MCP.
pub(crate) fn client_config(identity: &Identity, trust: &Trust) -> Result<ClientConfig, TlsError> {
    connecting(ServerVerifier::of(trust)?, Some(identity), trust.clock(), ALPN)
}

/// The connecting side of MCP over HTTP.
pub(crate) fn http_client_config(
    identity: &Identity,
    trust: &Trust,
) -> Result<ClientConfig, TlsError> {
    connecting(ServerVerifier::of(trust)?, Some(identity), trust.clock(), HTTP)
}

/// The connecting side of HTTP to a server that knows nothing of our CA: its certificate is judged
/// by the roots given, and it is shown none.
pub(crate) fn web_config(
    roots: &[CertificateDer<'static>],
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, TlsError> {
    let mut store = RootCertStore::empty();
    // A system's store may hold what the library does not take; every one that it takes counts.
    if let (0, _) = store.add_parsable_certificates(roots.iter().cloned()) {
        return Err(TlsError("there is no root certificate".to_owned()));
    }
    let mut config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    // One principal's session is never taken up by another's connection.
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// The connecting side of HTTP; `identity` is shown to servers that ask for one.
pub(crate) fn http_config(
    identity: Option<&Identity>,
    anchor: &Anchor,
) -> Result<ClientConfig, TlsError> {
    match anchor {
        Anchor::Trust(trust) => {
            connecting(ServerVerifier::of(&trust.present())?, identity, trust.clock(), HTTP)
        }
        Anchor::Pin { root, clock } => {
            let verifier = PinnedVerifier { root: *root, clock: Arc::clone(clock) };
            connecting(verifier, identity, Arc::clone(clock), HTTP)
        }
        Anchor::Web { roots, clock } => web_config(roots, Arc::clone(clock)),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a verifier is set: it asks the stock verifier first"
)]
fn connecting(
    verifier: impl ServerCertVerifier + 'static,
    identity: Option<&Identity>,
    clock: Arc<dyn TimeProvider>,
    protocol: &[u8],
) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => {
            config.with_client_auth_cert(identity.chain.clone(), identity.key.to_tls())?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// Reads and judges a chain that the stock verifier has accepted.
fn judge(
    trust: &Trust,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    role: Role,
) -> Result<(), Error> {
    Peer::from_chain(leaf, intermediates, trust.roots(), role)
        .and_then(|peer| trust.clone().judge(&peer))
        .map(drop)
        .map_err(|denial| denial.to_tls())
}

#[derive(Debug)]
struct ClientVerifier {
    stock: Arc<dyn ClientCertVerifier>,
    trust: Trust,
    role: Role,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.stock.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.stock.verify_client_cert(leaf, intermediates, now)?;
        judge(&self.trust, leaf, intermediates, self.role)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.stock.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.stock.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.stock.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct ServerVerifier {
    stock: Arc<WebPkiServerVerifier>,
    trust: Trust,
}

impl ServerVerifier {
    fn of(trust: &Trust) -> Result<Self, TlsError> {
        let stock =
            WebPkiServerVerifier::builder_with_provider(anchors(trust.roots())?, provider())
                .build()
                .map_err(|error| TlsError(error.to_string()))?;
        Ok(Self { stock, trust: trust.clone() })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.stock.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        judge(&self.trust, leaf, intermediates, Role::Server)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.stock.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.stock.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.stock.supported_verify_schemes()
    }
}

/// Trusts one root that is known by its fingerprint alone, and that the server must show.
#[derive(Debug)]
struct PinnedVerifier {
    root: Fingerprint,
    clock: Arc<dyn TimeProvider>,
}

impl PinnedVerifier {
    /// The verifier for which the pinned root is the only one there is.
    fn anchored(&self, shown: &[CertificateDer<'_>]) -> Result<ServerVerifier, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let root = shown.iter().find(|der| Fingerprint::of(der) == self.root);
        let root = CaCertificate::from_der(root.ok_or_else(unknown)?).map_err(|_| unknown())?;
        let trust = Trust::unchecked(watch::channel([root].into()).1, Arc::clone(&self.clock));
        ServerVerifier::of(&trust).map_err(|_| unknown())
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let anchored = self.anchored(intermediates)?;
        anchored.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
