//! The CA as a service, asked from elsewhere: the same commands, the same answers, and nobody does
//! more than their certificate says.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
mod served;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use home::Home;
use lines::Lines;
use rustix::process::Signal;
use served::{Served, asking};
use vouchsafe_ca::file::{self, Access};
use vouchsafe_tests::is_installed;

const OPERATOR: &str = "home/operator";

#[test]
fn every_verb_answers_from_elsewhere_as_it_does_at_home() {
    let home = Home::new();
    home.run(&["issue", "team-a/build-7", "--allow", "tools:search", "--out", "agent"]);
    home.run(&["revoke", "team-a/build-7", "--reason", "superseded"]);
    let mut at_home = Vec::new();
    let verbs: [&[&str]; 5] = [
        &["list", "--revoked"],
        &["list", "--principal", "team-a/build-7", "--json"],
        &["inspect", "agent"],
        &["inspect", "agent", "--json"],
        &["revoke", "team-a/build-7"],
    ];
    // Columns move as the seconds go by.
    let without_times = |text: String| {
        let text = text.replace(char::is_numeric, "").replace("seconds", "second");
        let text =
            text.replace("revoked now", "revoked second ago").replace("(now)", "( second ago)");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for verb in verbs {
        // Where the home is concerns nobody elsewhere.
        let here = home.path("home").display().to_string();
        at_home.push(without_times(home.run(verb).replace(&here, "HOME")));
    }
    let journal = home.run(&["audit", "--json"]);
    let ca = Served::start(&home, &[]);
    for (verb, here) in verbs.iter().zip(at_home) {
        assert_eq!(without_times(ca.told(OPERATOR, verb)), here, "{verb:?}");
    }
    // The journal is the same, octet for octet, and longer by the service's own certificate.
    let elsewhere = ca.told(OPERATOR, &["audit", "--json"]);
    assert!(elsewhere.starts_with(&journal) && elsewhere.len() > journal.len());
    assert!(ca.told(OPERATOR, &["audit", "--verify"]).starts_with("The history is whole"));
}

#[test]
fn a_certificate_is_issued_and_taken_back_over_the_network_and_the_journal_says_by_whom() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let issue =
        ["issue", "team-a/build-7", "--allow", "tools:search", "--ttl", "1h", "--out", "agent"];
    let issued = ca.json(OPERATOR, &issue);
    assert_eq!(issued["permissions"][0], "tools:search");
    // The key was made here and stayed here.
    assert!(fs::read_to_string(home.path("agent/key.pem")).unwrap().contains("PRIVATE KEY"));
    let serial = issued["serial"].as_str().unwrap();
    assert_eq!(ca.json(OPERATOR, &["inspect", serial])["status"], "valid");

    let revoked = ca.json(OPERATOR, &["revoke", "agent/certificate.pem"]);
    assert_eq!((&revoked["changed"], &revoked["serial"]), (&true.into(), &serial.into()));
    assert_eq!(ca.json(OPERATOR, &["inspect", "agent"])["status"], "revoked");
    let list = ca.told(OPERATOR, &["crl", "--out", "copy.pem"]);
    assert!(list.contains("1 certificate"), "{list}");
    assert!(fs::read_to_string(home.path("copy.pem")).unwrap().contains("X509 CRL"));

    let refused = ca.refused("agent", &["list"]);
    assert!(refused.contains("its certificate is revoked"), "{refused}");
    let history = ca.told(OPERATOR, &["audit"]);
    let who = |what: &str| {
        let line = history.lines().find(|line| line.contains(what)).unwrap();
        assert!(line.contains("  operator  "), "{line}");
    };
    who(&format!("issued {serial}"));
    who("revoked certificate");
}

