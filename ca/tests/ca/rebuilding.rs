//! A damaged store is built anew from the journal, where that forgets nothing; and nowhere else.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{
    Actor, Error, Event, Home, JournalError, Ledger, Reason, RebuildError, Rotation, StoreError,
    Tier,
};
use vouchsafe_certs::{KeyType, Serial};

use crate::history::{copy, lines, lived, write_lines};
use crate::world::{World, is_active, principal};

/// Nothing that a backend could make sense of.
fn damage(world: &World) {
    let db = world.path(crate::STORE_FILE);
    let octets = fs::read(&db).unwrap();
    file::replace(&db, &vec![0x5a; octets.len()], Access::Private).unwrap();
}

/// The names in the home that begin so.
fn kept(world: &World, beginning: &str) -> Vec<String> {
    let names = fs::read_dir(world.home_path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(beginning)).collect()
}

fn not_rebuilt(world: &World) -> RebuildError {
    match world.try_open(None).unwrap_err() {
        Error::NotRebuilt { why, .. } => match *why {
            Error::Rebuild(why) => why,
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

fn restore(world: &World, journal: &Path, replace: bool) -> Result<Ledger, Error> {
    Home::open(&world.home_path(), "test", world.clock.now())?.restore(journal, replace)
}

fn refused(world: &World, journal: &Path, replace: bool) -> RebuildError {
    match restore(world, journal, replace).unwrap_err() {
        Error::Rebuild(why) => why,
        other => panic!("{other}"),
    }
}

#[test]
fn a_damaged_store_is_built_anew_and_kept() {
    let world = lived();
    let honest = lines(&world);
    let certificates = world.open().look_up(Ledger::certificates).unwrap();
    damage(&world);
    let ledger = world.home().open_ledger().unwrap();
    assert_eq!(ledger.certificates().unwrap(), certificates);
    let rebuilt = ledger.rebuilt().unwrap();
    assert_eq!(rebuilt.set_aside, [world.path(&kept(&world, "store.damaged-")[0])]);
    drop(ledger);
    // It is on record, and nothing else is new; what was there can still be looked at.
    let after = lines(&world);
    assert_eq!(after[..honest.len()], honest);
    assert!(matches!(
        world.events().last(),
        Some(Event::StoreRebuilt { damage: Some(_), cut: None })
    ));
    let db = world
        .path(&kept(&world, "store.damaged-")[0])
        .join(Path::new(crate::STORE_FILE).file_name().unwrap());
    assert!(fs::read(db).unwrap().iter().all(|octet| *octet == 0x5a));
    world.check();
    // Once. And a second time is kept apart from the first.
    assert!(world.home().open_ledger().unwrap().rebuilt().is_none());
    damage(&world);
    world.check();
    assert_eq!(kept(&world, "store.damaged-").len(), 2);
}

#[test]
fn a_rebuilding_that_was_interrupted_begins_again() {
    // In the middle of building: a store that has less than it should.
    let world = lived();
    let issued = world.open().issue(&Actor::Home, world.order_with_new_key("c")).unwrap();
    let serial = issued.certificate.serial;
    copy(&World::new().path("store"), &world.path("store.rebuilding"));
    damage(&world);
    world.check();
    assert!(is_active(&world.open(), &serial));
    assert_eq!(kept(&world, "store.rebuilding"), [""; 0]);
    // Between the two renamings.
    fs::rename(world.path("store"), world.path("store.rebuilding")).unwrap();
    assert!(world.home().open_ledger().unwrap().rebuilt().is_some());
    world.check();
    // But nobody has begun where nothing was set aside.
    for aside in kept(&world, "store.") {
        fs::remove_dir_all(world.path(&aside)).unwrap();
    }
    fs::remove_dir_all(world.path("store")).unwrap();
    let refused = world.try_open(None).unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Missing(_))), "{refused}");
}

