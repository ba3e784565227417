//! The passphrase of the CA's keys.

use std::fs;

use crate::sandbox::{Run, Sandbox, put};

#[test]
fn passphrases_come_from_files_and_never_from_thin_air() {
    let sandbox = Sandbox::new();
    put(&sandbox.path("secret"), "correct horse\n");
    put(&sandbox.path("wrong"), "battery staple\n");
    put(&sandbox.path("empty"), "\n");
    let init = |file| sandbox.run(&["init", "--trust-domain", "a", "--passphrase-file", file]);
    assert!(init("empty").ends_with(2).contains("does not hold a passphrase"));
    assert!(init("absent").ends_with(1).contains("cannot read absent"));
    init("secret").succeeds();
    assert!(sandbox.text("home/issuing.key").contains("ENCRYPTED"));
    assert!(sandbox.text("home/root.key").contains("ENCRYPTED"));
    let refused = sandbox.run(&["issue", "b"]).ends_with(1);
    assert_eq!(
        refused,
        "error: a passphrase is needed, and there is no terminal to ask at\nhint: say --passphrase-file FILE\n"
    );
    let issue = |file| sandbox.run(&["issue", "b", "--passphrase-file", file]);
    assert!(issue("wrong").ends_with(1).contains("the passphrase does not open the private key"));
    issue("secret").succeeds();
    // Looking needs no key.
    sandbox.run(&["list"]).succeeds();
    sandbox.run(&["audit", "--verify"]).succeeds();
}

#[test]
fn a_unit_of_systemd_gives_the_passphrase_as_a_credential() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("credentials")).unwrap();
    put(&sandbox.path("credentials/vouchsafe.ca-passphrase"), "correct horse");
    let unit = |arguments: &[&str]| {
        let mut command = sandbox.command();
        command.args(arguments).env("CREDENTIALS_DIRECTORY", sandbox.path("credentials"));
        Run(command.output().unwrap())
    };
    unit(&["init", "--trust-domain", "a"]).succeeds();
    assert!(sandbox.text("home/issuing.key").contains("ENCRYPTED"));
    unit(&["issue", "b"]).succeeds();
    // A file that is named goes before the credential.
    put(&sandbox.path("wrong"), "battery staple");
    let refused = unit(&["issue", "c", "--passphrase-file", "wrong"]).ends_with(1);
    assert!(refused.contains("the passphrase does not open the private key"));
}