#[test]
fn an_operator_reaches_as_far_as_its_certificate_says() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let allow = ["tools:*", "ca:issue:team-a/*", "ca:list:team-a/*", "ca:revoke:team-a/*"];
    let mut issue = vec!["issue", "lead-a", "--out", "lead"];
    issue.extend(allow.iter().flat_map(|permission| ["--allow", permission]));
    ca.told(OPERATOR, &issue);
    ca.told(OPERATOR, &["issue", "team-b/x", "--out", "b"]);

    ca.told("lead", &["issue", "team-a/x", "--allow", "tools:search", "--out", "a"]);
    let names = ca.told("lead", &["list"]);
    assert!(
        names.contains("team-a/x") && !names.contains("team-b/x") && !names.contains("operator")
    );
    for (arguments, missing) in [
        (&["issue", "team-b/y"][..], "lacks the permission ca:issue:team-b/y"),
        (
            &["issue", "team-a/y", "--allow", "resources:x"],
            "cannot grant resources:x, which it does not hold",
        ),
        (&["issue", "team-a/y", "--allow", "*"], "cannot grant *:*, which it does not hold"),
        (
            &["issue", "team-a/gw", "--server", "--dns", "gw.example"],
            "lacks the permission ca:dns:gw.example",
        ),
        (&["revoke", "team-b/x"], "lacks the permission ca:revoke:team-b/x"),
        (&["revoke", "b/certificate.pem"], "this CA has not issued it"),
        (&["revoke", "team-a/x", "--reinstate"], "lacks the permission ca:reinstate:team-a/x"),
        (&["list", "--principal", "team-b/x"], "lacks the permission ca:list:team-b/x"),
        (&["inspect", "b"], "lacks the permission ca:inspect:"),
        (&["audit"], "lacks the permission ca:audit"),
        (&["crl"], "lacks the permission ca:crl"),
    ] {
        let refused = ca.refused("lead", arguments);
        assert!(refused.contains(missing), "{arguments:?}: {refused}");
    }
    // Nothing of it happened.
    assert_eq!(ca.json(OPERATOR, &["list", "--active"]).as_array().unwrap().len(), 5);
    ca.told("lead", &["revoke", "team-a/x"]);
}

#[test]
fn what_lies_beyond_an_operators_scope_is_as_if_it_were_not_there() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let mut issue = vec!["issue", "lead-a", "--out", "lead"];
    for permission in ["tools:*", "ca:revoke:team-a/*", "ca:inspect:team-a/*", "ca:invite:team-a/*"]
    {
        issue.extend(["--allow", permission]);
    }
    ca.told(OPERATOR, &issue);
    let theirs = ca.json(OPERATOR, &["issue", "team-b/x", "--out", "b"]);
    let other = Home::new();
    other.run(&["issue", "team-b/x", "--out", "b"]);
    let foreign = other.path("b/certificate.pem").display().to_string();
    let invited = ca.json(OPERATOR, &["invite", "team-b/y"]);
    let text = |member: &str| theirs[member].as_str().unwrap().to_owned();
    let colons = |hex: String| {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.collect::<Vec<_>>().join(":")
    };
    // Whatever there is, and whatever is not: the same answer but for what was asked.
    let is_the_same = |verb: &[&str], there: &str, not_there: &str| {
        let [known, unknown] = [there, not_there].map(|what| {
            let said = ca.refused("lead", &[verb, &[what]].concat());
            let said = said.replace(&what.replace(':', ""), "THIS");
            said.replace(what.trim_start_matches("spiffe://acme.example/"), "THIS")
        });
        assert_eq!(known, unknown, "{verb:?}");
        assert!(!known.contains("team-b/x"), "{known}");
    };
    let (serial, fingerprint) = (text("serial"), text("fingerprint"));
    let (no_serial, no_fingerprint) = ("4f".repeat(16), "4f".repeat(32));
    is_the_same(&["revoke"], "team-b/x", "team-b/z");
    is_the_same(&["revoke"], "spiffe://acme.example/team-b/x", "spiffe://acme.example/team-b/z");
    is_the_same(&["revoke"], &serial, &no_serial);
    is_the_same(&["revoke"], &fingerprint, &no_fingerprint);
    is_the_same(&["revoke"], &colons(serial.clone()), &colons(no_serial.clone()));
    is_the_same(&["revoke"], &colons(fingerprint), &colons(no_fingerprint));
    is_the_same(&["revoke"], "b/certificate.pem", &foreign);
    is_the_same(&["inspect"], &serial, &no_serial);
    is_the_same(&["invite", "--withdraw"], invited["id"].as_str().unwrap(), "0123456789abcdef");
    let shown = ca.told("lead", &["inspect", "b"]);
    assert!(shown.contains("the CA shows you none like it"), "{shown}");
    assert!(ca.told("lead", &["inspect", &foreign]).contains("the CA shows you none like it"));
    assert_eq!(ca.json(OPERATOR, &["inspect", "b"])["status"], "valid");
}