#[test]
fn where_there_is_no_room_for_another_store_the_damaged_one_stays() {
    let world = lived();
    let honest = lines(&world);
    damage(&world);
    file::create(&world.path("store.rebuilding"), b"in the way", Access::Private).unwrap();
    let refused = world.try_open(None).unwrap_err();
    assert!(matches!(refused, Error::NotRebuilt { .. }), "{refused}");
    assert_eq!((kept(&world, "store.damaged-").len(), lines(&world)), (0, honest));
    fs::remove_file(world.path("store.rebuilding")).unwrap();
    world.check();
}

#[test]
fn no_store_is_built_from_a_journal_that_is_not_whole() {
    let world = lived();
    let honest = lines(&world);
    damage(&world);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = honest.clone();
        change(&mut changed);
        write_lines(&world, &changed);
        let why = not_rebuilt(&world);
        assert_eq!(kept(&world, "store.damaged-").len(), 0);
        assert_eq!(lines(&world), changed);
        why
    };
    let altered = with(&|lines| lines[3] = lines[3].replace("2027", "2028"));
    assert!(matches!(altered, RebuildError::NotWhole { after: 3 }), "{altered}");
    let missing = with(&|lines| drop(lines.remove(3)));
    assert!(matches!(missing, RebuildError::NotWhole { after: 3 }), "{missing}");
    let hole = with(&|lines| lines[3] = "\0".repeat(lines[3].len()));
    assert!(matches!(hole, RebuildError::NotWhole { after: 3 }), "{hole}");
    let empty = with(&Vec::clear);
    assert!(matches!(empty, RebuildError::NotWhole { after: 0 }), "{empty}");
    fs::remove_file(world.path("journal.jsonl")).unwrap();
    assert!(matches!(world.try_open(None), Err(Error::NotRebuilt { .. })));
    write_lines(&world, &honest);
    world.check();
}

/// RFC 5280 §5.2.3: a number must not come again, so a journal that forgets one will not do.
#[test]
fn no_store_is_built_from_a_journal_that_is_behind_what_is_published() {
    let world = lived();
    let honest = lines(&world);
    damage(&world);
    let signed = |event: &Event| matches!(event, Event::ListSigned { .. });
    let last_list = world.events().iter().rposition(signed).unwrap();
    write_lines(&world, &honest[..last_list]);
    let behind = not_rebuilt(&world);
    assert!(matches!(behind, RebuildError::Behind { .. }), "{behind}");
    // What came after the latest list nobody has seen, as far as the home can tell.
    write_lines(&world, &honest[..=last_list]);
    world.check();
}

fn backup(world: &World, name: &str) {
    let backup = world.folder().join(name);
    copy(&world.path("store"), &backup.join("store"));
    fs::copy(world.path("journal.jsonl"), backup.join("journal.jsonl")).unwrap();
}

fn put_back(world: &World, name: &str) {
    fs::remove_dir_all(world.path("store")).unwrap();
    copy(&world.folder().join(name), &world.home_path());
}

/// As a backup of the night brings it back: in order by itself, and behind what relying parties know.
#[test]
fn a_ca_that_was_put_back_does_not_take_back_what_it_has_published() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.issue(name).certificate);
    backup(&world, "night");
    let revoke = |serial| {
        let authority = world.try_open(None)?;
        authority.revoke(&Actor::Home, serial, Reason::Superseded)
    };
    revoke(&a.serial).unwrap();
    let published = fs::read(world.path("crl.pem")).unwrap();
    let journal = fs::read(world.path("journal.jsonl")).unwrap();
    put_back(&world, "night");
    let is_behind = || {
        let refused = revoke(&b.serial).unwrap_err();
        assert!(matches!(refused, Error::Rebuild(RebuildError::Behind { .. })), "{refused}");
        assert!(refused.hint().unwrap().contains("rotate issuer --now"));
        assert_eq!(fs::read(world.path("crl.pem")).unwrap(), published);
    };
    is_behind();
    // The journal that knows more brings everything back.
    let later = world.folder().join("later.jsonl");
    file::create(&later, &journal, Access::Private).unwrap();
    drop(restore(&world, &later, true).unwrap());
    assert!(!is_active(&world.open(), &a.serial));
    world.check();

    // The same number with another content is as bad.
    put_back(&world, "night");
    fs::remove_file(world.path("crl.pem")).unwrap();
    drop(world.open());
    file::replace(&world.path("crl.pem"), &published, Access::Public).unwrap();
    is_behind();

    // Where nobody remembers more, everything of that issuing CA ends, and another begins.
    fs::remove_file(world.path("crl.pem")).unwrap();
    let old = world.open().certificate(Tier::Issuing).unwrap();
    let rotation = Rotation { key_type: KeyType::P256, at_once: true };
    world.open().rotate_issuer(&Actor::Home, None, rotation).unwrap();
    let compromise = Reason::KeyCompromise;
    world.open().revoke_issuer(&Actor::Home, &old.serial, compromise, None).unwrap();
    let root = world.open().certificate(Tier::Root).unwrap();
    assert!(world.published_by(&root).revokes(&old.serial));
    world.issue("c");
}

