//! A foreign judge, where it is installed: what OpenSSL says of certificates and lists.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::enrolment::refusal;
use crate::world::{DAY, World, order, principal};
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{Actor, Issued, Kind, Order, Reason, Refusal, Tier, pem};
use vouchsafe_certs::{CertificateRequest, KeyType, RequestError};

/// Whether the foreign judge is there; says so if not. Where it must be, a test is not left out.
pub(crate) fn has_openssl() -> bool {
    let has = Command::new("openssl").arg("version").output().is_ok();
    if !has {
        eprintln!("openssl is not installed: nothing was tested");
        assert!(std::env::var_os("VOUCHSAFE_REQUIRE_TOOLS").is_none(), "openssl is required here");
    }
    has
}

pub(crate) fn openssl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(text + &complaint) }
}

pub(crate) fn written(world: &World, name: &str, issued: &Issued) -> PathBuf {
    let path = world.folder().join(name);
    file::replace(&path, pem::certificates([&issued.chain[0]]).as_bytes(), Access::Public).unwrap();
    path
}

/// Chain, dates, strict profile, and every list on the way.
pub(crate) fn verdict(world: &World, certificate: &Path, more: &[&str]) -> Result<String, String> {
    let path = |name| world.path(name).display().to_string();
    let (root, issuing, lists) = (path("root.pem"), path("issuing.pem"), path("crl.pem"));
    let now = world.clock.now().as_secs().to_string();
    let certificate = certificate.display().to_string();
    let mut arguments = vec![
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-attime",
        &now,
        "-CAfile",
        &root,
        "-untrusted",
        &issuing,
        "-CRLfile",
        &lists,
    ];
    arguments.extend(more);
    arguments.push(&certificate);
    openssl(&arguments)
}

#[test]
fn certificates_and_lists_of_every_key_type_are_accepted_until_they_are_revoked() {
    if !has_openssl() {
        return;
    }
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
        let world = World::with(key_type, None);
        let agent = written(&world, "agent.pem", &world.issue("team-a/build-7"));
        let gateway = Order {
            kind: Kind::Server {
                dns_names: vec!["gw.example".into()],
                ip_addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            },
            permissions: Default::default(),
            ..world.order("gw")
        };
        let gateway =
            written(&world, "gateway.pem", &world.open().issue(&Actor::Home, gateway).unwrap());
        verdict(&world, &agent, &["-purpose", "sslclient"]).unwrap();
        verdict(&world, &gateway, &["-purpose", "sslclient"]).unwrap();
        let server = ["-purpose", "sslserver", "-verify_hostname", "gw.example"];
        verdict(&world, &gateway, &server).unwrap();
        verdict(&world, &gateway, &["-purpose", "sslserver", "-verify_ip", "::1"]).unwrap();
        let wrong = verdict(&world, &agent, &["-purpose", "sslserver"]).unwrap_err();
        assert!(wrong.contains("unsuitable certificate purpose"), "{wrong}");

        let outcome = world
            .open()
            .revoke_device(&Actor::Home, &principal("team-a/build-7"), Reason::KeyCompromise)
            .unwrap();
        assert_eq!(outcome.certificates.len(), 1);
        let revoked = verdict(&world, &agent, &[]).unwrap_err();
        assert!(revoked.contains("certificate revoked"), "{revoked}");
        verdict(&world, &gateway, &[]).unwrap();
        // Stale lists close.
        world.clock.advance(8 * DAY);
        let stale = verdict(&world, &gateway, &[]).unwrap_err();
        assert!(stale.contains("CRL has expired"), "{stale}");
    }
}

#[test]
fn lists_say_in_words_what_they_should() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    for (nth, reason) in Reason::ALL.into_iter().enumerate() {
        let serial =
            world.open().issue(&Actor::Home, world.order_with_new_key(&format!("d{nth}"))).unwrap();
        world.open().revoke(&Actor::Home, &serial.certificate.serial, reason).unwrap();
    }
    let lists = world.path("crl.pem").display().to_string();
    let text = openssl(&["crl", "-in", &lists, "-noout", "-text"]).unwrap();
    for expected in [
        "Version 2 (0x1)",
        "X509v3 CRL Number: \n                7",
        "X509v3 Authority Key Identifier",
        "Key Compromise",
        "Affiliation Changed",
        "Superseded",
        "Cessation Of Operation",
        "Privilege Withdrawn",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    // RFC 5280 §5.3.1: the reason code SHOULD be absent instead of unspecified.
    assert!(!text.contains("Unspecified"));
    assert_eq!(text.matches("Serial Number:").count(), 6);
    let issuing = world.path("issuing.pem").display().to_string();
    openssl(&["crl", "-in", &lists, "-noout", "-CAfile", &issuing]).unwrap();
}

