//! The journal and the store watch each other: every edit, gap and loss is found, and a crash is no loss.

use std::fs;
use std::path::Path;

use crate::world::{World, is_active, principal};
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{
    Actor, Change, Error, Finding, JournalError, Reason, StoreError, Whole, verify,
};
use vouchsafe_certs::Fingerprint;

fn judge(world: &World) -> Result<Whole, Finding> {
    let home = world.home();
    let store = home.open_store().unwrap();
    verify(&home.journal_path(), &*store).unwrap()
}

pub(crate) fn lines(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("journal.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn write_lines(world: &World, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    file::replace(&world.path("journal.jsonl"), text.as_bytes(), Access::Private).unwrap();
}

fn meddle(world: &World, key: &str, new: Option<Vec<u8>>) {
    let store = world.home().open_store().unwrap();
    let expected = store.get(key).unwrap();
    store.replace(&[Change { key: key.into(), expected, new }]).unwrap();
}

/// Something of everything.
pub(crate) fn lived() -> World {
    let world = World::new();
    let serial = world.issue("a").certificate.serial;
    world.issue("b");
    let authority = world.open();
    authority.revoke(&Actor::Home, &serial, Reason::KeyCompromise).unwrap();
    authority.revoke_device(&Actor::Home, &principal("b"), Reason::Superseded).unwrap();
    authority.reinstate(&Actor::Home, &principal("b")).unwrap();
    drop(authority);
    world
}

#[test]
fn an_honest_history_is_whole() {
    let world = lived();
    let whole = judge(&world).unwrap();
    assert_eq!(whole.head.sequence, u64::try_from(lines(&world).len()).unwrap());
    assert!(!whole.interrupted);
}

#[test]
fn every_record_says_who_did_it() {
    let world = World::new();
    let authority = world.open();
    let operator = Actor::Principal(principal("operators/night"));
    let issued = authority.issue(&operator, world.order("a")).unwrap();
    authority.revoke(&Actor::Home, &issued.certificate.serial, Reason::Unspecified).unwrap();
    authority.publish(&operator).unwrap();
    let said: Vec<Actor> = world.records().into_iter().map(|record| record.by).collect();
    // Making the CA, the lists of both, then the three acts; a revocation's list is the CA's own.
    let (home, itself) = (Actor::Home, Actor::Itself);
    let expected = [&home, &itself, &itself, &operator, &home, &itself, &operator];
    assert_eq!(said.iter().collect::<Vec<_>>(), expected);
    // And it cannot be put down to somebody else.
    let mut lines = lines(&world);
    lines[3] = lines[3].replace("operators/night", "operators/light");
    write_lines(&world, &lines);
    drop(authority);
    assert_eq!(judge(&world), Err(Finding::Altered { line: 4 }));
}

#[test]
fn every_changed_octet_of_the_journal_is_found() {
    let world = lived();
    let honest = fs::read(world.path("journal.jsonl")).unwrap();
    let home = world.home();
    let store = home.open_store().unwrap();
    let copy = world.folder().join("copy.jsonl");
    for at in (0..honest.len()).step_by(97) {
        let mut changed = honest.clone();
        changed[at] ^= 1;
        file::replace(&copy, &changed, Access::Private).unwrap();
        let line = 1 + honest[..at].iter().filter(|octet| **octet == b'\n').count();
        let line = u64::try_from(line).unwrap();
        match verify(&copy, &*store).unwrap() {
            Err(Finding::Altered { line: found }) => assert_eq!(found, line, "octet {at}"),
            other => panic!("octet {at}: {other:?}"),
        }
    }
}

#[test]
fn missing_repeated_and_exchanged_lines_are_found() {
    let world = lived();
    let honest = lines(&world);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = honest.clone();
        change(&mut changed);
        write_lines(&world, &changed);
        judge(&world)
    };
    let expect = |line, found| Err(Finding::OutOfOrder { line, found });
    assert_eq!(with(&|lines| drop(lines.remove(3))), expect(4, 5));
    assert_eq!(with(&|lines| lines.swap(3, 4)), expect(4, 5));
    assert_eq!(with(&|lines| lines.insert(3, lines[2].clone())), expect(4, 3));
    let count = u64::try_from(honest.len()).unwrap();
    let behind = Finding::JournalBehind { journal: count - 2, store: count };
    assert_eq!(with(&|lines| lines.truncate(lines.len() - 2)), Err(behind));
    assert!(with(&|lines| lines.clear()).is_err());
    let other = lines_of_another_ca();
    assert!(with(&|lines| lines[0].clone_from(&other[0])).is_err());
    assert!(with(&|lines| lines.clone_from(&other)).is_err());
}

fn lines_of_another_ca() -> Vec<String> {
    lines(&lived())
}

