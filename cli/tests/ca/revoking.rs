//! Revoking: how people name what they revoke, and where the lists go.

use std::fs;

use crate::sandbox::{Sandbox, text};

#[test]
fn revoke_understands_what_people_have_at_hand() {
    let sandbox = Sandbox::with_ca();
    let issue = || sandbox.issue(&["build-7", "--force"]);
    let revoke = |what: &str| sandbox.json(&["revoke", what]);
    let by_serial = issue();
    let serial = text(&by_serial, "serial");
    assert_eq!(revoke(serial)["certificates"][0]["serial"], serial);
    assert_eq!(revoke(serial)["changed"], false);
    // As openssl writes it.
    let issued = issue();
    let colons = |hex: &str| {
        let pairs =
            hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase());
        pairs.collect::<Vec<_>>().join(":")
    };
    assert_eq!(revoke(&colons(text(&issued, "fingerprint")))["changed"], true);
    let issued = issue();
    assert_eq!(revoke(&colons(text(&issued, "serial")))["changed"], true);
    issue();
    assert_eq!(revoke("build-7/certificate.pem")["changed"], true);
    // A directory of that name is not in the way of the device.
    issue();
    let device = revoke("build-7");
    assert_eq!(device["device"], "spiffe://acme.example/build-7");
    assert_eq!(device["certificates"].as_array().unwrap().len(), 1);
    assert_eq!(revoke("spiffe://acme.example/build-7")["changed"], false);
    sandbox.run(&["revoke", "build-7", "--reinstate"]).succeeds();
    issue();
    let of_device = ["list", "--active", "--principal", "build-7"];
    assert_eq!(sandbox.json(&of_device).as_array().unwrap().len(), 1);
    assert_eq!(sandbox.json(&["list", "--revoked"]).as_array().unwrap().len(), 5);
}

#[test]
fn revoke_never_guesses() {
    let sandbox = Sandbox::with_ca();
    for unknown in ["build-8", "0123", "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f", "./nothing.pem"] {
        let refused = sandbox.run(&["revoke", unknown]).ends_with(1);
        assert!(refused.contains("vouchsafe list shows what there is"), "{refused}");
    }
    let refused = sandbox.run(&["revoke", "spiffe://acme.example/build-8"]).ends_with(1);
    assert!(refused.starts_with("error: no certificate was ever issued to"), "{refused}");
    // A file and a device of one name.
    sandbox.run(&["issue", "build-7", "--out", "identity"]).succeeds();
    fs::copy(sandbox.path("identity/certificate.pem"), sandbox.path("build-7")).unwrap();
    let refused = sandbox.run(&["revoke", "build-7"]).ends_with(2);
    assert!(refused.starts_with("error: build-7 can mean more than one thing"), "{refused}");
    sandbox.run(&["revoke", "./build-7"]).succeeds();
    // A certificate of somebody else's CA, and a CA's own.
    let other = Sandbox::with_ca();
    other.run(&["issue", "build-7", "--out", "identity"]).succeeds();
    let foreign = other.path("identity/certificate.pem").display().to_string();
    let refused = sandbox.run(&["revoke", &foreign]).ends_with(1);
    assert!(refused.contains("this CA has not issued it"), "{refused}");
    let refused = sandbox.run(&["revoke", "home/issuing.pem"]).ends_with(1);
    assert!(refused.contains("a CA certificate cannot stand for a principal"), "{refused}");
    assert!(
        sandbox
            .run(&["revoke", "build-7", "--reason", "stolen"])
            .ends_with(2)
            .contains("keyCompromise")
    );
}

#[test]
fn lists_of_revocations_can_be_carried_elsewhere() {
    let sandbox = Sandbox::with_ca();
    sandbox.run(&["crl", "--out", "copy.pem"]).succeeds();
    assert_eq!(sandbox.text("copy.pem"), sandbox.text("home/crl.pem"));
    assert_eq!(sandbox.text("copy.pem").matches("BEGIN X509 CRL").count(), 2);
    let published = sandbox.json(&["crl", "--out", "copy.der", "--der"]);
    assert_eq!(published["number"], 3);
    assert_eq!(fs::read(sandbox.path("copy.der")).unwrap()[0], 0x30);
    assert!(sandbox.run(&["crl", "--der"]).ends_with(2).contains("--out"));
    // The root elsewhere: said only when it matters.
    fs::remove_file(sandbox.path("home/root.key")).unwrap();
    sandbox.run(&["crl"]).succeeds();
    fs::remove_file(sandbox.path("home/crl.pem")).unwrap();
    let warned = sandbox.run(&["crl"]).stderr();
    assert!(
        warned.starts_with("warning: the root's revocation list is lost; bring its key"),
        "{warned}"
    );
}
