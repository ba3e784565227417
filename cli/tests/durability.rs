//! What the CA has said stays true: after `kill -9` at any moment, and because nothing is said
//! before it is on disk.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lists;
mod strace;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod trace;

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use home::{Home, VOUCHSAFE};
use lists::Lists;
use serde_json::Value;
use trace::{Call, trace};

/// Issues and revocations, of which most are killed.
const ROUNDS: usize = 200;

/// Every so many commands, one is left alone.
const LEFT_ALONE: usize = 8;

/// When a command is killed at the latest, in percent of its usual run time.
const LATEST: u64 = 105;

/// A sequence that is the same every time (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

/// How a command ended.
enum End {
    /// By itself, with an answer.
    Finished(Value),
    /// Killed after it had answered.
    Answered(Value),
    /// Killed without an answer: whether it has done anything is open.
    Silent,
}

/// What keeps what a CA remembers: its name, and its file.
const STORES: [(&str, &str); 2] = [("sled", "/store/db>"), ("redb", "/store/redb>")];

/// What the CA has been asked, and what it has said.
struct Story<'a> {
    home: &'a Home,
    dice: Dice,
    /// Serial numbers that `issue` has answered.
    issued: Vec<String>,
    /// Those of them that nobody has answered to be revoked.
    live: Vec<String>,
    /// Serial numbers that `revoke` has answered.
    revoked: Vec<String>,
    /// How long a command takes that is left alone.
    usual: Duration,
    finished: usize,
    answered: usize,
    silent: usize,
}

impl<'a> Story<'a> {
    fn begin(home: &'a Home, seed: u64) -> Self {
        let mut story = Self {
            home,
            dice: Dice(seed),
            issued: vec![],
            live: vec![],
            revoked: vec![],
            usual: Duration::MAX,
            finished: 0,
            answered: 0,
            silent: 0,
        };
        let start = Instant::now();
        for name in ["first", "second", "third"] {
            let issued = json(home, &["issue", name]);
            story.remember_issue(&issued);
        }
        story.usual = start.elapsed() / 3;
        story
    }

    /// One command, and most probably its end.
    fn go_on(&mut self, round: usize) {
        let is_issue = self.live.is_empty() || self.dice.below(2) == 0;
        let (verb, what) = if is_issue {
            ("issue", format!("device-{round}"))
        } else {
            let nth = self.dice.below(u64::try_from(self.live.len()).unwrap());
            ("revoke", self.live[usize::try_from(nth).unwrap()].clone())
        };
        let mut command = self.home.command(VOUCHSAFE);
        let running = command.args([verb, &what, "--json"]).spawn().unwrap();
        let end = match round % LEFT_ALONE {
            0 => {
                let begun = Instant::now();
                let end = finish(running);
                self.usual = (self.usual + begun.elapsed()) / 2;
                end
            }
            _ => {
                sleep(self.moment());
                kill(running)
            }
        };
        let answer = match end {
            End::Finished(answer) => (self.finished += 1, answer).1,
            End::Answered(answer) => (self.answered += 1, answer).1,
            End::Silent => return self.silent += 1,
        };
        if is_issue {
            self.remember_issue(&answer);
        } else {
            self.live.retain(|serial| *serial != what);
            self.revoked.push(what);
        }
    }

    /// Any moment of a command's run time, the later ones more often: there it writes.
    fn moment(&mut self) -> Duration {
        let end = u64::try_from(self.usual.as_micros()).unwrap() * LATEST / 100;
        Duration::from_micros(self.dice.below(end).max(self.dice.below(end)))
    }

    fn remember_issue(&mut self, answer: &Value) {
        let serial = answer["serial"].as_str().unwrap();
        self.issued.push(serial.to_owned());
        self.live.push(serial.to_owned());
    }
}

fn json(home: &Home, arguments: &[&str]) -> Value {
    serde_json::from_str(&home.run(&[arguments, &["--json"]].concat())).unwrap()
}

fn finish(running: Child) -> End {
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    End::Finished(serde_json::from_slice(&output.stdout).unwrap())
}

