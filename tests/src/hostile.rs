//! Certificates that no honest CA would sign, peers that do not behave, and the one way in which
//! every one of them must end: refused with one line, and nothing else has changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};
use time::OffsetDateTime;
use vouchsafe_ca::{Issuer, Tier};
use vouchsafe_certs::{CaCertificate, KeyType, PERMISSION_EXTENSION_OID, PrivateKey, Serial};
use vouchsafe_transport::Identity;
use x509_parser::parse_x509_certificate;

use crate::world::permissions_of;
use crate::{Client, RunningGateway, TRUST_DOMAIN, World, tls_config};

/// A CA's certificate and a key, in the wrong hands: it signs whatever it is given.
#[derive(Debug)]
#[non_exhaustive]
pub struct Forger {
    /// The CA's certificate.
    pub certificate: CertificateDer<'static>,
    key: PrivateKey,
}

/// A certificate chain and the key to its leaf.
#[derive(Debug)]
#[non_exhaustive]
pub struct Forged {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's.
    pub key: PrivateKey,
}

impl Forger {
    /// Who has stolen the key of a world's own CA.
    #[must_use]
    pub fn thief(world: &World, tier: Tier) -> Self {
        let home = world.authority.home();
        let key = std::fs::read_to_string(home.path().join(format!("{tier}.key"))).unwrap();
        let certificate = world.authority.certificate(tier).unwrap().der;
        Self { certificate, key: PrivateKey::from_pem(&key).unwrap() }
    }

    /// Who shows a world's issuing CA and signs with a key of its own.
    #[must_use]
    pub fn pretender(world: &World) -> Self {
        Self { key: new_key(), ..Self::thief(world, Tier::Issuing) }
    }

    /// A root with the very name of a world's root.
    #[must_use]
    pub fn namesake(world: &World) -> Self {
        let key = new_key();
        let params = ca_params(name_of(world, Tier::Root));
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, key }
    }

    /// Signs a CA, which narrows its leaves to these permissions.
    #[must_use]
    pub fn authority(&self, name: DistinguishedName, permissions: Option<&[&str]>) -> Self {
        let mut params = ca_params(name);
        let extension =
            |texts: &[&str]| permission_extension(permissions_of(texts).to_der().unwrap());
        params.custom_extensions.extend(permissions.map(extension));
        let key = new_key();
        Self { certificate: self.sign(&params, &key), key }
    }

    /// Signs a leaf, shown with the CA that signed it.
    #[must_use]
    pub fn leaf(&self, params: &CertificateParams) -> Forged {
        let key = new_key();
        Forged { chain: vec![self.sign(params, &key), self.certificate.clone()], key }
    }

    /// Shows the CA's own certificate as if it were a leaf.
    #[must_use]
    pub fn itself(&self) -> Forged {
        Forged { chain: vec![self.certificate.clone()], key: copy(&self.key) }
    }

    fn sign(&self, params: &CertificateParams, key: &PrivateKey) -> CertificateDer<'static> {
        let issuer = rcgen::Issuer::from_ca_cert_der(&self.certificate, copy(&self.key)).unwrap();
        params.signed_by(key, &issuer).unwrap().der().clone()
    }

    /// Signs a revocation list without entries that goes stale after `lifetime`.
    #[must_use]
    pub fn list(&self, number: u64, lifetime: Duration) -> Vec<u8> {
        let certificate = CaCertificate::from_der(&self.certificate).unwrap();
        let issuer = Issuer::new(certificate, copy(&self.key)).unwrap();
        let now = Duration::from_secs(DefaultTimeProvider.current_time().unwrap().as_secs());
        let [now, later] = [now, now + lifetime].map(UnixTime::since_unix_epoch);
        issuer.sign_list(number, now, later, &[]).unwrap()
    }
}

/// The name of a world's CA.
#[must_use]
pub fn name_of(world: &World, tier: Tier) -> DistinguishedName {
    let ca = world.authority.certificate(tier).unwrap();
    let (_, certificate) = parse_x509_certificate(&ca.der).unwrap();
    let name = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap();
    common_name(name)
}

