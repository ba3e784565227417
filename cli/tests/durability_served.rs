//! What the CA says over the network it says only once that is on disk.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod served;
mod strace;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod trace;

use std::collections::HashMap;
use std::thread;

use rustix::process::Signal;

use self::home::Home;
use self::served::Served;
use self::trace::{Call, seen, watched};

const OPERATOR: &str = "home/operator";

/// How `strace` shows what begins the record of a certificate.
const ISSUED: &str = r#"\"event\":{\"type\":\"issued\""#;

/// How many ask at once.
const CROWD: usize = 12;

/// A certificate is longer than this, alone or with what it is wrapped in; so is the first flight of a
/// handshake, but nothing else that is sent.
const CERTIFICATE_LEN: usize = 700;

/// How many records of certificates were on disk, in both files, when each answer began.
fn on_disk_at_each_answer(calls: &[Call]) -> Vec<usize> {
    // The last thing of that length on a connection is the answer to the only thing that was asked.
    let mut answers = HashMap::new();
    for (at, call) in calls.iter().enumerate() {
        if let Some(to) = call.sends_to()
            && call.returned().is_some_and(|len| len > CERTIFICATE_LEN)
        {
            answers.insert(to, at);
        }
    }
    // Both files are written and synced once for each batch, in either order.
    let (mut batches, mut in_journal, mut in_store) = (Vec::new(), 0, 0);
    let mut on_disk = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        if call.is("write", "/journal.jsonl>") {
            batches.push(call.text().matches(ISSUED).count());
        } else if call.is("fdatasync", "/journal.jsonl>") {
            in_journal += 1;
        } else if call.is("fdatasync", "/store/db>") {
            in_store += 1;
        } else if answers.values().any(|answer| *answer == at) {
            on_disk.push(batches.iter().take(in_journal.min(in_store)).sum());
        }
    }
    on_disk
}

#[test]
fn no_answer_to_a_crowd_comes_before_the_disk() {
    if !trace::is_possible() {
        return;
    }
    let home = Home::new();
    let ca = Served::run(&home, watched(&home), &[]);
    thread::scope(|scope| {
        for nth in 0..CROWD {
            let ca = &ca;
            scope.spawn(move || {
                ca.told(
                    OPERATOR,
                    &["issue", &format!("agent-{nth}"), "--out", &format!("agent-{nth}")],
                )
            });
        }
    });
    ca.stops(Signal::TERM);
    let on_disk = on_disk_at_each_answer(&seen(&home));
    // The first record is the service's own certificate.
    assert_eq!(on_disk.len(), CROWD);
    for (nth, on_disk) in on_disk.iter().enumerate() {
        assert!(*on_disk >= nth + 2, "answer {nth} came when {on_disk} records were on disk");
    }
}
