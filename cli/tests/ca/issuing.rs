//! Issuing: what is written where, what is taken from a request, what a role grants.

use std::fs;
use std::process::Command;

use vouchsafe_tests::is_installed;

use crate::sandbox::{Sandbox, put, text};

#[test]
fn an_identity_is_whole_and_its_key_private() {
    let sandbox = Sandbox::with_ca();
    let issued = sandbox.issue(&["team-a/build-7", "--key-type", "ed25519"]);
    assert_eq!(text(&issued, "identity"), "team-a/build-7");
    assert_eq!(text(&issued, "key_type"), "ed25519");
    assert_eq!(sandbox.mode("team-a/build-7"), 0o700);
    assert_eq!(sandbox.mode("team-a/build-7/key.pem"), 0o600);
    let chain = sandbox.text("team-a/build-7/certificate.pem");
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(chain.ends_with(&sandbox.text("home/issuing.pem")));
    assert_eq!(sandbox.text("team-a/build-7/roots.pem"), sandbox.text("home/root.pem"));
    let names = fs::read_dir(sandbox.path("team-a")).unwrap().count();
    assert_eq!(names, 1, "nothing unfinished is left behind");
}

#[test]
fn nothing_is_overwritten_unless_asked_for() {
    let sandbox = Sandbox::with_ca();
    sandbox.run(&["issue", "a"]).succeeds();
    let before = sandbox.text("a/key.pem");
    let refused = sandbox.run(&["issue", "a"]).ends_with(1);
    assert_eq!(
        refused,
        "error: a holds an identity already\nhint: say --force to replace it, or --out DIR for another directory\n"
    );
    assert_eq!(sandbox.text("a/key.pem"), before);
    let issued = sandbox.json(&["list", "--principal", "a"]);
    assert_eq!(issued.as_array().unwrap().len(), 1, "and nothing was issued");
    sandbox.run(&["issue", "a", "--force"]).succeeds();
    assert_ne!(sandbox.text("a/key.pem"), before);
    put(&sandbox.path("a/notes.txt"), "mine");
    let refused = sandbox.run(&["issue", "a", "--force"]).ends_with(1);
    assert!(refused.contains("other files than an identity (notes.txt)"), "{refused}");
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.run(&["issue", "a", "--out", "empty"]).succeeds();
    sandbox.run(&["issue", "a", "--out", "deeper/down"]).succeeds();
    assert!(sandbox.run(&["init", "--trust-domain", "b"]).ends_with(1).contains("already"));
}

#[test]
fn with_a_request_the_key_stays_where_it_is() {
    if !is_installed("openssl") {
        return;
    }
    let sandbox = Sandbox::with_ca();
    fs::create_dir(sandbox.path("agent")).unwrap();
    let made = Command::new("openssl")
        .current_dir(sandbox.path("agent"))
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=root/O=admins"])
        .args(["-addext", "subjectAltName=URI:spiffe://acme.example/admin"])
        .output()
        .unwrap();
    assert!(made.status.success());
    let key = sandbox.text("agent/key.pem");
    let arguments =
        ["build-7", "--csr", "agent/request.pem", "--out", "agent", "--allow", "tools:a"];
    let issued = sandbox.issue(&arguments);
    // Nothing of what the request asks for is granted.
    assert_eq!(text(&issued, "principal"), "spiffe://acme.example/build-7");
    assert_eq!(issued["permissions"], serde_json::json!(["tools:a"]));
    assert_eq!(sandbox.text("agent/key.pem"), key);
    assert!(sandbox.path("agent/certificate.pem").exists());
    assert!(sandbox.path("agent/roots.pem").exists());
    assert!(sandbox.run(&[&["issue"][..], &arguments].concat()).ends_with(1).contains("already"));

    // A key that was lost stays refused, under whatever name.
    sandbox.run(&["revoke", "agent/certificate.pem", "--reason", "keyCompromise"]).succeeds();
    let again = ["issue", "other", "--csr", "agent/request.pem"];
    let refused = sandbox.told(&sandbox.run(&again).ends_with(1));
    assert_eq!(
        refused,
        "error: this key was revoked with certificate SERIAL for keyCompromise and is never certified again\nhint: make a new key\n"
    );
}

#[test]
fn presumptuous_requests_are_refused() {
    if !is_installed("openssl") {
        return;
    }
    let sandbox = Sandbox::with_ca();
    let everything = "1.2.840.113556.1.8000.2554.40490.50628.23376.18427.46540.12716354.636824=DER:30:0A:02:01:00:30:05:0C:03:2A:3A:2A";
    let authority = "the request asks to become a certificate authority";
    let permissions =
        "the request names permissions; permissions are granted by the CA, never asked for";
    for (extension, reason) in [
        ("basicConstraints=CA:TRUE", authority),
        ("keyUsage=digitalSignature,keyCertSign", authority),
        ("keyUsage=digitalSignature,cRLSign", authority),
        (everything, permissions),
    ] {
        let made = Command::new("openssl")
            .current_dir(sandbox.path(""))
            .args(["req", "-new", "-newkey", "ed25519", "-nodes", "-keyout", "k.pem"])
            .args(["-out", "r.pem", "-subj", "/CN=x", "-addext", extension])
            .output()
            .unwrap();
        assert!(made.status.success());
        let refused = sandbox.run(&["issue", "a", "--csr", "r.pem"]).ends_with(1);
        assert_eq!(refused, format!("error: r.pem is refused: {reason}\n"));
        assert!(!sandbox.path("a").exists());
    }
    assert!(sandbox.json(&["list", "--principal", "a"]).as_array().unwrap().is_empty());
}

#[test]
fn roles_grant_what_ca_toml_says_to_whom_it_says() {
    let sandbox = Sandbox::with_ca();
    let roles = "[roles.reader]\nallow = [\"tools:search\"]\nttl = \"2h\"\nnames = [\"build-*\"]\n";
    let config = sandbox.text("home/ca.toml") + roles;
    fs::remove_file(sandbox.path("home/ca.toml")).unwrap();
    put(&sandbox.path("home/ca.toml"), &config);
    let issued = sandbox.issue(&["build-7", "--role", "reader", "--allow", "tools:a"]);
    assert_eq!(issued["permissions"], serde_json::json!(["tools:a", "tools:search"]));
    let row = sandbox.run(&["list"]).succeeds();
    assert!(row.contains("in 2 hours") || row.contains("in 120 minutes"), "{row}");
    for (arguments, expected) in [
        (["gw", "--role", "reader", "--force"], "role reader may not be given to gw"),
        (["build-8", "--role", "writer", "--force"], "ca.toml knows no role writer"),
    ] {
        let refused = sandbox.run(&[&["issue"][..], &arguments].concat()).ends_with(1);
        assert!(refused.contains(expected), "{refused}");
    }
    let long = ["issue", "build-8", "--role", "reader", "--ttl", "3h"];
    assert!(sandbox.run(&long).ends_with(1).contains("longer than the 2h of the role"));
}
