//! What one principal may use up at a gateway: one is limited, over all of its sessions, and the other
//! does not notice.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
mod serving;

use std::time::{Duration, Instant};

use home::{Home, VOUCHSAFE};
use rustix::process::Signal;
use serde_json::{Value, json};
use serving::{Serving, Talk, replace};

/// A CA, a gateway's identity, and two agents who may do the same.
fn cast() -> Home {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--ip", "127.0.0.1"]);
    for agent in ["team/busy", "team/quiet"] {
        let out = agent.split_once('/').unwrap().1;
        home.run(&["issue", agent, "--allow", "tools:*", "--out", out]);
    }
    home
}

fn note() -> Value {
    json!({"title": "launch plan"})
}

const TEXT: &str = "We launch on the first of May.";

/// One call: how long its caller is to wait, if it was refused for that.
fn calls(talk: &mut Talk) -> Option<Duration> {
    let answer = talk.asks("tools/call", &json!({"name": "read_note", "arguments": note()}));
    if answer["result"]["content"][0]["text"] == TEXT {
        return None;
    }
    let error = &answer["error"];
    assert_eq!(error["code"], 429, "{answer}");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("Refused: too many requests"), "{answer}");
    Some(Duration::from_millis(error["data"]["retryAfterMs"].as_u64().unwrap()))
}

/// Calls until one is refused, and says how many were not.
fn calls_until_refused(talk: &mut Talk) -> (usize, Duration) {
    let mut passed = 0;
    loop {
        match calls(talk) {
            None => passed += 1,
            Some(wait) => return (passed, wait),
        }
        assert!(passed < 100, "nothing is limited");
    }
}

#[test]
fn one_is_limited_over_all_its_sessions_and_the_other_unharmed() {
    let home = cast();
    replace(
        &home.path("limits.toml"),
        b"[principals.\"team/busy\"]\nrequests-per-second = 0.5\nburst = 6\n",
    );
    let serving = Serving::notes(&home, &["--limits", "limits.toml", "--audit", "audit.jsonl"]);
    // Each has spent one on `initialize`.
    let mut first = Talk::with(&home, &serving.address, "busy");
    let mut second = Talk::with(&home, &serving.address, "busy");
    let mut quiet = Talk::with(&home, &serving.address, "quiet");
    let (passed, wait) = calls_until_refused(&mut first);
    assert!((1..6).contains(&passed), "{passed}");
    assert!(wait <= Duration::from_secs(2) && !wait.is_zero(), "{wait:?}");
    // What is refused takes nothing, whichever session asks; and the other goes on.
    let others = (0..300).filter(|_| calls(&mut second).is_some()).count();
    assert!((290..=300).contains(&others), "{others}");
    assert!((0..100).all(|_| calls(&mut quiet).is_none()));
    // Whoever waits as long as it was told is let in.
    std::thread::sleep(calls_until_refused(&mut first).1);
    assert_eq!(calls(&mut first), None);
    // A flood does not flood the audit, and nothing of it is lost.
    assert!(serving.stops(Signal::TERM).0.success());
    let audit = std::fs::read_to_string(home.path("audit.jsonl")).unwrap();
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let limited: Vec<_> = events.filter(|event| event["event"] == "limited").collect();
    assert!(limited.iter().all(|event| event["principal"] == "spiffe://acme.example/team/busy"));
    let summed = limited.iter().filter_map(|event| {
        event["reason"].as_str().unwrap().strip_suffix(" further times within a second")
    });
    let further: usize = summed.clone().map(|times| times.parse::<usize>().unwrap()).sum();
    let told = limited.len() - summed.count();
    assert!(told + further >= others, "{told} {further} {others}");
    assert!(further > 0, "{limited:?}");
}