#[test]
fn certificates_say_in_words_what_they_should() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let certificate = written(&world, "agent.pem", &world.issue("build-7")).display().to_string();
    let text = openssl(&["x509", "-in", &certificate, "-noout", "-text"]).unwrap();
    for expected in [
        "X509v3 Subject Alternative Name: critical\n                URI:spiffe://acme.example/build-7",
        "X509v3 Key Usage: critical\n                Digital Signature",
        "X509v3 Extended Key Usage: \n                TLS Web Client Authentication",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
        "1.2.840.113556.1.8000.2554.",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let issuing = world.path("issuing.pem").display().to_string();
    let text = openssl(&["x509", "-in", &issuing, "-noout", "-text"]).unwrap();
    assert!(text.contains("CA:TRUE, pathlen:0"), "{text}");
    assert!(text.contains("Certificate Sign, CRL Sign"), "{text}");
}

#[test]
fn certificates_point_to_where_the_lists_are_if_that_is_configured() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let text = |name: &str| {
        let certificate = written(&world, name, &world.issue("build-7"));
        verdict(&world, &certificate, &[]).unwrap();
        openssl(&["x509", "-noout", "-text", "-in", certificate.to_str().unwrap()]).unwrap()
    };
    assert!(!text("before.pem").contains("URI:http"));
    let config = std::fs::read_to_string(world.path("ca.toml")).unwrap();
    let config = config.replace("# public-url", "public-url");
    file::replace(&world.path("ca.toml"), config.as_bytes(), Access::Private).unwrap();
    let issuing = world.open().certificate(Tier::Issuing).unwrap().serial;
    let after = text("after.pem");
    for pointer in [
        format!("URI:https://ca.acme.example:8445/crl/{issuing}.crl"),
        "OCSP - URI:https://ca.acme.example:8445/ocsp".to_owned(),
        format!("CA Issuers - URI:https://ca.acme.example:8445/issuer/{issuing}.cer"),
    ] {
        assert!(after.contains(&pointer), "{pointer} in {after}");
    }
}

/// What a request says whose key OpenSSL has written in this form (RFC 5480 §2.2).
fn requested(world: &World, key: &Path, form: &str) -> Result<CertificateRequest, RequestError> {
    let at = |name: &str| world.folder().join(name).display().to_string();
    let (key, written, request) = (key.display().to_string(), at("written.key"), at("csr.pem"));
    openssl(&["ec", "-in", &key, "-conv_form", form, "-out", &written]).unwrap();
    openssl(&["req", "-new", "-key", &written, "-subj", "/CN=x", "-out", &request]).unwrap();
    CertificateRequest::from_pem_or_der(&std::fs::read(&request).unwrap())
}

#[test]
fn a_compromised_key_is_not_certified_again_however_it_is_written() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let (key, authority) = (world.folder().join("key.pem"), world.open());
    let path = key.display().to_string();
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &path]).unwrap();
    let asked = |form| requested(&world, &key, form).map(|asked| order("a", asked.public_key));
    let issue = |order| authority.issue(&Actor::Home, order);
    let stolen = issue(asked("uncompressed").unwrap()).unwrap().certificate.serial;
    authority.revoke(&Actor::Home, &stolen, Reason::KeyCompromise).unwrap();
    let refused = refusal(issue(asked("uncompressed").unwrap()));
    assert!(matches!(refused, Refusal::KeyCompromised { serial } if serial == stolen));
    for form in ["compressed", "hybrid"] {
        match asked(form) {
            Err(refused) => assert_eq!(refused, RequestError::NotPlain),
            Ok(order) => panic!("{:?}", issue(order).map(|issued| issued.certificate.serial)),
        }
    }
    drop(authority);
    world.check();
}
