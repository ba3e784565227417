//! Certificates that must not get anybody in: each is refused with one line that says why, and an
//! honest agent beside it notices nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName};
use serde_json::json;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vouchsafe_ca::{Tier, pem};
use vouchsafe_certs::CaCertificate;
use vouchsafe_tests::hostile::{
    Forged, Forger, Honest, agent_params, client_config, common_name, ending, name_of,
    permission_extension, uri,
};
use vouchsafe_tests::{Client, RunningGateway, World, fixed};
use vouchsafe_transport::{Connector, Limits, Revocations};

const UNTRUSTED: &str = "the certificate does not lead to a trusted root";
const SIGNATURE: &str =
    "a signature is wrong: the certificate is forged, or its key is not at hand";
const NOT_AN_AGENTS: &str =
    "the certificate is not an agent's: its extended key usage must be clientAuth alone";
const CA_AS_LEAF: &str = "a CA's certificate was shown in place of a leaf";
const UNKNOWN_CRITICAL: &str =
    "the certificate carries a critical extension that is not known here";

/// A gateway, the agents that are served all along, and what they must see of each intruder.
struct Scene {
    world: World,
    gateway: RunningGateway,
    honest: Honest,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new();
        let gateway = world.gateway(|_| ()).await;
        let honest = Honest::of(&world);
        Self { world, gateway, honest }
    }

    /// Shows a chain; the audit must name this reason, and the intruder see this alert.
    async fn refuses(&self, shown: &Forged, reason: &str, alert: &str) {
        let before = self.gateway.events().len();
        let ended = ending(self.gateway.address, shown.config(&self.world)).await;
        self.honest.sees_refused(&self.gateway, before, reason).await;
        assert_eq!(ended, format!("received fatal alert: {alert}"), "{reason}");
    }

    /// The same of a leaf by the world's own CA, which somebody has got hold of.
    async fn refuses_leaf(
        &self,
        spoil: impl FnOnce(&mut CertificateParams),
        reason: &str,
        alert: &str,
    ) {
        let mut params = agent_params("intruder", &["tools:*"]);
        spoil(&mut params);
        let thief = Forger::thief(&self.world, Tier::Issuing);
        self.refuses(&thief.leaf(&params), reason, alert).await;
    }
}

#[tokio::test]
async fn what_the_forger_signs_would_get_in_if_nothing_were_wrong_with_it() {
    let scene = Scene::new().await;
    let thief = Forger::thief(&scene.world, Tier::Issuing);
    let leaf = thief.leaf(&agent_params("twin", &["tools:echo"]));
    let config = leaf.config(&scene.world);
    let mut client = Client::connect_with(scene.gateway.address, config).await.unwrap();
    assert_eq!(client.call("echo", json!({"text": "in"})).await, "in");
}

#[tokio::test]
async fn other_cas_with_the_same_names_vouch_for_nobody() {
    let scene = Scene::new().await;
    let params = agent_params("honest", &["tools:*"]);
    let strange = World::new().agent("honest", &["tools:*"]);
    scene.refuses(&Forged::of(&strange), UNTRUSTED, "UnknownCA").await;
    // The root's very name, the issuing CA's very name.
    let root = Forger::namesake(&scene.world);
    let issuing = root.authority(name_of(&scene.world, Tier::Issuing), None);
    scene.refuses(&issuing.leaf(&params), SIGNATURE, "DecryptError").await;
    let with_root = issuing.leaf(&params).behind(&[&issuing.certificate, &root.certificate]);
    scene.refuses(&with_root, SIGNATURE, "DecryptError").await;
    // The real issuing CA's certificate and key identifier, and another key.
    let pretender = Forger::pretender(&scene.world);
    scene.refuses(&pretender.leaf(&params), SIGNATURE, "DecryptError").await;
    // The real certificate of another, without its key.
    let mut stolen = Forged::of(&scene.world.agent("victim", &["tools:*"]));
    stolen.key = pretender.leaf(&params).key;
    scene.refuses(&stolen, SIGNATURE, "DecryptError").await;
    // No chain at all.
    let alone = Forged::of(&scene.world.agent("victim", &["tools:*"])).behind(&[]);
    scene.refuses(&alone, UNTRUSTED, "UnknownCA").await;
}

#[tokio::test]
async fn certificates_count_only_in_their_time() {
    let scene = Scene::new().await;
    let hour = Duration::from_secs(3600);
    let expired = |params: &mut CertificateParams| {
        params.not_before = OffsetDateTime::now_utc() - 2 * hour;
        params.not_after = OffsetDateTime::now_utc() - Duration::from_secs(1);
    };
    scene.refuses_leaf(expired, "the certificate has expired", "CertificateExpired").await;
    let not_yet = |params: &mut CertificateParams| {
        params.not_before = OffsetDateTime::now_utc() + Duration::from_secs(30);
        params.not_after = OffsetDateTime::now_utc() + hour;
    };
    scene.refuses_leaf(not_yet, "the certificate is not yet valid", "CertificateExpired").await;
}

