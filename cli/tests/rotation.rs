//! A change of the issuing CA and of the root, with a gateway at work that nobody restarts.
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
use std::os::unix::fs::PermissionsExt;

use home::{Home, VOUCHSAFE};
use serde_json::{Value, json};
use serving::{Serving, Talk, replace};

fn cast() -> Home {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
    home.run(&["issue", "a", "--allow", "tools:*"]);
    home
}

/// Exit code and standard error.
fn says(home: &Home, arguments: &[&str]) -> (Option<i32>, String) {
    let output = home.command(VOUCHSAFE).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn status(home: &Home) -> Vec<Value> {
    let text = home.run(&["rotate", "status", "--json"]);
    serde_json::from_str::<Value>(&text).unwrap()["cas"].as_array().unwrap().clone()
}

/// The serial number of the CA of a tier in a state.
fn serial(home: &Home, tier: &str, state: &str) -> String {
    let cas = status(home);
    let mut found = cas.iter().filter(|ca| ca["tier"] == tier && ca["state"] == state);
    let serial = found.next().unwrap_or_else(|| panic!("no {tier} that is {state}: {cas:#?}"));
    assert!(found.next().is_none(), "two {tier} that are {state}: {cas:#?}");
    serial["serial"].as_str().unwrap().to_owned()
}

fn is_served(talk: &mut Talk) {
    assert_eq!(talk.calls("search_notes", &json!({"text": "May"})), "launch plan");
}

const REVOKED: &str = "error: the gateway refused this identity: its certificate is revoked";

/// The bridge may have tried once more before it was told why.
fn is_cut(talk: Talk) {
    let (code, why) = talk.ended();
    assert!(code == Some(1) && why.ends_with(REVOKED), "{code:?} {why}");
}

#[test]
fn a_gateway_takes_certificates_of_a_new_issuing_ca_and_cuts_those_of_a_revoked_one() {
    let home = cast();
    let gateway = Serving::notes(&home, &[]);
    let mut old = Talk::with(&home, &gateway.address, "a");
    is_served(&mut old);

    let before = serial(&home, "issuing", "signs");
    home.run(&["rotate", "issuer", "--now"]);
    assert_eq!(serial(&home, "issuing", "replaced"), before);
    gateway.says.wait_for(0, "in force, 0 revoked");
    for name in ["b", "c"] {
        home.run(&["issue", name, "--allow", "tools:*"]);
    }
    let (mut one, mut other) =
        (Talk::with(&home, &gateway.address, "b"), Talk::with(&home, &gateway.address, "c"));
    for talk in [&mut old, &mut one, &mut other] {
        is_served(talk);
    }
    // Revocation reaches those of either.
    home.run(&["revoke", "b"]);
    is_cut(one);
    is_served(&mut old);
    is_served(&mut other);
    home.run(&["revoke", "--issuer", &before, "--reason", "keyCompromise"]);
    is_cut(old);
    is_served(&mut other);
    assert_eq!(serial(&home, "issuing", "revoked"), before);
    let tools = ["tools", &gateway.address, "--identity", "a"];
    assert_eq!(says(&home, &tools), (Some(1), format!("{REVOKED}\n")));
    home.run(&["audit", "--verify"]);
}

#[test]
fn a_gateway_takes_a_new_root_with_the_old_one_beside_it() {
    let home = cast();
    let gateway = Serving::notes(&home, &[]);
    let mut old = Talk::with(&home, &gateway.address, "a");
    home.run(&["rotate", "root", "--root-out", "stick"]);
    // Holders of what was issued before do not know it yet, so it does not sign yet.
    let early = ["rotate", "issuer", "--root-key", "stick/root.key"];
    let (code, why) = says(&home, &early);
    assert_eq!(code, Some(1));
    assert!(why.contains("and this is the key of another"), "{why}");

    home.run(&["rotate", "root", "--now", "--root-out", "second-stick"]);
    home.run(&["rotate", "issuer", "--now", "--root-key", "second-stick/root.key"]);
    home.run(&["issue", "b", "--allow", "tools:*"]);
    // The gateway was made before, and goes on for those it knows.
    is_served(&mut old);
    let tools = ["tools", &gateway.address, "--identity", "b"];
    let stranger = "error: the gateway refused this identity: its certificate is from a CA that the gateway does not trust\n";
    assert_eq!(says(&home, &tools), (Some(1), stranger.into()));

    replace(&home.path("gw/roots.pem"), &fs::read(home.path("home/roots.pem")).unwrap());
    gateway.says.wait_for(0, "trust in 3 roots in force");
    // The lists of the new root's CAs were left out before; now they count.
    let mut new = (0..50).find_map(|_| {
        let (code, _) = says(&home, &tools);
        (code == Some(0)).then(|| Talk::with(&home, &gateway.address, "b"))
    });
    let new = new.as_mut().unwrap_or_else(|| panic!("b is not let in"));
    is_served(new);
    is_served(&mut old);
}

#[test]
fn the_root_stays_offline_and_is_brought_for_as_long_as_a_command_takes() {
    let home = Home::new();
    fs::remove_dir_all(home.path("home")).unwrap();
    replace(&home.path("secret"), b"correct horse");
    let output = home
        .command(VOUCHSAFE)
        .args(["init", "--trust-domain", "acme.example", "--root-out", "stick"])
        .args(["--root-passphrase-file", "secret"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("The root's key is in stick: keep it offline;"), "{told}");
    assert!(!home.path("home/root.key").exists());
    let mode = fs::metadata(home.path("stick/root.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::rename(home.path("stick"), home.path("drawer")).unwrap();

    home.run(&["issue", "a", "--allow", "tools:*"]);
    home.run(&["revoke", "a"]);
    let root = serial(&home, "root", "signs");
    let missing = format!(
        "error: the root's key is not in the home ({})\nhint: bring it from where it is kept, and name it with --root-key FILE where the home is\n",
        home.path("home/root.key").display()
    );
    assert_eq!(says(&home, &["rotate", "issuer"]), (Some(1), missing));
    let strange = "error: this key is not that of a root of this CA\nhint: bring the root's key from where it is kept, and name it with --root-key FILE\n";
    let wrong = ["rotate", "issuer", "--root-key", "home/issuing.key"];
    assert_eq!(says(&home, &wrong), (Some(1), strange.into()));
    let closed = "error: a passphrase is needed, and there is no terminal to ask at\nhint: say --root-passphrase-file FILE\n";
    let bring = ["rotate", "issuer", "--root-key", "drawer/root.key"];
    assert_eq!(says(&home, &bring), (Some(1), closed.into()));
    let open = ["--root-passphrase-file", "secret"];
    home.run(&[&bring[..], &open].concat());
    assert_eq!(serial(&home, "issuing", "comes").len(), 32);
    assert!(!home.path("home/root.key").exists());
    let until = |home: &Home| {
        let cas = status(home);
        cas.iter().find(|ca| ca["serial"] == *root).unwrap()["list_next_update"].clone()
    };
    assert!(until(&home).is_string());
    home.run(&[&["crl", "--root-key", "drawer/root.key"][..], &open].concat());
    assert!(home.run(&["audit"]).contains(&format!("signed revocation list 2 of CA {root}")));
    let nothing = home.run(&["rotate", "retire"]);
    assert_eq!(nothing, "No CA's time is over\n");
    let table = home.run(&["rotate", "status"]);
    let first = table.lines().next().unwrap();
    assert_eq!(
        first.split_whitespace().collect::<Vec<_>>().join(" "),
        "CA ENDS LAST CERTIFICATE LIST UNTIL KEY"
    );
    assert!(table.lines().any(|line| line.starts_with(&root) && line.ends_with("elsewhere")));
}

#[test]
fn a_revocation_of_which_no_gateway_hears_is_told_as_what_it_is() {
    let home = cast();
    let gateway = Serving::notes(&home, &[]);
    let mut talk = Talk::with(&home, &gateway.address, "a");
    is_served(&mut talk);
    let silent = serial(&home, "issuing", "signs");
    home.run(&["rotate", "issuer", "--now"]);
    fs::rename(home.path("home/issuing.key"), home.path("away")).unwrap();
    for _ in 0..2 {
        let (code, said) = says(&home, &["revoke", "a"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("on record but on no published list"), "{said}");
        assert!(said.contains(&silent) && said.contains("vouchsafe revoke --issuer"), "{said}");
    }
    is_served(&mut talk);
    // As it was told: the CA goes with everything that it has issued, and now it is so.
    home.run(&["revoke", "--issuer", &silent]);
    is_cut(talk);
    assert!(home.run(&["revoke", "a"]).contains("was revoked already"));
}