#[test]
fn limits_change_while_sessions_go_on_and_a_broken_file_changes_nothing() {
    let home = cast();
    let file = home.path("limits.toml");
    replace(&file, b"[principals.\"team/*\"]\nrequests-per-second = 0.01\nburst = 4\n");
    let serving = Serving::notes(&home, &["--limits", "limits.toml"]);
    let mut busy = Talk::with(&home, &serving.address, "busy");
    assert_eq!(calls_until_refused(&mut busy).0, 3);
    let broken = b"[principals.\"team/*\"]\nrequests-per-second = 1000\nbusrt = 4\n";
    replace(&file, broken);
    let (at, warning) = serving.says.wait_for(0, "WARNING: the limits in limits.toml");
    assert!(
        warning.contains("line 3: unknown key `busrt`, expected one of `requests-per-second`"),
        "{warning}"
    );
    assert!(warning.ends_with("; those in force stay"), "{warning}");
    assert!(calls(&mut busy).is_some());
    replace(&file, b"[principals.\"team/*\"]\nrequests-per-second = 1000\nsessions = 1\n");
    serving.says.wait_for(at, "limits in limits.toml in force");
    // The session is the same one, and its limit another.
    assert!((0..50).all(|_| calls(&mut busy).is_none()));
    let refused = Talk::begin(&home, &serving.address, "busy", &[]).ended();
    assert!(refused.1.contains("this principal has too many sessions open"), "{}", refused.1);
    busy.leaves();
    Talk::with(&home, &serving.address, "quiet").leaves();
}

#[test]
fn too_many_octets_are_held_up_and_nothing_is_lost() {
    let home = cast();
    replace(
        &home.path("limits.toml"),
        b"[principals.\"team/busy\"]\noctets-per-second = 100_000\n",
    );
    let serving = Serving::notes(&home, &["--limits", "limits.toml"]);
    // There and back, each call is some 120,000 octets.
    let long = json!({"title": "x".repeat(60_000)});
    let echo = format!("there is no note \"{}\"", "x".repeat(60_000));
    let took = |agent: &str| {
        let mut talk = Talk::with(&home, &serving.address, agent);
        let begun = Instant::now();
        for _ in 0..3 {
            assert!(talk.calls("read_note", &long) == echo);
        }
        begun.elapsed()
    };
    // Of 360,000 octets the last answer waits for those before it, less those of one second.
    let (slow, fast) = (took("busy"), took("quiet"));
    assert!(slow >= Duration::from_millis(1_900), "{slow:?}");
    assert!(fast < slow, "{fast:?} {slow:?}");
}

#[test]
fn requests_in_flight_are_counted_over_all_sessions() {
    let home = cast();
    // A server that never answers.
    let flags = ["--max-in-flight-per-principal", "2"];
    let serving = Serving::start(&home, &flags, &["sh", "-c", "cat >/dev/null"]);
    let begin = |agent| Talk::begin(&home, &serving.address, agent, &[]);
    let call = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "x"}});
    let (mut first, mut second, mut quiet) = (begin("busy"), begin("busy"), begin("quiet"));
    for talk in [&mut first, &mut quiet] {
        talk.says(&call(1));
        talk.says(&call(2));
        talk.says(&call(3));
        let (_, refused) = talk.hears.wait_for(0, "429");
        assert!(
            refused.contains("\"id\":3") && refused.contains("\"retryAfterMs\":1000"),
            "{refused}"
        );
    }
    second.says(&call(1));
    second.hears.wait_for(0, "429");
}

#[test]
fn limits_for_everybody_are_flags() {
    let home = cast();
    let flags = ["--max-requests-per-second", "0.01", "--burst", "3"];
    let serving = Serving::notes(&home, &flags);
    for agent in ["busy", "quiet"] {
        let mut talk = Talk::with(&home, &serving.address, agent);
        assert_eq!(calls_until_refused(&mut talk).0, 2);
    }
    for (flags, expected) in [
        (&["--burst", "3"][..], "--max-requests-per-second <N>"),
        (&["--max-requests-per-second", "0"], "between 0.001 and 1,000,000"),
        (&["--max-octets-per-second", "0"], "number would be zero"),
        (&["--limits", "nothing.toml"], "the limits in nothing.toml are not taken: No such file"),
    ] {
        let serve = [&["serve", "--identity", "gw"], flags, &["--", "true"]].concat();
        let output = home.command(VOUCHSAFE).args(&serve).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{flags:?}: {said}");
    }
}
