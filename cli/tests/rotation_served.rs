//! A change of the issuing CA while the CA serves: nobody restarts it, and nobody is turned away.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of what a served CA can be asked, this needs a part")]
mod served;

use std::fs;

use home::Home;
use rustix::process::Signal;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use served::Served;
use vouchsafe_certs::CaCertificate;

const OPERATOR: &str = "home/operator";

/// The serial number of the CA that has issued an identity.
fn issuer(home: &Home, identity: &str) -> String {
    let chain = fs::read(home.path(identity).join("certificate.pem")).unwrap();
    let der = CertificateDer::pem_slice_iter(&chain).nth(1).unwrap().unwrap();
    CaCertificate::from_der(&der).unwrap().serial.to_string()
}

#[test]
fn operators_of_both_issuing_cas_are_served_by_a_ca_that_rotates_meanwhile() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let old = issuer(&home, OPERATOR);
    let rotated = ca.json(OPERATOR, &["rotate", "issuer", "--now"]);
    let new = rotated["serial"].as_str().unwrap();
    assert_ne!(new, old);
    let all = ["--allow", "tools:*", "--allow", "ca:*"];
    ca.told(OPERATOR, &[&["issue", "second", "--out", "second"][..], &all].concat());
    assert_eq!(issuer(&home, "second"), new);
    // Each is let in, and each can be revoked.
    for operator in [OPERATOR, "second"] {
        let shown = ca.told(operator, &["rotate", "status"]);
        let signs = shown.lines().find(|line| line.starts_with(new)).unwrap();
        assert!(signs.contains("issuing  signs"), "{shown}");
        let replaced = shown.lines().find(|line| line.starts_with(&old)).unwrap();
        assert!(replaced.contains("issuing  replaced"), "{shown}");
    }
    ca.told(OPERATOR, &["issue", "third", "--out", "third"]);
    ca.told("second", &["revoke", "third"]);
    let needed = ca.told("second", &["rotate", "retire"]);
    assert!(needed.starts_with(&format!("CA {old} is needed until ")), "{needed}");
    assert!(ca.told("second", &["audit", "--verify"]).starts_with("The history is whole"));
    ca.told(OPERATOR, &["revoke", "second"]);
    let refused = ca.refused("second", &["rotate", "status"]);
    assert!(refused.contains("its certificate is revoked"), "{refused}");
}

#[test]
fn an_operator_whom_no_list_can_name_has_no_say_from_the_revocation_on() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["rotate", "issuer", "--now"]);
    let all = ["--allow", "tools:*", "--allow", "ca:*"];
    ca.told(OPERATOR, &[&["issue", "second", "--out", "second"][..], &all].concat());
    ca.told(OPERATOR, &["issue", "agent", "--out", "agent"]);
    ca.stops(Signal::TERM);
    // The CA that has issued the first operator's certificate signs no list any more.
    fs::rename(home.path("home/issuing.key"), home.path("away")).unwrap();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["list"]);
    let untold = ca.refused("second", &["revoke", "operator"]);
    assert!(untold.contains("on record but on no published list"), "{untold}");

    for arguments in [
        &["issue", "accomplice", "--out", "accomplice"][..],
        &["invite", "accomplice"],
        &["revoke", "agent"],
        &["revoke", "operator", "--reinstate"],
        &["rotate", "issuer", "--now"],
        &["list"],
        &["audit"],
    ] {
        let refused = ca.refused(OPERATOR, arguments);
        assert!(refused.contains("is revoked (unspecified) and has no say here"), "{refused}");
        assert!(refused.contains("hint: ask for an invitation, and enrol anew"), "{refused}");
    }
    assert!(!home.path("accomplice").exists());
    assert!(!ca.told("second", &["list"]).contains("accomplice"));
    assert!(ca.told("second", &["inspect", "agent"]).contains("agent"));
}

#[test]
fn only_some_rotate_and_the_roots_key_is_never_sent() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["issue", "lead", "--allow", "tools:*", "--out", "lead"]);
    for (arguments, missing) in [
        (&["rotate", "issuer"][..], "lacks the permission ca:rotate"),
        (&["rotate", "retire"], "lacks the permission ca:retire"),
        (&["rotate", "status"], "lacks the permission ca:cas"),
    ] {
        let refused = ca.refused("lead", arguments);
        assert!(refused.contains(missing), "{refused}");
    }
    let sent = ca.ask(OPERATOR, &["rotate", "issuer", "--root-key", "home/root.key"]);
    assert_eq!(sent.status.code(), Some(2));
    let refused = String::from_utf8(sent.stderr).unwrap();
    assert!(refused.contains("--root-key goes with the CA's home, not with --ca"), "{refused}");
    fs::rename(home.path("home/root.key"), home.path("away")).unwrap();
    let refused = ca.refused(OPERATOR, &["rotate", "issuer"]);
    assert!(refused.contains("the root's key is not in the home"), "{refused}");
}
