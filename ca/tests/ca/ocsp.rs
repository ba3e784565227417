//! OCSP, asked and judged by OpenSSL.

use std::path::Path;

use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{Actor, Reason, Responder};
use vouchsafe_certs::KeyType;

use crate::openssl::{has_openssl, openssl, written};
use crate::world::{DAY, World};

/// RFC 6960 §4.2.1, unsigned.
const MALFORMED: [u8; 5] = [0x30, 3, 0x0a, 1, 1];
const UNAUTHORIZED: [u8; 5] = [0x30, 3, 0x0a, 1, 6];

/// A question, as OpenSSL asks it.
fn question(world: &World, arguments: &[&str]) -> Vec<u8> {
    let out = world.folder().join("question.der").display().to_string();
    let issuer = world.path("issuing.pem").display().to_string();
    let mut all = vec!["ocsp", "-reqout", &out, "-issuer", &issuer];
    all.extend(arguments);
    openssl(&all).unwrap();
    std::fs::read(out).unwrap()
}

/// What OpenSSL says of an answer to the last question.
fn verdict(world: &World, answer: &[u8]) -> Result<String, String> {
    let path = |path: &Path| path.display().to_string();
    let file = world.folder().join("answer.der");
    file::replace(&file, answer, Access::Public).unwrap();
    let now = world.clock.now().as_secs().to_string();
    openssl(&[
        "ocsp",
        "-reqin",
        &path(&world.folder().join("question.der")),
        "-respin",
        &path(&file),
        "-issuer",
        &path(&world.path("issuing.pem")),
        "-resp_text",
        "-CAfile",
        &path(&world.path("root.pem")),
        "-verify_other",
        &path(&world.path("issuing.pem")),
        "-attime",
        &now,
        // OpenSSL looks at the system's clock here, not at the one it is told.
        "-validity_period",
        "2000000000",
    ])
}

#[test]
fn openssl_hears_of_good_and_revoked_certificates_and_trusts_the_answer() {
    if !has_openssl() {
        return;
    }
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
        let world = World::with(key_type, None);
        let issued = world.issue("build-7");
        let certificate = written(&world, "agent.pem", &issued);
        let path = certificate.display().to_string();
        let responder = Responder::default();
        let authority = world.open();
        for hash in ["-sha1", "-sha256"] {
            let asked = question(&world, &[hash, "-cert", &path, "-nonce"]);
            let answer = responder.answer(&authority, &asked).unwrap();
            let said = verdict(&world, &answer).unwrap();
            assert!(said.contains("Cert Status: good"), "{said}");
        }
        let serial = issued.certificate.serial;
        authority.revoke(&Actor::Home, &serial, Reason::KeyCompromise).unwrap();
        let asked = question(&world, &["-cert", &path, "-nonce"]);
        let answer = responder.answer(&authority, &asked).unwrap();
        let said = verdict(&world, &answer).unwrap();
        assert!(said.contains("Cert Status: revoked") && said.contains("keyCompromise"), "{said}");
    }
}

#[test]
fn an_answer_is_for_one_question() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let certificate = written(&world, "agent.pem", &world.issue("build-7"));
    let path = certificate.display().to_string();
    let (responder, authority) = (Responder::default(), world.open());
    let first = question(&world, &["-cert", &path, "-nonce"]);
    let earlier = responder.answer(&authority, &first).unwrap();
    question(&world, &["-cert", &path, "-nonce"]);
    let refused = verdict(&world, &earlier).unwrap_err();
    assert!(refused.contains("Nonce Verify error"), "{refused}");
    // One octet off, and the signature is wrong.
    let mut changed = earlier;
    let at = changed.len() / 3;
    changed[at] ^= 1;
    let asked = world.folder().join("question.der");
    file::replace(&asked, &first, Access::Public).unwrap();
    verdict(&world, &changed).unwrap_err();
}

#[test]
fn what_was_never_issued_is_unknown_and_what_is_nobodys_business_is_refused() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let certificate = written(&world, "agent.pem", &world.issue("build-7"));
    let (responder, authority) = (Responder::default(), world.open());
    let asked = question(&world, &["-serial", "0x1234"]);
    let answer = responder.answer(&authority, &asked).unwrap();
    let out = world.folder().join("unknown.der");
    file::replace(&out, &answer, Access::Public).unwrap();
    let said = openssl(&["ocsp", "-noverify", "-resp_text", "-respin", out.to_str().unwrap()]);
    assert!(said.unwrap().contains("Cert Status: unknown"));

    let other = World::new();
    let foreign = question(&other, &["-cert", certificate.to_str().unwrap()]);
    assert_eq!(responder.answer(&authority, &foreign).unwrap(), UNAUTHORIZED);
}

#[test]
fn what_is_no_question_is_said_to_be_none() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let certificate = written(&world, "agent.pem", &world.issue("build-7"));
    let (responder, authority) = (Responder::default(), world.open());
    let asked = question(&world, &["-cert", certificate.to_str().unwrap(), "-nonce"]);
    for length in 0..asked.len() {
        assert_eq!(responder.answer(&authority, &asked[..length]).unwrap(), MALFORMED, "{length}");
    }
    let mut longer = asked.clone();
    longer.push(0);
    assert_eq!(responder.answer(&authority, &longer).unwrap(), MALFORMED);
    let many = ["-serial", "0x1234"].repeat(17);
    assert_eq!(responder.answer(&authority, &question(&world, &many)).unwrap(), MALFORMED);
    let as_many_as_may_be = ["-serial", "0x1234"].repeat(16);
    let answer = responder.answer(&authority, &question(&world, &as_many_as_may_be)).unwrap();
    assert!(answer.len() > 100);
}

#[test]
fn the_responders_certificate_is_made_anew_in_time() {
    if !has_openssl() {
        return;
    }
    let world = World::new();
    let certificate = written(&world, "agent.pem", &world.issue("build-7"));
    let path = certificate.display().to_string();
    let (responder, authority) = (Responder::default(), world.open());
    for _ in 0..5 {
        let asked = question(&world, &["-cert", &path]);
        let answer = responder.answer(&authority, &asked).unwrap();
        let said = verdict(&world, &answer).unwrap();
        assert!(said.contains("Cert Status: good"), "{said}");
        world.clock.advance(DAY * 2 / 3);
    }
}