/// A name of one part.
#[must_use]
pub fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn ca_params(name: DistinguishedName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial_number());
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// What an honest CA would sign for an agent, to be spoilt.
#[must_use]
pub fn agent_params(name: &str, permissions: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial_number());
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(60);
    params.not_after = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(name)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let value = permissions_of(permissions).to_der().unwrap();
    params.custom_extensions = vec![permission_extension(value)];
    params
}

/// A principal as a name in a certificate.
#[must_use]
pub fn uri(name: &str) -> SanType {
    SanType::URI(format!("spiffe://{TRUST_DOMAIN}/{name}").try_into().unwrap())
}

/// A permission extension that holds anything.
#[must_use]
pub fn permission_extension(value: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(PERMISSION_EXTENSION_OID, value)
}

fn serial_number() -> SerialNumber {
    SerialNumber::from_slice(Serial::random().unwrap().as_bytes())
}

fn new_key() -> PrivateKey {
    PrivateKey::generate(KeyType::P256).unwrap()
}

fn copy(key: &PrivateKey) -> PrivateKey {
    PrivateKey::from_pem(&key.to_pem()).unwrap()
}

impl Forged {
    /// An honest identity, shown where it should not be.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        Self { chain: identity.chain.clone(), key: copy(&identity.key) }
    }

    /// With these certificates behind the leaf instead.
    #[must_use]
    pub fn behind(mut self, above: &[&CertificateDer<'static>]) -> Self {
        self.chain.truncate(1);
        self.chain.extend(above.iter().copied().cloned());
        self
    }

    /// The chain and the key, whether or not they make sense.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        let keys = aws_lc_rs::default_provider().key_provider;
        let key = keys.load_private_key(self.key.to_tls()).unwrap();
        Arc::new(CertifiedKey::new(self.chain.clone(), key))
    }

    /// A TLS client that shows this and nothing else, even where the library knows better.
    #[must_use]
    pub fn config(&self, world: &World) -> ClientConfig {
        client_config(world, Some(self.certified_key()))
    }
}

/// A TLS client that trusts a world's root and shows what it is told to show.
#[must_use]
pub fn client_config(world: &World, shown: Option<Arc<CertifiedKey>>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.certificate(Tier::Root).unwrap().der).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Shown(shown)));
    config.alpn_protocols = vec![b"mcp/1".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

#[derive(Debug)]
struct Shown(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Connects and says how that ended: with which alert.
pub async fn ending(address: SocketAddr, config: ClientConfig) -> String {
    match Client::connect_with(address, config).await {
        Ok(mut client) => client.ending().await,
        Err(error) => error.to_string(),
    }
}

/// An honest agent beside the hostile ones.
#[derive(Debug)]
pub struct Honest(Identity);

impl Honest {
    /// Of a world.
    #[must_use]
    pub fn of(world: &World) -> Self {
        Self(world.agent("honest", &["tools:echo"]))
    }

    /// Comes, calls and leaves.
    pub async fn calls(&self, gateway: &RunningGateway) {
        let mut client = Client::connect(gateway.address, &self.0).await;
        assert_eq!(client.call("echo", json!({"text": "still here"})).await, "still here");
        client.close().await;
    }

    /// The same where it may be turned away: whether it was served.
    pub async fn tries(&self, gateway: &RunningGateway) -> bool {
        let connected = Client::connect_with(gateway.address, tls_config(&self.0)).await;
        let Ok(mut client) = connected else { return false };
        let answer = client.try_call("echo", json!({"text": "still here"})).await;
        matches!(answer, Ok(Some(answer)) if answer["result"].is_object())
    }

    /// After an attack: the audit since `before` says that it was refused, once and for this reason,
    /// and an honest agent is served as ever.
    ///
    /// # Panics
    /// If the audit says anything else.
    pub async fn sees_refused(&self, gateway: &RunningGateway, before: usize, reason: &str) {
        let since = |events: Vec<Value>| events.into_iter().skip(before).collect::<Vec<_>>();
        gateway.wait_until(|events| events.len() > before).await;
        self.calls(gateway).await;
        gateway
            .wait_until(|events| events.iter().skip(before).any(|e| e["event"] == "closed"))
            .await;
        let events = since(gateway.events());
        let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["refused", "opened", "allowed", "answered", "closed"], "{events:#?}");
        assert_eq!(events[0]["reason"], reason);
        assert!(events[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
}