/// The answer counts as soon as all of it can be read, whether or not the command lives to end well.
fn kill(mut running: Child) -> End {
    running.kill().unwrap();
    let output = running.wait_with_output().unwrap();
    let answer = serde_json::from_slice(&output.stdout).ok();
    match (output.status.code(), answer) {
        (Some(0), Some(answer)) => End::Finished(answer),
        (None, Some(answer)) => End::Answered(answer),
        (None, None) => End::Silent,
        (code, _) => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn nothing_that_was_answered_is_lost_however_the_ca_is_killed() {
    survive(&Home::new());
}

#[test]
fn nothing_that_was_answered_is_lost_however_a_ca_on_redb_is_killed() {
    survive(&Home::with(&["--store", "redb"]));
}

fn survive(home: &Home) {
    let lists = Lists::watch(home);
    let mut story = Story::begin(home, 2);
    for round in 0..ROUNDS {
        story.go_on(round);
        lists.look();
    }
    let revoked_in_list = lists.last();
    let published = lists.finish();
    // The list has every revocation before any other command could mend it.
    for serial in &story.revoked {
        assert!(revoked_in_list.contains(serial), "{serial} is missing from crl.pem");
    }
    // And the CA opens, and remembers.
    let known = json(home, &["list"]);
    let status = |serial: &String| {
        let known = known.as_array().unwrap();
        known.iter().find(|known| known["serial"] == **serial).map(|known| known["status"].clone())
    };
    for serial in &story.issued {
        assert!(status(serial).is_some(), "{serial} was issued and is unknown");
    }
    for serial in &story.revoked {
        assert_eq!(status(serial).unwrap(), "revoked", "{serial}");
    }
    let history = json(home, &["audit", "--verify"]);
    assert_eq!(history["whole"], true);
    eprintln!(
        "{ROUNDS} commands of about {:?}: {} killed before their answer, {} killed after it, {} ended by themselves; \
         {} issues and {} revocations answered, {} certificates and {} records known; \
         {published} lists seen, no number twice",
        story.usual,
        story.silent,
        story.answered,
        story.finished,
        story.issued.len(),
        story.revoked.len(),
        known.as_array().unwrap().len(),
        history["records"],
    );
    assert!(story.silent > ROUNDS / 4 && story.answered + story.finished > ROUNDS / 8);
}

#[test]
fn an_answer_to_issue_comes_after_the_disk() {
    for (store, file) in STORES.into_iter().filter(|_| trace::is_possible()) {
        let home = Home::with(&["--store", store]);
        let calls = trace(&home, &["issue", "agent"]);
        assert_eq!(records(&calls, file), ["issued"]);
        // The identity is in place, and the directory knows it.
        let calls = before_the_answer(&calls);
        let in_place = calls
            .iter()
            .rposition(|call| call.is_any(&["rename", "renameat", "renameat2"], "agent\""));
        assert!(calls[in_place.unwrap()..].iter().any(|call| call.is("fsync", "")));
    }
}

#[test]
fn an_answer_to_revoke_comes_after_the_disk_and_the_list() {
    for (store, file) in STORES.into_iter().filter(|_| trace::is_possible()) {
        let home = Home::with(&["--store", store]);
        home.run(&["issue", "agent"]);
        let calls = trace(&home, &["revoke", "agent"]);
        assert_eq!(records(&calls, file), ["device-revoked", "list-signed"]);
        // The list is seen only once its number is on disk twice, and the directory knows it.
        let is_list =
            |call: &Call| call.is_any(&["rename", "renameat", "renameat2"], "home/crl.pem\"");
        let published = calls.iter().position(is_list).unwrap();
        assert_eq!(records(&calls[..published], file), ["device-revoked", "list-signed"]);
        let rest = before_the_answer(&calls[published..]);
        assert!(rest.iter().any(|call| call.is("fsync", "/home>")));
    }
}

fn before_the_answer(calls: &[Call]) -> &[Call] {
    &calls[..calls.iter().position(Call::is_answer).unwrap()]
}

/// What was recorded up to the answer, or to the end of `calls`. Every record must have been synced
/// in the journal before the next is written, and in the store as well.
fn records(calls: &[Call], store: &str) -> Vec<String> {
    let (mut records, mut synced) = (Vec::new(), 0);
    let (mut store_is_dirty, mut journal_is_dirty) = (false, false);
    for call in calls.iter().take_while(|call| !call.is_answer()) {
        if call.is_any(&["pwrite64", "write"], store) {
            store_is_dirty = true;
        } else if call.is("fdatasync", store) {
            synced += usize::from(store_is_dirty);
            store_is_dirty = false;
        } else if call.is("write", "/journal.jsonl>") {
            assert!(!journal_is_dirty, "the record before is not on disk: {}", call.text());
            journal_is_dirty = true;
            let (_, event) = call.text().split_once(r#"\"event\":{\"type\":\""#).unwrap();
            records.push(event.split('\\').next().unwrap().to_owned());
        } else if call.is("fdatasync", "/journal.jsonl>") {
            journal_is_dirty = false;
        }
    }
    assert!(!journal_is_dirty && !store_is_dirty, "the last record is not on disk");
    // redb writes and syncs as well when it is opened.
    let [(_, sled), _] = STORES;
    assert!(synced == records.len() || store != sled && synced > records.len(), "{synced} syncs");
    records
}