#[test]
fn what_a_crash_left_of_a_record_that_nobody_was_told_of_is_dropped() {
    let world = lived();
    let honest = fs::read(world.path("journal.jsonl")).unwrap();
    let next = format!("{{\"sequence\":{},\"at\":\"2027", lines(&world).len() + 1);
    for (nth, remains) in [next.as_bytes(), b"{"].into_iter().enumerate() {
        let torn = [&fs::read(world.path("journal.jsonl")).unwrap(), remains].concat();
        let complete = torn.len() - remains.len();
        file::replace(&world.path("journal.jsonl"), &torn, Access::Private).unwrap();
        damage(&world);
        let ledger = world.home().open_ledger().unwrap();
        let rebuilt = ledger.rebuilt().unwrap();
        let cut = u64::try_from(remains.len()).unwrap();
        assert_eq!(rebuilt.cut, cut);
        // Not even that is deleted.
        let aside = kept(&world, "journal.jsonl.replaced-").into_iter();
        let aside: Vec<_> = aside.map(|name| world.path(&name)).collect();
        assert_eq!(aside.len(), nth + 1);
        assert!(aside.iter().any(|path| rebuilt.set_aside.contains(path)));
        assert!(aside.iter().any(|path| fs::read(path).unwrap() == torn));
        drop(ledger);
        let last = world.events().pop().unwrap();
        assert!(matches!(last, Event::StoreRebuilt { cut: Some(said), .. } if said == cut));
        world.check();
        let now = fs::read(world.path("journal.jsonl")).unwrap();
        assert!(now.starts_with(&honest) && now[complete] == b'{');
    }
}

/// The disk that has damaged the store may have damaged what was acknowledged as well: zeros swallow line
/// breaks, and a line break that is none any more joins two records.
#[test]
fn what_may_have_been_several_records_is_dropped_only_if_somebody_asks() {
    let world = lived();
    // Behind the last list, which relying parties know.
    for name in ["c", "d", "e"] {
        world.open().issue(&Actor::Home, world.order_with_new_key(name)).unwrap();
    }
    let honest = fs::read(world.path("journal.jsonl")).unwrap();
    let whole = lines(&world);
    let lost = whole[whole.len() - 2..].iter().map(|line| line.len() + 1).sum::<usize>();
    let end = honest.len() - lost;
    damage(&world);
    let page = |octets: &mut Vec<u8>| octets[end + 9..].fill(0);
    let last_break = |octets: &mut Vec<u8>| *octets.last_mut().unwrap() ^= 1;
    let both_breaks = |octets: &mut Vec<u8>| {
        last_break(octets);
        octets[end + whole[whole.len() - 2].len()] ^= 1;
    };
    let behind = |octets: &mut Vec<u8>| octets.extend([0; 700]);
    let struck = |fault: &dyn Fn(&mut Vec<u8>)| {
        let mut torn = honest.clone();
        fault(&mut torn);
        torn
    };
    let struck = [
        (struck(&last_break), 1),
        (struck(&both_breaks), 2),
        (struck(&behind), 0),
        (struck(&page), 2),
    ];
    for (torn, lost) in struck {
        file::replace(&world.path("journal.jsonl"), &torn, Access::Private).unwrap();
        let refused = not_rebuilt(&world);
        let last = u64::try_from(whole.len()).unwrap() - lost;
        assert!(
            matches!(refused, RebuildError::Unreadable { after, .. } if after == last),
            "{refused}"
        );
        assert!(refused.hint().unwrap().contains("vouchsafe restore"));
        assert_eq!(fs::read(world.path("journal.jsonl")).unwrap(), torn);
        assert_eq!((kept(&world, "store.damaged-").len(), kept(&world, "journal").len()), (0, 1));
    }
    // Zeros are asked away, and kept nevertheless.
    let torn = fs::read(world.path("journal.jsonl")).unwrap();
    let ledger = restore(&world, &world.path("journal.jsonl"), false).unwrap();
    assert_eq!(ledger.rebuilt().unwrap().cut, u64::try_from(lost).unwrap());
    drop(ledger);
    let [aside] = &kept(&world, "journal.jsonl.replaced-")[..] else { panic!() };
    assert_eq!(fs::read(world.path(aside)).unwrap(), torn);
    assert!(fs::read(world.path("journal.jsonl")).unwrap().starts_with(&honest[..end]));
    world.check();
}