#[test]
fn a_gateway_with_the_cas_host_name_is_not_taken_for_the_ca() {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
    assert_is_not_the_ca(&home, "gw", "spiffe://acme.example/gw");
    // Nor is the CA of another trust domain, whose root the operator trusts as well.
    home.run(&["--home", "other", "init", "--trust-domain", "other.example"]);
    let issue = ["--home", "other", "issue", "ca", "--server", "--dns", "localhost"];
    home.run(&[&issue[..], &["--ip", "127.0.0.1"]].concat());
    let roots = ["home", "other"].map(|of| home.path(of).join("roots.pem"));
    let roots = roots.map(|path| fs::read_to_string(path).unwrap()).concat();
    for identity in [OPERATOR, "ca"] {
        let path = home.path(identity).join("roots.pem");
        file::replace(&path, roots.as_bytes(), Access::Public).unwrap();
    }
    assert_is_not_the_ca(&home, "ca", "spiffe://other.example/ca");
}

/// An operator does not ask a gateway with this identity for anything.
fn assert_is_not_the_ca(home: &Home, identity: &str, principal: &str) {
    let mut gateway = home.command(home::VOUCHSAFE);
    gateway.args(["serve", "--identity", identity, "--listen", "127.0.0.1:0", "--", "cat"]);
    let mut gateway = gateway.stdout(Stdio::null()).spawn().unwrap();
    let says = Lines::follow(gateway.stderr.take().unwrap());
    let address = says.wait_for(0, "listening on ").1.split(' ').nth(2).unwrap().to_owned();
    // It would acknowledge what nobody has done.
    let asked = asking(home, &address, OPERATOR, &["revoke", "gw"]).output().unwrap();
    let said = String::from_utf8(asked.stderr).unwrap();
    assert!(said.contains(&format!("the server there is {principal}, not the CA")), "{said}");
    assert_eq!(asked.status.code(), Some(1));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}

#[test]
fn where_the_home_is_concerns_nobody_elsewhere() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["issue", "a"]);
    let place = home.path("home").display().to_string();
    for arguments in [&["revoke", "a"][..], &["revoke", "a", "--reinstate"], &["crl"]] {
        let said = ca.told(OPERATOR, arguments);
        assert!(said.contains("HOME/crl.pem") && !said.contains(&place), "{said}");
    }
    fs::rename(home.path("home/root.key"), home.path("away")).unwrap();
    let said = ca.refused(OPERATOR, &["rotate", "issuer"]);
    assert!(said.contains("(HOME/root.key)") && !said.contains(&place), "{said}");
}

#[test]
fn an_agent_that_may_use_every_tool_of_others_is_no_operator() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["issue", "agent", "--allow", "tools:*", "--allow", "resources:*"]);
    for arguments in
        [&["issue", "other"][..], &["list"], &["revoke", "agent"], &["audit"], &["crl"]]
    {
        let refused = ca.refused("agent", arguments);
        assert!(refused.contains("lacks the permission ca:"), "{refused}");
    }
    ca.told(OPERATOR, &["issue", "plain", "--allow", "resources:*"]);
    let refused = ca.refused("plain", &["list"]);
    assert!(
        refused.contains("tools:list"),
        "the gateway says which permission it wants: {refused}"
    );
}

