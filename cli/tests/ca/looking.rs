//! Looking: at what there is, and at one certificate.

use serde_json::Value;

use crate::sandbox::{Sandbox, text};

#[test]
fn lists_can_be_narrowed() {
    let sandbox = Sandbox::with_ca();
    sandbox.issue(&["a", "--allow", "tools:*", "--ttl", "1h"]);
    sandbox.issue(&["b", "--allow", "tools:search", "--allow", "prompts:x"]);
    sandbox.issue(&["c"]);
    sandbox.run(&["revoke", "c"]).succeeds();
    let names = |arguments: &[&str]| {
        let listed = sandbox.json(&[&["list"], arguments].concat());
        let name = |view: &Value| text(view, "principal").replace("spiffe://acme.example/", "");
        listed.as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[]), "a b c operator");
    assert_eq!(names(&["--active"]), "a b operator");
    assert_eq!(names(&["--revoked"]), "c");
    assert_eq!(names(&["--expired"]), "");
    assert_eq!(names(&["--expiring", "2h"]), "a");
    assert_eq!(names(&["--principal", "b"]), "b");
    assert_eq!(names(&["--may", "tools:search"]), "a b operator");
    assert_eq!(names(&["--may", "tools:other"]), "a operator");
    assert_eq!(names(&["--may", "prompts:x", "--active"]), "b operator");
    assert_eq!(sandbox.run(&["list", "--expired"]).succeeds(), "No certificates.\n");
    assert!(
        sandbox
            .run(&["list", "--active", "--revoked"])
            .ends_with(2)
            .contains("cannot be used with")
    );
}

#[test]
fn inspect_tells_what_can_be_told() {
    let sandbox = Sandbox::with_ca();
    let issued = sandbox.issue(&["a", "--allow", "*"]);
    let serial = text(&issued, "serial").to_owned();
    for what in ["a", "a/certificate.pem", &serial] {
        let shown = sandbox.json(&["inspect", what]);
        assert_eq!(shown["serial"], serial);
        assert_eq!(shown["permissions"], serde_json::json!(["*:*"]));
        assert_eq!((text(&shown, "status"), text(&shown, "issued_by")), ("valid", "this-ca"));
        assert_eq!(shown["revoked"], Value::Null);
    }
    sandbox.run(&["revoke", &serial, "--reason", "superseded"]).succeeds();
    let shown = sandbox.json(&["inspect", "a"]);
    assert_eq!(text(&shown, "status"), "revoked");
    assert_eq!(text(&shown["revoked"], "reason"), "superseded");
    assert!(sandbox.run(&["inspect", "a"]).succeeds().contains("REVOKED"));
    // Elsewhere: another CA, and none.
    let identity = sandbox.path("a").display().to_string();
    let other = Sandbox::with_ca();
    assert_eq!(text(&other.json(&["inspect", &identity]), "issued_by"), "another-ca");
    let nobody = Sandbox::new();
    assert_eq!(text(&nobody.json(&["inspect", &identity]), "issued_by"), "unknown");
    assert!(nobody.run(&["inspect", &identity]).succeeds().contains("no CA here to tell"));
    assert!(nobody.run(&["inspect", "absent"]).ends_with(1).contains("neither a file"));
    assert!(nobody.run(&["inspect", "0123"]).ends_with(1).contains("there is no CA in"));
}
