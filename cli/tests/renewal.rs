//! An identity directory whose files are replaced under a running gateway.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
mod serving;

use std::fs;

use home::Home;
use rustix::process::Signal;
use serde_json::json;
use serving::{Serving, Talk, replace};

/// A CA, an agent, and a gateway that serves it.
fn cast() -> (Home, Serving, Talk) {
    let home = Home::new();
    issue_gateway(&home, "gw");
    home.run(&["issue", "reader", "--allow", "tools:read_note"]);
    let serving = Serving::notes(&home, &[]);
    let talk = Talk::with(&home, &serving.address, "reader");
    (home, serving, talk)
}

fn issue_gateway(home: &Home, name: &str) {
    home.run(&["issue", name, "--server", "--dns", "localhost", "--ip", "127.0.0.1", "--force"]);
}

fn reads(talk: &mut Talk) -> String {
    talk.calls("read_note", &json!({"title": "launch plan"}))
}

#[test]
fn a_gateway_takes_its_renewed_certificate_and_drops_nobody() {
    let (home, serving, mut talk) = cast();
    let plan = reads(&mut talk);
    issue_gateway(&home, "gw");
    serving.says.wait_for(0, " in force, ends in 24 hours");
    assert_eq!(reads(&mut talk), plan);
    talk.leaves();
    let mut talk = Talk::with(&home, &serving.address, "reader");
    assert_eq!(reads(&mut talk), plan);
    talk.leaves();
    assert!(serving.stops(Signal::TERM).0.success());
}

#[test]
fn what_does_not_fit_together_or_is_somebody_elses_is_not_taken_and_is_said_aloud() {
    let (home, serving, mut talk) = cast();
    let plan = reads(&mut talk);
    issue_gateway(&home, "other");
    let copy = |name: &str| {
        // Mode and all.
        fs::copy(home.path(&format!("other/{name}")), home.path("copy")).unwrap();
        fs::rename(home.path("copy"), home.path(&format!("gw/{name}"))).unwrap();
    };

    copy("certificate.pem");
    let (at, said) = serving.says.wait_for(0, "WARNING");
    assert!(
        said.ends_with("is not the key of certificate.pem; the identity in force stays"),
        "{said}"
    );
    copy("key.pem");
    let (at, said) = serving.says.wait_for(at + 1, "WARNING");
    assert!(said.contains("it is spiffe://acme.example/other now"), "{said}");
    replace(&home.path("gw/roots.pem"), b"-----BEGIN CERTI");
    let (_, said) = serving.says.wait_for(at + 1, "WARNING");
    assert!(said.contains("no certificate in roots.pem"), "{said}");
    // All the while it serves as it did before.
    assert_eq!(reads(&mut talk), plan);
    assert_eq!(reads(&mut Talk::with(&home, &serving.address, "reader")), plan);
}

#[test]
fn a_bridge_goes_on_beyond_its_certificate_and_beyond_its_gateway() {
    let (home, serving, _) = cast();
    home.run(&["issue", "brief", "--allow", "tools:read_note", "--ttl", "4s"]);
    let mut talk = Talk::with(&home, &serving.address, "brief");
    let plan = reads(&mut talk);
    let (first, _) = serving.says.wait_for(0, "acme.example/brief");
    home.run(&["issue", "brief", "--allow", "tools:read_note", "--force"]);
    // Another session is opened and the old one ends, of which the client knows nothing.
    for event in [r#""event":"opened""#, "the client closed the session"] {
        serving.says.wait_for(first + 1, event);
    }
    assert_eq!(reads(&mut talk), plan);

    let address = serving.address.clone();
    drop(serving);
    let serving = Serving::notes(&home, &["--listen", &address]);
    assert_eq!(reads(&mut talk), plan);
    home.run(&["revoke", "brief"]);
    let (code, said) = talk.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.ends_with("error: the gateway refused this identity: its certificate is revoked"));
    drop(serving);
}