#[tokio::test]
async fn certificates_count_only_for_what_they_are_for() {
    let scene = Scene::new().await;
    let thief = Forger::thief(&scene.world, Tier::Issuing);
    scene.refuses(&thief.itself(), CA_AS_LEAF, "CertificateUnknown").await;
    let root = Forger::thief(&scene.world, Tier::Root);
    scene.refuses(&root.itself(), CA_AS_LEAF, "CertificateUnknown").await;

    let server = Forged::of(&scene.world.server("other-gateway", &[]));
    scene.refuses(&server, NOT_AN_AGENTS, "UnsupportedCertificate").await;

    let nothing = |params: &mut CertificateParams| params.extended_key_usages.clear();
    let reason = "the certificate is refused: the extended key usage does not name clientAuth";
    scene.refuses_leaf(nothing, reason, "CertificateUnknown").await;
    let server_only = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    scene.refuses_leaf(server_only, NOT_AN_AGENTS, "UnsupportedCertificate").await;
    let any = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    };
    scene.refuses_leaf(any, NOT_AN_AGENTS, "UnsupportedCertificate").await;

    let reason = "the certificate is refused: the key usage does not fit: a leaf needs digitalSignature and must not sign certificates or lists, a CA needs keyCertSign and cRLSign";
    let no_usage = |params: &mut CertificateParams| params.key_usages.clear();
    scene.refuses_leaf(no_usage, reason, "CertificateUnknown").await;
    let signs =
        |params: &mut CertificateParams| params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    scene.refuses_leaf(signs, reason, "CertificateUnknown").await;
}

#[tokio::test]
async fn a_client_must_show_a_certificate() {
    let scene = Scene::new().await;
    let before = scene.gateway.events().len();
    let ended = ending(scene.gateway.address, client_config(&scene.world, None)).await;
    assert_eq!(ended, "received fatal alert: CertificateRequired");
    let reason = "the client showed no certificate";
    scene.honest.sees_refused(&scene.gateway, before, reason).await;
}

#[tokio::test]
async fn a_leaf_names_one_principal() {
    let scene = Scene::new().await;
    let reason = "the certificate is refused: a leaf names exactly one URI";
    let two = |params: &mut CertificateParams| params.subject_alt_names.push(uri("admin"));
    scene.refuses_leaf(two, reason, "CertificateUnknown").await;
    let none = |params: &mut CertificateParams| params.subject_alt_names.clear();
    scene.refuses_leaf(none, reason, "CertificateUnknown").await;
    let scheme = "https://acme.example/a".try_into().unwrap();
    let no_spiffe_id = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::URI(scheme)];
    };
    let reason =
        "the certificate is refused: the principal is malformed: a principal begins with spiffe://";
    scene.refuses_leaf(no_spiffe_id, reason, "CertificateUnknown").await;
    let dots = |params: &mut CertificateParams| params.subject_alt_names = vec![uri("a/../admin")];
    let reason = "the certificate is refused: the principal is malformed: a name is made of segments of letters, digits, '.', '-' and '_', with one '/' between two; '.' and '..' are no segments";
    scene.refuses_leaf(dots, reason, "CertificateUnknown").await;
}

/// The extension's value with permissions in the order given.
fn permissions(version: u8, texts: &[&str]) -> Vec<u8> {
    let mut inner = Vec::new();
    for text in texts {
        inner.extend([0x0c, u8::try_from(text.len()).unwrap()]);
        inner.extend(text.as_bytes());
    }
    let mut value = vec![0x30, u8::try_from(inner.len() + 5).unwrap(), 2, 1, version, 0x30];
    value.push(u8::try_from(inner.len()).unwrap());
    value.extend(inner);
    value
}

#[tokio::test]
async fn permissions_are_read_in_one_way_or_not_at_all() {
    let scene = Scene::new().await;
    let brings = |values: Vec<Vec<u8>>| {
        move |params: &mut CertificateParams| {
            params.custom_extensions = values.into_iter().map(permission_extension).collect();
        }
    };
    let good = permissions(0, &["tools:echo"]);
    let not_canonical =
        "the permission extension is not canonical: permissions must be sorted and differ";
    let mut trailing = good.clone();
    trailing.push(0);
    for (values, reason) in [
        (vec![vec![]], "the permission extension is malformed"),
        (vec![b"tools:*".to_vec()], "the permission extension is malformed"),
        (vec![good[..good.len() - 1].to_vec()], "the permission extension is malformed"),
        (vec![trailing], "the permission extension is malformed"),
        (
            vec![permissions(0, &["tools"])],
            "a permission is written kind:pattern, such as tools:search",
        ),
        (vec![permissions(0, &["tools:b", "tools:a"])], not_canonical),
        (vec![permissions(0, &["tools:a", "tools:a"])], not_canonical),
        (vec![permissions(0, &["*"])], not_canonical),
        (
            vec![permissions(1, &["tools:*"])],
            "the permission extension has version 1, which this program does not know",
        ),
        (
            vec![vec![0x30, 6, 2, 1, 2, 4, 1, 0]],
            "the permission extension has version 2, which this program does not know",
        ),
        (vec![good.clone(), good.clone()], "an extension appears twice"),
        (vec![good.clone(), permissions(0, &["tools:*"])], "an extension appears twice"),
        (vec![vec![0; 16 * 1024 + 1]], "the permission extension is at most 16 KiB long"),
    ] {
        let reason = format!("the certificate is refused: {reason}");
        scene.refuses_leaf(brings(values), &reason, "CertificateUnknown").await;
    }
    let critical = |params: &mut CertificateParams| {
        params.custom_extensions[0].set_criticality(true);
    };
    scene.refuses_leaf(critical, UNKNOWN_CRITICAL, "CertificateUnknown").await;
}

