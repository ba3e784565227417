//! Wrong usage, homes that are not there, and what shells are told.

use std::path::PathBuf;

use crate::sandbox::{Run, Sandbox};

#[test]
fn wrong_usage_and_missing_homes_say_what_to_do() {
    let sandbox = Sandbox::new();
    let refused = sandbox.told(&sandbox.run(&["list"]).ends_with(1));
    assert_eq!(
        refused,
        "error: there is no CA in HOME\nhint: make one with: vouchsafe init --trust-domain NAME; or say where it is with --home\n"
    );
    assert!(!sandbox.path("home").exists());
    let nowhere = Run(sandbox.command().env_clear().arg("list").output().unwrap());
    assert!(nowhere.ends_with(2).contains("hint: say --home DIR, or set VOUCHSAFE_HOME"));
    let default = |name: &str, value: PathBuf| {
        let mut command = sandbox.command();
        command.env_clear().env(name, value).args(["init", "--trust-domain", "a"]);
        Run(command.output().unwrap()).succeeds();
    };
    default("XDG_DATA_HOME", sandbox.path("data"));
    assert!(sandbox.path("data/vouchsafe/ca.toml").exists());
    default("HOME", sandbox.path("user"));
    assert!(sandbox.path("user/.local/share/vouchsafe/ca.toml").exists());
    for (arguments, expected) in [
        (&["init"][..], "--trust-domain"),
        (&["init", "--trust-domain", "A b"], "a trust domain is"),
        (&["issue", "a", "--allow", "tools"], "kind:pattern"),
        (&["issue", "a", "--ttl", "1 day"], "a whole number with a unit"),
        (&["issue", "a", "--dns", "b"], "--server"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let refused = sandbox.run(arguments).ends_with(2);
        assert!(refused.contains(expected), "{refused}");
    }
    sandbox.run(&["init", "--trust-domain", "acme.example"]).succeeds();
    let refused = sandbox.run(&["issue", "a b"]).ends_with(2);
    assert!(refused.starts_with("error: a b cannot be a principal"), "{refused}");
    let refused = sandbox.run(&["issue", "gw", "--server"]).ends_with(1);
    assert!(refused.contains("hint: say --dns NAME or --ip ADDRESS"), "{refused}");
}

#[test]
fn shells_are_told_every_verb() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(&["completions", shell]).succeeds();
        for verb in ["init", "issue", "list", "inspect", "revoke", "crl", "audit"] {
            assert!(script.contains(verb), "{shell} is not told of {verb}");
        }
    }
}