#[test]
fn a_journal_kept_elsewhere_brings_back_what_the_ca_remembers() {
    let world = lived();
    let certificates = world.open().look_up(Ledger::certificates).unwrap();
    let copy = world.folder().join("copy.jsonl");
    fs::copy(world.path("journal.jsonl"), &copy).unwrap();
    fs::remove_dir_all(world.path("store")).unwrap();
    fs::remove_file(world.path("journal.jsonl")).unwrap();
    let ledger = restore(&world, &copy, false).unwrap();
    assert_eq!(ledger.certificates().unwrap(), certificates);
    drop(ledger);
    world.check();
    assert!(matches!(world.events().last(), Some(Event::StoreRebuilt { damage: None, cut: None })));
    // The copy is as it was, and nothing private lies about in the home.
    assert_eq!(fs::read_to_string(&copy).unwrap().lines().count(), lines(&world).len() - 1);
    assert_eq!(kept(&world, ".vouchsafe-"), [""; 0]);
}

#[test]
fn a_healthy_store_is_not_replaced_unasked_and_nothing_known_is_forgotten() {
    let world = lived();
    let own = world.path("journal.jsonl");
    let older = world.folder().join("older.jsonl");
    let honest = lines(&world);
    let in_order = refused(&world, &own, false);
    let count = u64::try_from(honest.len()).unwrap();
    assert!(matches!(in_order, RebuildError::InOrder { records } if records == count));
    // A copy that lacks what came after its making, and one of another CA.
    fs::copy(&own, &older).unwrap();
    world.open().issue(&Actor::Home, world.order_with_new_key("c")).unwrap();
    for journal in [older, lived().path("journal.jsonl")] {
        for healthy in [true, false] {
            if !healthy {
                damage(&world);
            }
            let forgets = restore(&world, &journal, true).unwrap_err();
            assert!(matches!(forgets, Error::Rebuild(_) | Error::Home(_)), "{forgets}");
            assert_eq!(lines(&world)[..honest.len()], honest);
            world.check();
        }
    }
    // The home's own, if it must be.
    drop(restore(&world, &own, true).unwrap());
    assert_eq!(kept(&world, "store.replaced-").len(), 1);
    world.check();
}

#[test]
fn a_damaged_journal_is_replaced_by_a_copy_that_has_all_of_it() {
    let world = lived();
    let copy = world.folder().join("copy.jsonl");
    fs::copy(world.path("journal.jsonl"), &copy).unwrap();
    let mut changed = lines(&world);
    changed[2] = changed[2].replace("2027", "2028");
    write_lines(&world, &changed);
    damage(&world);
    assert!(matches!(not_rebuilt(&world), RebuildError::NotWhole { after: 2 }));
    drop(restore(&world, &copy, false).unwrap());
    world.check();
    let [aside] = &kept(&world, "journal.jsonl.replaced-")[..] else { panic!() };
    let aside = fs::read_to_string(world.path(aside)).unwrap();
    assert_eq!(aside.lines().collect::<Vec<_>>(), changed);
}