#[test]
fn to_an_mcp_client_the_verbs_are_tools_that_answer_in_words() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["issue", "reader", "--allow", "tools:list", "--allow", "ca:list:*"]);
    let as_client = |identity: &str, verb: &str, arguments: &[&str]| {
        let mut command = home.command(home::VOUCHSAFE);
        let output = command
            .args([verb, &ca.operators, "--identity", identity])
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    // Listed is what can be called.
    let (_, tools) = as_client("reader", "tools", &[]);
    assert_eq!(tools.lines().count(), 2, "{tools}");
    let (_, tools) = as_client(OPERATOR, "tools", &[]);
    assert!(["issue ", "invite ", "revoke ", "audit "].iter().all(|verb| tools.contains(verb)));
    let (code, table) = as_client("reader", "call", &["list"]);
    assert_eq!(code, Some(0));
    assert!(table.starts_with("NAME ") && table.contains("\nreader "), "{table}");
    let (_, refused) = as_client("reader", "call", &["revoke", r#"{"what": "reader"}"#]);
    assert!(refused.contains("tools:revoke"), "{refused}");
    // A question that is not understood is not half answered.
    for question in [r#"{"what": "reader", "force": true}"#, r#"{"what": 7}"#, "{}"] {
        let (code, refused) = as_client(OPERATOR, "call", &["revoke", question]);
        assert_eq!(code, Some(1));
        assert!(refused.contains("the arguments are not understood"), "{refused}");
    }
    assert_eq!(ca.json(OPERATOR, &["list", "--revoked"]).as_array().unwrap().len(), 0);
}

#[test]
fn the_service_ends_in_good_order_and_begins_again() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["issue", "a"]);
    // The home is in use; the error says how to ask the one who has it.
    let busy = home.command(home::VOUCHSAFE).args(["issue", "b"]).output().unwrap();
    let busy = String::from_utf8(busy.stderr).unwrap();
    assert!(busy.contains("vouchsafe ca") && busy.contains("--ca"), "{busy}");
    let (status, _) = ca.stops(Signal::TERM);
    assert!(status.success());
    assert!(home.run(&["list"]).contains("\na "));
    let ca = Served::start(&home, &[]);
    assert!(ca.told(OPERATOR, &["list"]).contains("\na "));
}

#[test]
fn everybody_finds_the_roots_and_the_lists_without_a_certificate() {
    if !is_installed("curl") {
        return;
    }
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    ca.told(OPERATOR, &["issue", "a"]);
    let root = home.path("home/root.pem");
    let url = |path: &str| format!("https://localhost:{}{path}", port(&ca.everybody));
    let get = |path: &str| {
        let mut curl = home.command("curl");
        curl.args(["-sS", "--fail", "--noproxy", "*", "--cacert"]).arg(&root).arg(url(path));
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(get("/roots.pem"), fs::read_to_string(&root).unwrap());
    let before = get("/crl.pem");
    ca.told(OPERATOR, &["revoke", "a"]);
    let after = get("/crl.pem");
    assert_ne!(before, after);
    assert_eq!(after, fs::read_to_string(home.path("home/crl.pem")).unwrap());
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[test]
fn systemd_is_told_when_it_serves() {
    let home = Home::new();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(lines::PATIENCE)).unwrap();
    let mut command = home.command(home::VOUCHSAFE);
    command.env("NOTIFY_SOCKET", home.path("notify"));
    let _ca = Served::run(&home, command, &[]);
    let mut told = [0; 16];
    let len = manager.recv(&mut told).unwrap();
    assert_eq!(told.get(..len), Some(&b"READY=1"[..]));
}
