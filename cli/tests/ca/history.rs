//! The home and its history: nobody changes it unnoticed, and it has one user at a time.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::{Sandbox, put};

#[test]
fn meddling_with_the_history_is_named() {
    let sandbox = Sandbox::with_ca();
    sandbox.run(&["issue", "a"]).succeeds();
    sandbox.run(&["revoke", "a"]).succeeds();
    let path = sandbox.path("home/journal.jsonl");
    let honest = fs::read_to_string(&path).unwrap();
    let rewrite = |text: &str| {
        fs::remove_file(&path).unwrap();
        put(&path, text);
    };
    rewrite(&honest.replace("spiffe://acme.example/a", "spiffe://acme.example/b"));
    let found = sandbox.run(&["audit", "--verify"]).ends_with(1);
    assert!(
        found
            .starts_with("error: the history is not whole: line 5 of the journal has been altered"),
        "{found}"
    );
    let verdict = sandbox.run(&["audit", "--verify", "--json"]);
    assert_eq!(verdict.0.status.code(), Some(1));
    let verdict: Value = serde_json::from_str(&verdict.stdout()).unwrap();
    assert_eq!(verdict["whole"], false);
    rewrite(&honest);
    assert_eq!(sandbox.json(&["audit", "--verify"])["records"], 7);
    let records = sandbox.run(&["audit", "--json"]).succeeds();
    assert_eq!(records, honest);
    // A crash before the last line was written is mended by whatever comes next, and said.
    let cut = honest.trim_end().rfind('\n').unwrap() + 10;
    rewrite(&honest[..cut]);
    assert!(sandbox.run(&["audit", "--verify"]).succeeds().contains("was interrupted"));
    assert!(sandbox.run(&["list"]).stderr().starts_with("note: the last command was interrupted"));
    sandbox.run(&["list"]).succeeds();
    assert_eq!(fs::read_to_string(&path).unwrap(), honest);
}

#[test]
fn one_at_a_time_and_who_that_is() {
    let sandbox = Sandbox::with_ca();
    let held = fs::File::open(sandbox.path("home/lock")).unwrap();
    held.lock().unwrap();
    let refused = sandbox.run(&["list"]).ends_with(1);
    assert!(refused.contains("is in use by another process (process "), "{refused}");
    assert!(refused.contains("vouchsafe init, since 2"), "{refused}");
    drop(held);
    // Ten at once: each has its turn.
    let running: Vec<_> = (0..10)
        .map(|nth| {
            sandbox
                .command()
                .args(["issue", &format!("d{nth}")])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    assert!(running.into_iter().all(|mut child| child.wait().unwrap().success()));
    // And the operator's.
    assert_eq!(sandbox.json(&["list"]).as_array().unwrap().len(), 11);
}