#[tokio::test]
async fn a_ca_without_a_list_of_its_own_is_not_believed_and_with_one_it_narrows() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let root = Forger::thief(world, Tier::Root);
    let narrow = root.authority(common_name("Narrow CA"), Some(&["tools:e*", "prompts:*"]));
    let leaf = narrow.leaf(&agent_params("a", &["resources:*", "tools:echo", "tools:junk"]));
    let reason = "there is no revocation list of the certificate's issuer";
    scene.refuses(&leaf, reason, "CertificateUnknown").await;

    publish_also(world, &narrow.certificate, narrow.list(1, Duration::from_secs(3600)));
    let config = leaf.config(world);
    let mut client = Client::connect_with(scene.gateway.address, config).await.unwrap();
    let listed = client.request("tools/list", json!({})).await.unwrap().unwrap();
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.iter().map(|tool| &tool["name"]).collect::<Vec<_>>(), ["echo"]);
    assert_eq!(client.call("echo", json!({"text": "narrow"})).await, "narrow");
    let denied = client.try_call("junk", json!({})).await.unwrap().unwrap();
    assert_eq!(denied["error"]["message"], "Unknown tool: junk");

    // The child is told what is left, too.
    let leaf = narrow.leaf(&agent_params("b", &["tools:*"]));
    let config = leaf.config(world);
    let mut client = Client::connect_with(scene.gateway.address, config).await.unwrap();
    let environment = client.call("environment", json!({})).await;
    assert!(environment.contains("VOUCHSAFE_PERMISSIONS=tools:e*\n"), "{environment}");
}

/// The world's lists, and one of another CA.
fn publish_also(world: &World, authority: &CertificateDer<'_>, list: Vec<u8>) {
    let authority = CaCertificate::from_der(authority).unwrap();
    let own = std::fs::read_to_string(world.home().join("crl.pem")).unwrap();
    let both = own + &pem::revocation_lists([CertificateRevocationListDer::from(list)]);
    let issuers: Vec<_> =
        world.agent("p", &[]).list_issuers().into_iter().chain([authority]).collect();
    world.publish_this(Revocations::from_pem(both.as_bytes(), &issuers).unwrap());
}

/// The other way round: what a false gateway shows, and what the connecting side says of it.
async fn refused_gateway(world: &World, shown: &Forged, name: &'static str) -> String {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown.certified_key())));
    config.alpn_protocols = vec![b"mcp/1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepting = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(tcp).await.is_ok()
    });
    let agent = world.agent("a", &["tools:*"]);
    let name = ServerName::try_from(name).unwrap();
    let trust = world.trust(&agent);
    let connector =
        Connector::new(&address, name, fixed(Arc::new(agent)), trust, &Limits::default()).unwrap();
    let refused = connector.connect().await.unwrap_err().to_string();
    assert!(!accepting.await.unwrap(), "the false gateway has a session");
    refused
}

#[tokio::test]
async fn a_gateway_must_show_a_gateways_certificate() {
    let world = World::new();
    let refused = async |shown: Forged| refused_gateway(&world, &shown, "localhost").await;
    let agent = Forged::of(&world.agent("b", &["tools:*"]));
    let not_a_server = "the gateway is not trusted: the certificate is not a server's: its extended key usage must name serverAuth";
    assert_eq!(refused(agent).await, not_a_server);
    // An agent that somebody has given a host name.
    let thief = Forger::thief(&world, Tier::Issuing);
    let mut params = agent_params("b", &[]);
    params.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()));
    assert_eq!(refused(thief.leaf(&params)).await, not_a_server);
    let no_usage = "the gateway is not trusted: the certificate is refused: the extended key usage does not name clientAuth";
    params.extended_key_usages.clear();
    assert_eq!(refused(thief.leaf(&params)).await, no_usage);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(refused(thief.leaf(&params)).await, no_usage);
    let unknown = "the gateway is not trusted: the certificate does not lead to a trusted root";
    let strange = World::new().server("gateway", &[]);
    assert_eq!(refused(Forged::of(&strange)).await, unknown);
    let honest = Forged::of(&world.server("gateway", &[]));
    let elsewhere = refused_gateway(&world, &honest, "elsewhere.example").await;
    let expected =
        "the gateway is not trusted: the certificate does not carry the name elsewhere.example";
    assert_eq!(elsewhere, expected);
    world.revoke("gateway");
    let revoked = "the gateway is not trusted: the certificate is revoked";
    assert_eq!(refused(honest).await, revoked);
}
