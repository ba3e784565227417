//! Inviting, limiting, and revoking by date, as an operator at a terminal meets them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod served;

use std::fs;

use serde_json::Value;

use self::home::{Home, VOUCHSAFE};
use self::served::Served;

/// Exit code, what was printed, what was said beside it.
fn run(home: &Home, arguments: &[&str]) -> (i32, String, String) {
    let output = home.command(VOUCHSAFE).args(arguments).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(home: &Home, arguments: &[&str]) -> Value {
    serde_json::from_str(&home.run(&[arguments, &["--json"]].concat())).unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_else(|| panic!("no {member}: {value}"))
}

fn list(home: &Home) -> Vec<Value> {
    json(home, &["invite", "--list"]).as_array().unwrap().clone()
}

#[test]
fn an_invitation_is_one_line_and_what_is_said_of_it_goes_elsewhere() {
    let home = Home::new();
    let asked = ["invite", "build-7", "--allow", "tools:search", "--address", "ca.example:8445"];
    let (code, line, said) = run(&home, &asked);
    assert_eq!(code, 0, "{said}");
    let line = line.strip_suffix('\n').unwrap();
    assert!(line.starts_with("vouchsafe-invitation-1."), "{line}");
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    assert!(line.bytes().all(harmless), "{line}");
    assert!(said.contains("Invited spiffe://acme.example/build-7"), "{said}");
    assert!(said.contains("tools:search") && said.contains("0 of 1 key"), "{said}");
    // Nothing of what is kept shows the line again.
    let (_, encoded) = line.split_once('.').unwrap();
    assert!(!fs::read_to_string(home.path("home/journal.jsonl")).unwrap().contains(encoded));
    assert!(!home.run(&["invite", "--list", "--json"]).contains(encoded));
}

#[test]
fn invitations_are_listed_and_taken_back() {
    let home = Home::new();
    assert_eq!(home.run(&["invite", "--list"]), "No invitations.\n");
    let gateway = ["invite", "gw", "--server", "--dns", "localhost", "--uses", "3"];
    let invited = json(&home, &gateway);
    home.run(&["invite", "build-7", "--expires", "1h"]);
    let shown = list(&home);
    assert_eq!(shown.len(), 2);
    assert_eq!(text(&shown[0], "id"), text(&invited, "id"));
    assert_eq!((text(&shown[0], "usage"), text(&shown[0], "state")), ("server", "open"));
    let id = text(&invited, "id");
    let withdrawn = home.run(&["invite", "--withdraw", id]);
    assert!(withdrawn.starts_with(&format!("Invitation {id} of ")), "{withdrawn}");
    assert!(withdrawn.contains("is withdrawn"), "{withdrawn}");
    assert_eq!(text(&list(&home)[0], "state"), "withdrawn");
    let audit = home.run(&["audit"]);
    assert!(audit.contains(&format!("invited spiffe://acme.example/gw ({id}) for 10m")), "{audit}");
    assert!(audit.contains(&format!("withdrew invitation {id}")), "{audit}");
    home.run(&["audit", "--verify"]);
}

#[test]
fn what_cannot_be_promised_is_refused_with_the_reason() {
    let home = Home::new();
    for (arguments, code, expected) in [
        (&["invite"][..], 2, "NAME"),
        (&["invite", "a", "--uses", "0"], 1, "1 to 1000 devices"),
        (&["invite", "a", "--expires", "31d"], 1, "at most 30d"),
        (&["invite", "a", "--ttl", "91d"], 1, "longer than the 90d"),
        (&["invite", "a", "--server"], 1, "--dns NAME or --ip ADDRESS"),
        (&["invite", "a", "--address", "nowhere"], 2, "HOST:PORT"),
        (&["invite", "a", "--role", "none"], 1, "knows no role none"),
        (&["invite", "--withdraw", "0123456789abcdef"], 1, "vouchsafe invite --list"),
    ] {
        let (ended, _, said) = run(&home, arguments);
        assert_eq!(ended, code, "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert!(list(&home).is_empty());
}

#[test]
fn a_revoked_device_has_no_open_invitation_left() {
    let home = Home::new();
    home.run(&["invite", "build-7"]);
    home.run(&["invite", "build-8"]);
    let revoked = home.run(&["revoke", "build-7"]);
    assert!(revoked.contains("Revoked spiffe://acme.example/build-7"), "{revoked}");
    for view in list(&home) {
        let is_revoked = text(&view, "principal").ends_with("build-7");
        assert_eq!(text(&view, "state"), if is_revoked { "withdrawn" } else { "open" });
    }
    let (code, _, said) = run(&home, &["invite", "build-7"]);
    assert_eq!(code, 1);
    assert!(said.contains("is revoked") && said.contains("--reinstate"), "{said}");
}

#[test]
fn a_limit_binds_operators_as_well_until_it_is_lifted() {
    let home = Home::new();
    let limited = home.run(&["limit", "build-7", "--allow", "tools:search"]);
    assert!(limited.contains("from its next certificate on: tools:search"), "{limited}");
    assert!(home.run(&["limit", "build-7", "--allow", "tools:search"]).contains("nothing to do"));
    let (code, _, said) = run(&home, &["issue", "build-7", "--allow", "tools:delete"]);
    assert_eq!(code, 1);
    assert!(said.contains("tools:delete lies beyond its limit"), "{said}");
    home.run(&["issue", "build-7", "--allow", "tools:search"]);
    assert!(home.run(&["limit", "build-7", "--lift"]).contains("Lifted the limit"));
    home.run(&["issue", "build-7", "--allow", "tools:delete", "--force"]);
    assert!(home.run(&["limit", "build-7"]).contains("has no limit"));
    home.run(&["limit", "build-7", "--nothing"]);
    assert!(home.run(&["limit", "build-7"]).contains("may do at most: nothing"));
    let (code, _, said) = run(&home, &["limit", "build-7", "--nothing", "--lift"]);
    assert_eq!(code, 2, "{said}");
    home.run(&["audit", "--verify"]);
}

#[test]
fn everything_so_far_is_revoked_in_one_act() {
    let home = Home::new();
    home.run(&["issue", "a"]);
    home.run(&["issue", "b"]);
    home.run(&["invite", "c"]);
    let (code, _, said) = run(&home, &["revoke", "--issued-before", "2999-01-01T00:00:00Z"]);
    assert_eq!(code, 1);
    assert!(said.contains("still to come"), "{said}");
    let (code, _, said) = run(&home, &["revoke", "--issued-before", "yesterday"]);
    assert_eq!(code, 2);
    assert!(said.contains("2026-11-20T12:00:00Z"), "{said}");
    let none = home.run(&["revoke", "--issued-before", "2026-01-01T00:00:00Z"]);
    assert!(none.contains(": 0 certificates, 0 invitations"), "{none}");
    let one = home.run(&["revoke", "--issued-before", "now", "--principal", "a"]);
    assert!(one.contains("of spiffe://acme.example/a issued before"), "{one}");
    assert!(one.contains(": 1 certificate, 0 invitations"), "{one}");
    let rest = json(&home, &["revoke", "--issued-before", "now", "--reason", "keyCompromise"]);
    // The operator that `init` has issued is among them, and a graver reason is news for `a`.
    assert_eq!(rest.get("revoked").and_then(Value::as_u64), Some(3));
    assert_eq!(rest.get("withdrawn").and_then(Value::as_u64), Some(1));
    assert_eq!(home.run(&["list", "--active"]), "No certificates.\n");
    // The devices are not revoked: they may have new ones.
    home.run(&["issue", "a", "--force"]);
    home.run(&["audit", "--verify"]);
}

#[test]
fn an_operator_invites_limits_and_revokes_by_date_as_far_as_its_certificate_says() {
    const OPERATOR: &str = "home/operator";
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let mut issue = vec!["issue", "lead-a", "--out", "lead"];
    for permission in ["tools:*", "ca:invite:team-a/*", "ca:limit:team-a/*", "ca:revoke:team-a/*"] {
        issue.extend(["--allow", permission]);
    }
    ca.told(OPERATOR, &issue);
    ca.told(OPERATOR, &["invite", "team-b/x"]);
    let elsewhere = list_of(&ca, OPERATOR);

    let line = ca.told("lead", &["invite", "team-a/x", "--allow", "tools:search"]);
    assert!(line.starts_with("vouchsafe-invitation-1.") && line.lines().count() == 1, "{line}");
    // Only what is theirs is shown.
    let shown = list_of(&ca, "lead");
    assert_eq!(shown.len(), 1);
    assert!(text(&shown[0], "principal").ends_with("/team-a/x"));
    let (own, other) = (text(&shown[0], "id"), text(&elsewhere[0], "id"));
    for (arguments, missing) in [
        (&["invite", "team-b/y"][..], "lacks the permission ca:invite:team-b/y"),
        (&["invite", "team-a/y", "--allow", "resources:x"], "cannot grant resources:x"),
        (
            &["invite", "team-a/gw", "--server", "--dns", "gw.example"],
            "lacks the permission ca:dns:gw.example",
        ),
        (&["invite", "--withdraw", other], "knows no invitation"),
        (&["limit", "team-b/x"], "lacks the permission ca:limit:team-b/x"),
        (&["limit", "team-a/x", "--lift"], "cannot grant *:*"),
        (&["revoke", "--issued-before", "now"], "lacks the permission ca:revoke:*"),
        (
            &["revoke", "--issued-before", "now", "--principal", "team-b/x"],
            "lacks the permission ca:revoke:team-b/x",
        ),
    ] {
        let refused = ca.refused("lead", arguments);
        assert!(refused.contains(missing), "{arguments:?}: {refused}");
    }
    assert_eq!(list_of(&ca, OPERATOR).len(), 2);

    ca.told("lead", &["limit", "team-a/x", "--allow", "tools:search"]);
    assert!(ca.told("lead", &["limit", "team-a/x"]).contains("may do at most: tools:search"));
    assert!(ca.told("lead", &["invite", "--withdraw", own]).contains("is withdrawn"));
    let swept = ca.json(
        "lead",
        &["revoke", "--issued-before", "now", "--principal", "team-a/x", "--reason", "superseded"],
    );
    assert_eq!(text(&swept, "reason"), "superseded");
    let journal = ca.told(OPERATOR, &["audit"]);
    let by_lead = |what: &str| {
        let line =
            journal.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}"));
        assert!(line.contains("  lead-a  "), "{line}");
    };
    by_lead("invited spiffe://acme.example/team-a/x");
    by_lead("limited device spiffe://acme.example/team-a/x to: tools:search");
    by_lead(&format!("withdrew invitation {own}"));

    // What a revoked operator has left behind is worth nothing.
    ca.told("lead", &["invite", "team-a/z"]);
    ca.told(OPERATOR, &["revoke", "lead-a"]);
    let left = list_of(&ca, OPERATOR);
    let left = left.iter().find(|view| text(view, "principal").ends_with("/team-a/z")).unwrap();
    assert_eq!(text(left, "state"), "void");
}

#[test]
fn whoever_revokes_everything_is_cut_as_well_and_told_what_that_means() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let cut = ca.ask("home/operator", &["revoke", "--issued-before", "now"]);
    // Which is faster, the answer or the cut, is not settled.
    if !cut.status.success() {
        let said = String::from_utf8(cut.stderr).unwrap();
        assert!(said.contains("it is done"), "{said}");
    }
    let refused = ca.refused("home/operator", &["list"]);
    assert!(refused.contains("its certificate is revoked"), "{refused}");
    drop(ca);
    // Only the service's own, which it has replaced if there was time, is left.
    assert!(!home.run(&["list", "--active"]).contains("operator"));
    home.run(&["audit", "--verify"]);
}

fn list_of(ca: &Served<'_>, operator: &str) -> Vec<Value> {
    ca.json(operator, &["invite", "--list"]).as_array().unwrap().clone()
}
