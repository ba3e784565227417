//! A running gateway and the revocation list that it follows: what it takes, what it does not, and
//! what becomes of the sessions meanwhile.
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
use std::time::{Duration, Instant};

use home::{Home, VOUCHSAFE};
use rustix::process::Signal;
use serde_json::json;
use serving::{Serving, Talk, replace};

/// A gateway that follows `list.pem`, and an agent in mid-session.
struct Scene {
    home: Home,
    serving: Serving,
    talk: Talk,
    /// The lines of the gateway that have been read.
    read: usize,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> Self {
        let home = Home::new();
        home.run(&["issue", "gw", "--server", "--ip", "127.0.0.1"]);
        home.run(&["issue", "a", "--allow", "tools:*"]);
        home.run(&["issue", "stolen", "--allow", "tools:*"]);
        fs::copy(home.path("home/crl.pem"), home.path("list.pem")).unwrap();
        let serving = Serving::notes(&home, &[&["--crl", "list.pem"], options].concat());
        let talk = Talk::with(&home, &serving.address, "a");
        Self { home, serving, talk, read: 0 }
    }

    /// The CA's current list.
    fn current(&self) -> Vec<u8> {
        fs::read(self.home.path("home/crl.pem")).unwrap()
    }

    fn offers(&self, list: &[u8]) {
        replace(&self.home.path("list.pem"), list);
    }

    /// What the gateway says of the list next.
    fn hears(&mut self, text: &str) -> String {
        let (at, line) = self.serving.says.wait_for(self.read, text);
        self.read = at + 1;
        line
    }

    /// Two things that are said by two threads, in whichever order.
    fn hears_both(&mut self, one: &str, other: &str) -> (String, String) {
        let one = self.serving.says.wait_for(self.read, one);
        let other = self.serving.says.wait_for(self.read, other);
        self.read = one.0.max(other.0) + 1;
        (one.1, other.1)
    }

    fn is_served(&mut self) {
        assert_eq!(self.talk.calls("search_notes", &json!({"text": "May"})), "launch plan");
    }

    /// How a new session of an agent ends, or that it does not.
    fn asks_as(&self, agent: &str) -> (bool, String) {
        let arguments = ["tools", &self.serving.address, "--identity", agent];
        let output = self.home.command(VOUCHSAFE).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }
}

const REVOKED: &str = "error: the gateway refused this identity: its certificate is revoked\n";

#[test]
fn older_and_foreign_lists_are_ignored_and_said() {
    let mut scene = Scene::new();
    let older = scene.current();
    assert!(scene.asks_as("stolen").0);
    scene.home.run(&["revoke", "stolen"]);
    let current = scene.current();
    scene.offers(&current);
    assert_eq!(scene.hears("in force"), "revocation list number 2 in force, 1 revoked");
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));

    let foreign = fs::read(Home::new().path("home/crl.pem")).unwrap();
    let text = String::from_utf8(current.clone()).unwrap();
    // One octet of the signature is another.
    let mut forged = current.clone();
    let octet = &mut forged[text.find("\n-----END X509 CRL").unwrap() - 12];
    *octet = if *octet == b'A' { b'B' } else { b'A' };
    let first = text.split_inclusive("-----END X509 CRL-----\n").next().unwrap();
    for (list, reason) in [
        (older, "its number 1 is lower than 2, the number of the list in force; its list in force"),
        (
            foreign.clone(),
            "the revocation list is by a CA that is not trusted here; the list in force",
        ),
        (forged, "the revocation list is not signed by the CA it names; the list in force"),
        (first.into(), "there is none in it; its list in force"),
        ([&current[..], &current].concat(), "it holds two lists of one issuer; the list in force"),
    ] {
        scene.offers(&list);
        let warned = scene.hears("WARNING: the revocation list in list.pem is not taken");
        assert!(warned.contains(&format!(": {reason} stays")), "{warned}");
        scene.is_served();
        assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));
    }
    // A list of a CA that is not trusted says nothing of anybody who could be let in.
    scene.home.run(&["revoke", "a"]);
    scene.offers(&[&scene.current()[..], &foreign].concat());
    assert_eq!(scene.hears("in force, "), "revocation list number 3 in force, 2 revoked");
    let (code, said) = scene.talk.ended();
    assert!(code == Some(1) && said.ends_with(REVOKED.trim_end()), "{said}");
}

