//! An identity whose key a passphrase protects, and the ways in which that comes: a file, a
//! descriptor, a systemd credential. There is no way through the command line.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of gateways and of who talks to them, this needs a part")]
mod serving;

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use home::{Home, VOUCHSAFE};
use serving::{Serving, replace};

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn an_identity_is_of_no_use_without_the_passphrase_of_its_key() {
    let home = Home::new();
    replace(&home.path("gateway-secret"), b"tr0ub4dor\n");
    replace(&home.path("secret"), b"correct horse\n");
    let sealed = |name: &str| fs::read_to_string(home.path(name)).unwrap().contains("ENCRYPTED");
    home.run(&[
        "issue",
        "gw",
        "--server",
        "--ip",
        "127.0.0.1",
        "--key-passphrase-file",
        "gateway-secret",
    ]);
    home.run(&["issue", "a", "--allow", "tools:*", "--key-passphrase-file", "secret"]);
    assert!(sealed("gw/key.pem") && sealed("a/key.pem"));

    let gateway = Serving::notes(&home, &["--passphrase-file", "gateway-secret"]);
    let tools = || {
        let mut command = home.command(VOUCHSAFE);
        command.args(["tools", &gateway.address, "--identity", "a"]);
        command
    };
    let refused = tools().output().unwrap();
    let nobody_to_ask = "error: a passphrase is needed, and there is no terminal to ask at\nhint: say --passphrase-file FILE\n";
    assert_eq!(said(&refused), (Some(1), nobody_to_ask.into()));
    let wrong = tools().args(["--passphrase-file", "gateway-secret"]).output().unwrap();
    let closed = "error: the identity in a cannot be used: key.pem is refused: the passphrase does not open the private key\n";
    assert_eq!(said(&wrong), (Some(1), closed.into()));
    assert!(tools().args(["--passphrase-file", "secret"]).output().unwrap().status.success());

    // From a descriptor: nothing of it is ever in a file.
    let mut piped = tools();
    piped.args(["--passphrase-file", "/dev/fd/0"]).stdin(Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"correct horse").unwrap();
    assert!(piped.wait_with_output().unwrap().status.success());

    // As a unit of systemd would have it.
    let unit = |secret: &str| {
        let directory = home.path("credentials");
        fs::create_dir_all(&directory).unwrap();
        replace(&directory.join("vouchsafe.key-passphrase"), secret.as_bytes());
        tools().env("CREDENTIALS_DIRECTORY", directory).output().unwrap()
    };
    assert!(unit("correct horse").status.success());
    assert_eq!(said(&unit("battery staple")), (Some(1), closed.into()));
    // A credential for something else does not help.
    fs::rename(home.path("credentials/vouchsafe.key-passphrase"), home.path("credentials/other"))
        .unwrap();
    let other = tools().env("CREDENTIALS_DIRECTORY", home.path("credentials")).output().unwrap();
    assert_eq!(said(&other), (Some(1), nobody_to_ask.into()));
}