#[test]
fn every_change_of_the_store_is_found() {
    let world = lived();
    let keys = {
        let store = world.home().open_store().unwrap();
        let mut keys = Vec::new();
        let mut visit = |key: &str, value: &[u8]| {
            keys.push((key.to_owned(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        };
        store.scan("", &mut visit).unwrap();
        keys
    };
    assert!(keys.len() > 20);
    for (key, value) in keys {
        meddle(&world, &key, None);
        // Without the head or the last record, the journal is ahead; all else is found as what it is.
        assert!(judge(&world).is_err(), "{key} was removed");
        let mut longer = value.clone();
        longer.push(b' ');
        meddle(&world, &key, Some(longer));
        if key != "head" && key != "batch" {
            assert!(judge(&world).is_err(), "{key} was changed");
        }
        meddle(&world, &key, Some(value));
        judge(&world).unwrap();
    }
    meddle(&world, "revoked/00", Some(b"{}".to_vec()));
    assert_eq!(judge(&world), Err(Finding::NotDerived { key: "revoked/00".into() }));
}

/// The line as somebody would write it who can write everywhere.
fn forged(line: &str, from: &str, to: &str) -> String {
    let body = line[..line.rfind(",\"hash\"").unwrap()].replace(from, to);
    let hash = Fingerprint::of(format!("{body}}}").as_bytes());
    format!("{body},\"hash\":\"{hash}\"}}")
}

#[test]
fn a_line_forged_in_both_places_breaks_the_chain() {
    let world = lived();
    let mut lines = lines(&world);
    let (name, other) = ("spiffe://acme.example/a", "spiffe://acme.example/c");
    lines[3] = forged(&lines[3], name, other);
    write_lines(&world, &lines);
    meddle(&world, &format!("audit/{:020}", 4), Some(lines[3].clone().into_bytes()));
    assert_eq!(judge(&world), Err(Finding::Broken { line: 5 }));
    // With every later line forged as well, the head gives it away.
    for nth in 4..lines.len() {
        let hash = |line: &str| line[line.len() - 66..line.len() - 2].to_owned();
        let before = previous(&lines[nth]);
        lines[nth] = forged(&lines[nth], &before, &hash(&lines[nth - 1]));
        let key = format!("audit/{:020}", nth + 1);
        meddle(&world, &key, Some(lines[nth].clone().into_bytes()));
    }
    write_lines(&world, &lines);
    assert!(matches!(judge(&world), Err(Finding::HeadDiffers { .. })));
}

/// What a line says of the line before it.
fn previous(line: &str) -> String {
    let at = line.find("\"previous\":\"").unwrap() + 12;
    line[at..at + 64].to_owned()
}

#[test]
fn a_crash_between_store_and_journal_is_no_loss() {
    let world = lived();
    let honest = lines(&world);
    let last = honest.last().unwrap();
    for kept in [0, 1, last.len() / 2, last.len()] {
        let mut text: String =
            honest[..honest.len() - 1].iter().map(|l| format!("{l}\n")).collect();
        text.push_str(&last[..kept]);
        file::replace(&world.path("journal.jsonl"), text.as_bytes(), Access::Private).unwrap();
        assert!(judge(&world).unwrap().interrupted, "{kept} octets of the last line");
        let mended = world.home().open_ledger().unwrap().mended();
        assert_eq!((mended.cut, mended.appended), (u64::try_from(kept).unwrap(), 1));
        assert_eq!(lines(&world), honest);
        world.check();
    }
}

#[test]
fn the_whole_journal_is_written_anew_from_the_store() {
    let world = lived();
    let honest = lines(&world);
    fs::remove_file(world.path("journal.jsonl")).unwrap();
    world.open();
    assert_eq!(lines(&world), honest);
    world.check();
}

#[test]
fn what_was_appended_by_somebody_else_is_not_believed() {
    let world = lived();
    let mut text = fs::read_to_string(world.path("journal.jsonl")).unwrap();
    text.push_str("{\"sequence\":99");
    file::replace(&world.path("journal.jsonl"), text.as_bytes(), Access::Private).unwrap();
    assert!(matches!(judge(&world), Err(Finding::Unfinished { .. })));
    text.push_str("}\n");
    file::replace(&world.path("journal.jsonl"), text.as_bytes(), Access::Private).unwrap();
    assert!(matches!(judge(&world), Err(Finding::Altered { .. })));
    let refused = world.try_open(None).unwrap_err();
    assert!(matches!(refused, Error::Journal(JournalError::Damaged { .. })));
}

#[test]
fn a_store_that_lost_acknowledged_records_gets_them_back_from_the_journal() {
    let world = World::new();
    let serial = world.issue("a").certificate.serial;
    let backup = world.folder().join("backup");
    copy(&world.path("store"), &backup);
    // More than one write can be interrupted in.
    let authority = world.open();
    for nth in 0..300 {
        authority.issue(&Actor::Home, world.order(&format!("b{nth}"))).unwrap();
    }
    drop(authority);
    world.open().revoke_device(&Actor::Home, &principal("a"), Reason::Unspecified).unwrap();
    fs::remove_dir_all(world.path("store")).unwrap();
    copy(&backup, &world.path("store"));
    assert!(matches!(judge(&world), Err(Finding::StoreBehind { .. })));
    let honest = lines(&world);
    let authority = world.open();
    assert!(!is_active(&authority, &serial), "the revocation was forgotten");
    drop(authority);
    assert_eq!(lines(&world), honest);
    world.check();
}

/// As a crash leaves it: the store's write was lost, the journal's was not, or not all of it.
#[test]
fn a_crash_that_took_the_stores_part_is_no_loss() {
    for kept in [0, 40, usize::MAX] {
        let world = lived();
        let backup = world.folder().join("backup");
        copy(&world.path("store"), &backup);
        let before = lines(&world);
        for name in ["c", "d"] {
            world.open().issue(&Actor::Home, world.order_with_new_key(name)).unwrap();
        }
        let mut after = fs::read_to_string(world.path("journal.jsonl")).unwrap();
        let complete = before.iter().map(|line| line.len() + 1).sum::<usize>();
        let third = complete + lines(&world)[before.len()].len() + 1;
        after.truncate(third.saturating_add(kept));
        file::replace(&world.path("journal.jsonl"), after.as_bytes(), Access::Private).unwrap();
        fs::remove_dir_all(world.path("store")).unwrap();
        copy(&backup, &world.path("store"));
        assert!(judge(&world).unwrap().interrupted);
        let mended = world.home().open_ledger().unwrap().mended();
        let whole = if kept == usize::MAX { 2 } else { 1 };
        assert_eq!(mended.restored, whole);
        assert_eq!(mended.cut, if kept == 40 { 40 } else { 0 });
        world.check();
    }
}

/// Somebody was told of what follows the damage, whatever the store that was put back knows.
#[test]
fn a_damage_before_whole_records_takes_none_of_them_off_the_journal() {
    let world = lived();
    let backup = world.folder().join("backup");
    copy(&world.path("store"), &backup);
    let known = lines(&world).len();
    let victim = world.open().issue(&Actor::Home, world.order_with_new_key("victim")).unwrap();
    let serial = victim.certificate.serial;
    world.open().revoke(&Actor::Home, &serial, Reason::KeyCompromise).unwrap();
    let mut damaged = lines(&world);
    damaged[known].replace_range(30..31, "\0");
    write_lines(&world, &damaged);
    fs::remove_dir_all(world.path("store")).unwrap();
    copy(&backup, &world.path("store"));
    let refused = world.try_open(None).unwrap_err();
    assert!(
        matches!(refused, Error::Journal(JournalError::Damaged { after, .. }) if after == u64::try_from(known).unwrap()),
        "{refused}"
    );
    assert_eq!(lines(&world), damaged);
}

/// Pages that never reached the disk read as zeros; whatever follows them was never acknowledged.
#[test]
fn a_crash_that_took_pages_of_the_journal_is_no_loss() {
    let world = lived();
    let honest = fs::read(world.path("journal.jsonl")).unwrap();
    let last = lines(&world).last().unwrap().len() + 1;
    for zeros in [0..1, 20..60, last - 2..last] {
        let mut torn = honest.clone();
        let at = torn.len() - last;
        torn[at..][zeros].fill(0);
        file::replace(&world.path("journal.jsonl"), &torn, Access::Private).unwrap();
        assert!(judge(&world).unwrap().interrupted);
        let mended = world.home().open_ledger().unwrap().mended();
        assert_eq!((mended.cut, mended.appended), (u64::try_from(last).unwrap(), 1));
        // Not even that is deleted.
        assert!(fs::read(world.path("journal.cut")).unwrap().ends_with(&torn[at..]));
        assert_eq!(fs::read(world.path("journal.jsonl")).unwrap(), honest);
        world.check();
    }
    // But what is acknowledged for certain is not replaced without a word.
    let mut torn = honest.clone();
    torn[200..300].fill(0);
    file::replace(&world.path("journal.jsonl"), &torn, Access::Private).unwrap();
    assert!(judge(&world).is_err());
}

#[test]
fn a_store_that_is_missing_is_never_made_anew_without_a_word() {
    let world = lived();
    let backup = world.folder().join("backup");
    copy(&world.path("store"), &backup);
    fs::remove_dir_all(world.path("store")).unwrap();
    let refused = world.try_open(None).unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Missing(_))), "{refused}");
    assert!(!world.path("store").exists());
    copy(&backup, &world.path("store"));
    world.check();
    // A new and empty one, and zeros where records were: nothing acknowledged is missing after.
    fs::remove_dir_all(world.path("store")).unwrap();
    drop(crate::STORE.create(&world.path("store")).unwrap());
    assert!(world.home().open_ledger().unwrap().rebuilt().is_some());
    world.check();
    let db = world.path(crate::STORE_FILE);
    let octets = fs::read(&db).unwrap();
    file::replace(&db, &vec![0; octets.len()], Access::Private).unwrap();
    assert!(world.home().open_ledger().unwrap().rebuilt().is_some());
    world.check();
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