#[test]
fn a_list_that_cannot_be_read_shuts_the_door_until_it_can() {
    let mut scene = Scene::new();
    let good = scene.current();
    let missing = "list.pem cannot be read: No such file or directory (os error 2)";
    let empty = "the revocation list in list.pem is not taken: there is no revocation list in it";
    let malformed = "the revocation list in list.pem is not taken: not an X.509 v2 revocation list";
    let text = String::from_utf8(good.clone()).unwrap();
    let cut = text[..text.len() / 4].to_owned() + "\n-----END X509 CRL-----\n";
    for (list, reason) in [
        (None, missing),
        (Some(&b"garbage"[..]), empty),
        (Some(b""), empty),
        (Some(cut.as_bytes()), malformed),
    ] {
        let begun = Instant::now();
        match list {
            None => fs::remove_file(scene.home.path("list.pem")).unwrap(),
            Some(list) => scene.offers(list),
        }
        let (warned, line) = scene.hears_both("WARNING", "\"event\":\"cut\"");
        // A moment's patience, for lists that are being copied.
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        let expected = format!("WARNING: {reason}; every session is closed until it can be read");
        assert_eq!(warned, expected);
        let reason = "\"reason\":\"the revocation list cannot be read\"";
        assert!(line.contains(reason), "{line}");
        let (served, refused) = scene.asks_as("a");
        let expected = "error: the gateway refused this identity: the gateway's operator finds the reason in its audit\n";
        assert_eq!((served, refused.as_str()), (false, expected));
        let line = scene.hears("\"event\":\"refused\"");
        assert!(line.contains(reason), "{line}");

        scene.offers(&good);
        assert_eq!(scene.hears(" in force, "), "revocation list number 1 in force, 0 revoked");
        scene.talk = Talk::with(&scene.home, &scene.serving.address, "a");
        scene.is_served();
    }
}

#[test]
fn a_list_that_is_missing_for_a_moment_disturbs_nobody() {
    let mut scene = Scene::new();
    scene.home.run(&["revoke", "stolen"]);
    fs::remove_file(scene.home.path("list.pem")).unwrap();
    scene.is_served();
    scene.offers(&scene.current());
    scene.hears("number 2 in force, ");
    scene.is_served();
    assert!(scene.asks_as("a").0);
    scene.talk.leaves();
    let (status, lines) = scene.serving.stops(Signal::TERM);
    assert!(status.success());
    assert!(!lines.iter().any(|line| line.contains("WARNING")), "{lines:#?}");
}

#[test]
fn a_gateway_told_to_goes_on_reading_while_its_list_is_stale() {
    let mut scene = Scene::with(&["--on-stale", "read-only", "--stale-allow", "tools:read_*"]);
    scene.is_served();
    let searching = json!({"text": "May"});
    let config = scene.home.path("home/ca.toml");
    let settled = fs::read_to_string(&config).unwrap();
    let list = settled.lines().find(|line| line.starts_with("list = ")).unwrap();
    replace(&config, settled.replace(list, "list = \"3s\"").as_bytes());
    scene.home.run(&["revoke", "stolen"]);
    scene.offers(&scene.current());
    scene.hears("number 2 in force");
    let begun = Instant::now();
    let mut answer = scene.talk.calls("search_notes", &searching);
    while answer == "launch plan" {
        assert!(begun.elapsed() < Duration::from_secs(20), "the list does not go stale");
        answer = scene.talk.calls("search_notes", &searching);
    }
    let suspended = "Refused: tools:search_notes is suspended while the revocation list is stale";
    assert_eq!(answer, suspended);
    let reading = json!({"title": "launch plan"});
    assert!(!scene.talk.calls("read_note", &reading).contains("suspended"));
    // Whoever comes now gets no more, and whoever the list names nothing.
    let mut late = Talk::with(&scene.home, &scene.serving.address, "a");
    assert_eq!(late.calls("search_notes", &searching), suspended);
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));

    replace(&config, settled.as_bytes());
    scene.home.run(&["crl"]);
    scene.offers(&scene.current());
    scene.hears("in force");
    scene.is_served();
    assert_eq!(late.calls("search_notes", &searching), "launch plan");
}
