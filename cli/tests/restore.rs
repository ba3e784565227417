//! A damaged store is built anew, loudly; and a journal kept elsewhere brings back what the CA remembers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so and stop")]

mod home;

use std::fs;
use std::process::Output;

use home::{Home, VOUCHSAFE};
use serde_json::Value;
use vouchsafe_ca::file::{self, Access};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn output(home: &Home, arguments: &[&str]) -> Output {
    home.command(VOUCHSAFE).args(arguments).output().unwrap()
}

/// What a command says that fails.
fn refused(home: &Home, arguments: &[&str]) -> String {
    let output = output(home, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// A CA that has issued and revoked.
fn lived() -> Home {
    live(Home::new())
}

fn live(home: Home) -> Home {
    for name in ["build-7", "build-8"] {
        home.run(&["issue", name]);
    }
    home.run(&["revoke", "build-7"]);
    home
}

fn damage(home: &Home) {
    let db = home.path("home/store/db");
    let octets = fs::read(&db).unwrap();
    file::replace(&db, &vec![0x5a; octets.len()], Access::Private).unwrap();
}

#[test]
fn whoever_opens_a_home_with_a_damaged_store_is_told_and_served() {
    let home = lived();
    let before = json(&home.run(&["list", "--json"]));
    damage(&home);
    let verified = refused(&home, &["audit", "--verify"]);
    assert!(verified.contains("the store is damaged"), "{verified}");
    let listed = output(&home, &["list", "--json"]);
    assert!(listed.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&listed.stdout).unwrap(), before);
    let said = String::from_utf8(listed.stderr).unwrap();
    assert!(said.contains("warning: the store is damaged: "), "{said}");
    assert!(said.contains("It was built anew from the journal"), "{said}");
    assert!(said.contains("/home/store.damaged-20"), "{said}");
    // It is on record; it is said once; and the history is whole.
    assert!(home.run(&["audit"]).contains("built the store anew from the journal: the store is"));
    assert!(output(&home, &["list"]).stderr.is_empty());
    assert_eq!(json(&home.run(&["audit", "--verify", "--json"]))["whole"], true);
}

#[test]
fn a_ca_on_redb_is_built_anew_and_restored_on_redb() {
    let home = live(Home::with(&["--store", "redb"]));
    let before = json(&home.run(&["list", "--json"]));
    let db = home.path("home/store/redb");
    let mut octets = fs::read(&db).unwrap();
    let middle = octets.len() / 2;
    octets[middle..].fill(0x5a);
    file::replace(&db, &octets, Access::Private).unwrap();
    let listed = output(&home, &["list", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&listed.stdout).unwrap(), before);
    let said = String::from_utf8(listed.stderr).unwrap();
    assert!(said.contains("It was built anew from the journal"), "{said}");
    fs::rename(home.path("home/journal.jsonl"), home.path("kept.jsonl")).unwrap();
    fs::remove_dir_all(home.path("home/store")).unwrap();
    home.run(&["restore", "--journal", "kept.jsonl"]);
    assert!(db.exists() && !home.path("home/store/db").exists());
    assert_eq!(json(&home.run(&["list", "--json"])), before);
    assert_eq!(json(&home.run(&["audit", "--verify", "--json"]))["whole"], true);
}

#[test]
fn a_ca_changes_over_to_another_store_by_being_restored() {
    let home = lived();
    let before = json(&home.run(&["list", "--json"]));
    let config = home.path("home/ca.toml");
    let text = fs::read_to_string(&config).unwrap();
    let changed = text.replace("store = \"sled\"", "store = \"redb\"");
    file::replace(&config, changed.as_bytes(), Access::Private).unwrap();
    // Not by the way.
    for command in [&["list"][..], &["issue", "build-9"], &["restore"]] {
        let said = refused(&home, command);
        assert!(
            said.contains("vouchsafe restore --replace") || said.contains("in order"),
            "{said}"
        );
        assert!(home.path("home/store/db").exists());
    }
    let restored = json(&home.run(&["restore", "--replace", "--json"]));
    assert!(restored["set_aside"][0].as_str().unwrap().contains("/store.replaced-20"));
    assert!(home.path("home/store/redb").exists() && !home.path("home/store/db").exists());
    assert_eq!(json(&home.run(&["list", "--json"])), before);
    home.run(&["issue", "build-9"]);
    assert_eq!(json(&home.run(&["audit", "--verify", "--json"]))["whole"], true);
}

#[test]
fn what_is_left_out_of_the_journal_is_said_and_kept() {
    let home = lived();
    let journal = home.path("home/journal.jsonl");
    let tear = |remains: &[u8]| {
        let torn = [&fs::read(&journal).unwrap(), remains].concat();
        file::replace(&journal, &torn, Access::Private).unwrap();
        damage(&home);
    };
    // What a crash leaves.
    tear(b"{\"seq");
    let said = String::from_utf8(output(&home, &["list"]).stderr).unwrap();
    assert!(said.contains("from the journal, without its last 5 octets"), "{said}");
    assert!(said.contains("/home/journal.jsonl.replaced-20"), "{said}");
    assert!(home.run(&["audit"]).contains("without its last 5 octets, which were no record: the"));
    // What it may leave, and a disk as well.
    tear(&[0; 9]);
    let said = refused(&home, &["list"]);
    assert!(said.contains("with 9 octets that are not the beginning of another"), "{said}");
    assert!(said.contains("power loss") && said.contains("vouchsafe restore goes on"), "{said}");
    let told = home.run(&["restore"]);
    assert!(told.contains("Left out: the journal's last 9 octets, which are no record."), "{told}");
    assert_eq!(json(&home.run(&["audit", "--verify", "--json"]))["whole"], true);
}

#[test]
fn a_damaged_store_beside_a_journal_that_forgets_something_stays_as_it_is() {
    let home = lived();
    let journal = home.path("home/journal.jsonl");
    let honest = fs::read_to_string(&journal).unwrap();
    damage(&home);
    // The last record is the list that tells the revocation.
    let end = honest.trim_end().rfind('\n').unwrap() + 1;
    file::replace(&journal, &honest.as_bytes()[..end], Access::Private).unwrap();
    let said = refused(&home, &["issue", "build-9"]);
    assert!(said.contains("crl.pem holds a revocation list that the journal does not"), "{said}");
    assert!(said.contains("hint: nothing was changed"), "{said}");
    // With all of it the CA goes on.
    file::replace(&home.path("copy.jsonl"), honest.as_bytes(), Access::Private).unwrap();
    let told = home.run(&["restore", "--journal", "copy.jsonl"]);
    assert!(told.contains("3 certificates, 1 of them revoked"), "{told}");
    assert!(told.contains("Before, the store is damaged"), "{told}");
    home.run(&["issue", "build-9"]);
    assert_eq!(json(&home.run(&["audit", "--verify", "--json"]))["whole"], true);
}

#[test]
fn a_journal_kept_elsewhere_is_enough_beside_the_keys() {
    let home = lived();
    let before = json(&home.run(&["list", "--json"]));
    let records = fs::read_to_string(home.path("home/journal.jsonl")).unwrap().lines().count();
    fs::rename(home.path("home/journal.jsonl"), home.path("kept.jsonl")).unwrap();
    fs::remove_dir_all(home.path("home/store")).unwrap();
    let said = refused(&home, &["list"]);
    assert!(said.contains("vouchsafe restore (from a copy of it: --journal FILE)"), "{said}");
    let restored = json(&home.run(&["restore", "--journal", "kept.jsonl", "--json"]));
    assert_eq!(restored["records"], records + 1);
    assert_eq!((&restored["certificates"], &restored["revoked"]), (&3.into(), &1.into()));
    assert_eq!((&restored["damage"], &restored["set_aside"]), (&Value::Null, &json("[]")));
    assert_eq!(json(&home.run(&["list", "--json"])), before);
    assert_eq!(json(&home.run(&["audit", "--verify", "--json"]))["head"], restored["head"]);
}

#[test]
fn a_store_in_order_is_replaced_only_if_it_must_be() {
    let home = lived();
    let said = refused(&home, &["restore"]);
    assert!(said.contains("the store is in order") && said.contains("--replace"), "{said}");
    let restored = json(&home.run(&["restore", "--replace", "--json"]));
    let aside = restored["set_aside"][0].as_str().unwrap();
    assert!(aside.contains("/store.replaced-20") && fs::exists(aside).unwrap(), "{aside}");
    assert_eq!(json(&home.run(&["audit", "--verify", "--json"]))["whole"], true);
}
