//! What `serve` and `ca` give up before they begin.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of how gateways end, this needs a part")]
mod serving;

use home::Home;
use serving::{Serving, Talk};

/// An MCP server that tells on standard error what it could gain, and says nothing else.
const TELLING: [&str; 3] =
    ["sh", "-c", "grep -E 'NoNewPrivs|CapInh|CapAmb' /proc/self/status >&2; exec cat >/dev/null"];

/// A CA, a gateway's identity `gw`, and an agent `a`.
fn cast() -> Home {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
    home.run(&["issue", "a", "--allow", "tools:*"]);
    home
}

/// What a server behind such a gateway told of one of its privileges.
fn told(home: &Home, options: &[&str], of: &str) -> String {
    let serving = Serving::start(home, options, &TELLING);
    let mut talk = Talk::begin(home, &serving.address, "a", &[]);
    talk.says(&serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    let (_, line) = serving.says.wait_for(0, of);
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn a_server_inherits_no_privileges_and_can_gain_none() {
    let home = cast();
    assert_eq!(told(&home, &[], "NoNewPrivs"), "1");
    assert_eq!(told(&home, &[], "CapAmb"), "0000000000000000");
    assert_eq!(told(&home, &[], "CapInh"), "0000000000000000");
    // Somebody whose server needs sudo says so.
    assert_eq!(told(&home, &["--unconfined"], "NoNewPrivs"), "0");
}

#[test]
fn what_is_given_up_is_announced() {
    let home = cast();
    let announced = |options: &[&str], server: &[&str]| {
        let serving = Serving::start(&home, options, server);
        serving.says.wait_for(0, "confined    ").1
    };
    assert!(announced(&[], &["cat"]).contains("gains no privileges"));
    assert!(announced(&["--unconfined"], &["cat"]).contains("not: --unconfined"));
    let elsewhere = announced(&["--upstream", "tcp:127.0.0.1:9"], &[]);
    let expected = if std::fs::read_to_string("/sys/kernel/security/lsm")
        .is_ok_and(|all| all.contains("landlock"))
    {
        "starts no programs, writes "
    } else {
        // Where the system does not say, it may be any of the three.
        "confined    "
    };
    assert!(elsewhere.contains(expected), "{elsewhere}");
}