/// The store vouches for what was, and only a copy that has all of that takes the journal's place.
#[test]
fn a_journal_that_was_rewritten_is_replaced_by_a_copy_that_the_store_vouches_for() {
    let world = lived();
    let (good, short) = (world.folder().join("good.jsonl"), world.folder().join("short.jsonl"));
    fs::copy(world.path("journal.jsonl"), &good).unwrap();
    let honest = lines(&world);
    let shorter = honest[..honest.len() - 1].join("\n") + "\n";
    file::create(&short, shorter.as_bytes(), Access::Private).unwrap();
    // Another CA's is a whole one, and another story.
    let forged = lines(&lived());
    write_lines(&world, &forged);
    let disagrees = world.try_open(None).unwrap_err();
    assert!(matches!(disagrees, Error::Journal(JournalError::Disagrees { .. })), "{disagrees}");
    assert!(disagrees.hint().unwrap().contains("--replace"));
    assert!(matches!(refused(&world, &good, false), RebuildError::InOrder { .. }));
    restore(&world, &short, true).unwrap_err();
    drop(restore(&world, &good, true).unwrap());
    assert_eq!(lines(&world)[..honest.len()], honest);
    world.check();
}

/// What happens to a file on a disk.
#[derive(Clone, Debug)]
enum Fault {
    /// The rest is lost.
    Cut(prop::sample::Index),
    /// One bit is another.
    Flip(prop::sample::Index, u8),
    /// A sector reads as zeros.
    Blank(prop::sample::Index),
}

impl Fault {
    fn strike(&self, octets: &mut Vec<u8>) {
        // Most of a file as long as a backend makes it is empty.
        let used = octets.iter().rposition(|octet| *octet != 0).map_or(1, |last| last + 1);
        match self {
            Self::Cut(at) => octets.truncate(at.index(used)),
            Self::Flip(at, bit) => octets[at.index(used)] ^= 1 << (bit % 8),
            Self::Blank(at) => {
                let at = at.index(used) / 512 * 512;
                let end = octets.len().min(at + 512);
                octets[at..end].fill(0);
            }
        }
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let place = any::<prop::sample::Index>;
    let fault = prop_oneof![
        1 => place().prop_map(Fault::Cut),
        3 => (place(), any::<u8>()).prop_map(|(at, bit)| Fault::Flip(at, bit)),
        1 => place().prop_map(Fault::Blank),
    ];
    prop::collection::vec(fault, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_to_the_stores_file_nothing_acknowledged_is_lost(faults in faults()) {
        let world = World::new();
        let (mut issued, mut revoked): (Vec<Serial>, Vec<Serial>) = (vec![], vec![]);
        let authority = world.open();
        for nth in 0..12 {
            let order = world.order(&format!("device-{nth}"));
            let serial = authority.issue(&Actor::Home, order).unwrap().certificate.serial;
            issued.push(serial);
            if nth % 3 == 0 {
                authority.revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
                revoked.push(serial);
            }
        }
        drop(authority);
        let db = world.path(crate::STORE_FILE);
        let mut octets = fs::read(&db).unwrap();
        faults.iter().for_each(|fault| fault.strike(&mut octets));
        file::replace(&db, &octets, Access::Private).unwrap();
        // Damage may be found only by whoever reads that place; the next to open it hears of it.
        let read_all = || -> Result<(), Error> {
            let ledger = world.home().open_ledger()?;
            ledger.certificates()?;
            Ok(())
        };
        let found = read_all();
        if let Err(error) = &found {
            prop_assert!(matches!(error, Error::Store(StoreError::Corrupt { .. })), "{error}");
        }
        prop_assert!(read_all().is_ok());
        let authority = world.open();
        for serial in &issued {
            let record = authority.look_up(|ledger| ledger.certificate(serial)).unwrap();
            prop_assert!(record.is_some(), "{serial} was issued and is unknown");
        }
        for serial in &revoked {
            prop_assert!(!is_active(&authority, serial), "{serial} was revoked and is active");
        }
        authority.revoke_device(&Actor::Home, &principal("device-1"), Reason::Superseded).unwrap();
        drop(authority);
        world.check();
    }
}
