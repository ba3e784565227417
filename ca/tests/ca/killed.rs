//! `kill -9` at any moment, again and again: while the CA opens its
//! home, while its store writes a snapshot, while a crowd is answered.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::crowd::crowd;
use crate::world::{TestClock, World, open_at, order};
use vouchsafe_ca::{Actor, Event, Ledger, Reason, StoreKind};
use vouchsafe_certs::{KeyType, PrivateKey, Serial};

/// The home in which [`a_crowd_at_work`] works.
const HOME: &str = "VOUCHSAFE_TEST_HOME";

/// How many are killed, if not so many.
const KILLS: &str = "VOUCHSAFE_TEST_KILLS";
const USUAL_KILLS: u64 = 60;

/// After so many, everything is looked at.
const CHAPTER: u64 = 20;

/// After so many, another CA begins, whose journal is short.
const LIFE: u64 = 100;

/// Not a test: what `kill -9` is sent to below. Says each serial number once it is answered.
#[test]
#[ignore = "runs until it is killed"]
fn a_crowd_at_work() {
    let home = std::env::var_os(HOME).expect("a home");
    let authority = open_at(Path::new(&home), TestClock::new()).unwrap();
    let say = |act: &str, what: &str| writeln!(std::io::stdout().lock(), "{act} {what}").unwrap();
    say("opened", "");
    let key = PrivateKey::generate(KeyType::P256).unwrap().public_key().unwrap();
    crowd(16, |nth| {
        for again in 0.. {
            let order = order(&format!("device-{nth}/{again}"), key.clone());
            let issued = authority.issue(&Actor::Home, order).unwrap();
            let serial = issued.certificate.serial;
            say("issued", &serial.to_string());
            if again % 8 == 3 {
                authority.revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
                say("revoked", &serial.to_string());
            }
        }
    });
}

/// When somebody is killed.
#[derive(Clone, Copy)]
enum Moment {
    /// So long after the beginning: it opens its home.
    After(Duration),
    /// When the store's snapshot is being written, if that is seen within so long.
    Snapshot(Duration),
    /// With so many answers.
    Answered(usize),
}

/// What was heard of one that was killed.
fn killed(world: &World, moment: Moment) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::a_crowd_at_work", "--ignored", "--nocapture"])
        .env(HOME, world.home_path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard: Vec<String> = Vec::new();
    match moment {
        Moment::After(time) => thread::sleep(time),
        Moment::Snapshot(patience) => {
            let begun = Instant::now();
            while !has_unfinished_snapshot(world) && begun.elapsed() < patience {}
        }
        Moment::Answered(count) => heard.extend(lines.by_ref().map(Result::unwrap).take(count)),
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(is_killed(status), "it did not open, or ended by itself: {status}");
    // A line may be cut off, and then nobody has heard it.
    heard.extend(lines.map_while(Result::ok));
    heard
}

fn has_unfinished_snapshot(world: &World) -> bool {
    let names = fs::read_dir(world.path("store")).unwrap();
    let mut names = names.map_while(Result::ok).map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().ends_with(".generating"))
}

fn is_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

/// What became of one CA, or of several.
#[derive(Default)]
struct Tally {
    kills: u64,
    opened: u64,
    unfinished: u64,
    known: usize,
    records: usize,
}

impl Tally {
    /// Hears what somebody was answered who was killed.
    fn hear(&mut self, world: &World, heard: &[String]) {
        self.unfinished += u64::from(has_unfinished_snapshot(world));
        for line in heard {
            let Some((act, serial)) = line.split_once(' ') else { continue };
            self.opened += u64::from(act == "opened");
            let Ok(serial) = serial.parse::<Serial>() else { continue };
            self.known += 1;
            world.note(|noted| match act {
                "revoked" => noted.revoked.push(serial),
                _ => noted.issued.push((serial, vec![])),
            });
        }
    }
}

/// One CA, killed so often.
fn one_life(kills: u64, tally: &mut Tally) {
    let world = World::new();
    let begun = Instant::now();
    tally.hear(&world, &killed(&world, Moment::Answered(8)));
    // How long it takes to the first answers: within that, it opens.
    let opening = begun.elapsed();
    for round in 1..=kills {
        // The golden ratio's multiples are everywhere, and never the same.
        let part = f64::from(u32::try_from(tally.kills).unwrap()) * 0.618_033_988_749_895 % 1.0;
        let moment = match round % 4 {
            0 => Moment::Answered(4 + usize::try_from(tally.kills * 7 % 200).unwrap()),
            1 if crate::STORE == StoreKind::Sled => Moment::Snapshot(opening * 2),
            _ => Moment::After(opening.mul_f64(part)),
        };
        let heard = killed(&world, moment);
        tally.kills += 1;
        tally.hear(&world, &heard);
        if round % CHAPTER == 0 || round == kills {
            world.check();
        }
    }
    world.check_restored();
    // A process that is killed damages nothing.
    let events = world.events();
    assert!(!events.iter().any(|event| matches!(event, Event::StoreRebuilt { .. })));
    assert!(world.home().open_ledger().as_ref().map(Ledger::rebuilt).unwrap().is_none());
    tally.records += events.len();
}

#[test]
fn nothing_that_was_answered_is_lost_however_often_the_ca_is_killed() {
    let kills = std::env::var(KILLS).map_or(USUAL_KILLS, |kills| kills.parse().unwrap());
    let (mut tally, begun) = (Tally::default(), Instant::now());
    while tally.kills < kills {
        one_life(LIFE.min(kills - tally.kills), &mut tally);
    }
    let Tally { kills, opened, unfinished, known, records } = tally;
    eprintln!(
        "{kills} killed within {:?}, {opened} after they had opened, {unfinished} in the middle of a snapshot; \
         {known} answers, {records} records",
        begun.elapsed(),
    );
    assert!(opened < kills && known > 100, "{opened} opened, {known} answers");
}
