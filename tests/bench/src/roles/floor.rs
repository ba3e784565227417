//! The floor: a TLS 1.3 server with certificates on both sides that answers lines, and nothing else. No policy, no
//! revocation, no audit, no limits. Whatever is built on rustls can at best come near it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::{answer_lines, listener, runtime};

/// Serves until it is ended.
pub(crate) fn run(identity: &Path) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config(identity)?));
    runtime()?.block_on(async {
        let listener = listener().await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move { answer_lines(acceptor.accept(stream).await?).await });
        }
    })
}

fn config(identity: &Path) -> Result<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(identity.join("roots.pem"))?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let chain = CertificateDer::pem_file_iter(identity.join("certificate.pem"))?;
    let key = PrivateKeyDer::from_pem_file(identity.join("key.pem"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
    // As ours: every handshake is a full one.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
