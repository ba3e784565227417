//! What [`Store`] promises, asked of every backend.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Change, MAX_KEY_LEN, Store, StoreError, StoreKind};
use crate::file::{self, Access};

pub(super) fn put(key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Change {
    let own = |value: &[u8]| value.to_vec();
    Change { key: key.into(), expected: expected.map(own), new: new.map(own) }
}

pub(super) fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    keys_after(store, prefix, "")
}

fn keys_after(store: &dyn Store, prefix: &str, after: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut visit = |key: &str, _: &[u8]| {
        keys.push(key.to_owned());
        ControlFlow::Continue(())
    };
    store.scan_after(prefix, after, &mut visit).unwrap();
    keys
}

/// A place for a store of each kind.
fn places() -> impl Iterator<Item = (StoreKind, PathBuf, TempDir)> {
    StoreKind::ALL.into_iter().map(|kind| {
        let home = tempfile::tempdir().unwrap();
        (kind, home.path().join("store"), home)
    })
}

/// A new store of each kind.
fn stores() -> impl Iterator<Item = (Arc<dyn Store>, TempDir)> {
    places().map(|(kind, directory, home)| (kind.create(&directory).unwrap(), home))
}

#[test]
fn all_changes_happen_or_none() {
    for (store, _home) in stores() {
        store.replace(&[put("a", None, Some(b"1")), put("b", None, Some(b"2"))]).unwrap();
        let refused = store.replace(&[put("c", None, Some(b"3")), put("a", None, Some(b"9"))]);
        assert!(matches!(refused, Err(StoreError::Conflict { key }) if key == "a"));
        assert_eq!(store.get("c").unwrap(), None);
        store.replace(&[put("a", Some(b"1"), None), put("b", Some(b"2"), Some(b"2"))]).unwrap();
        assert_eq!(keys(&*store, ""), ["b"]);
        let twice = store.replace(&[put("d", None, None), put("d", None, Some(b"1"))]);
        assert!(matches!(twice, Err(StoreError::Limit { .. })), "{twice:?}");
        let long = "k".repeat(MAX_KEY_LEN + 1);
        assert!(matches!(
            store.replace(&[put(&long, None, Some(b"1"))]),
            Err(StoreError::Limit { .. })
        ));
        // Neither stops it.
        store.replace(&[put("e", None, Some(b""))]).unwrap();
        assert_eq!(store.get("e").unwrap().unwrap(), b"");
    }
}

#[test]
fn scans_are_ordered_and_can_stop() {
    for (store, _home) in stores() {
        for key in ["x/2", "x/1", "y/1", "x", "x/10"] {
            store.replace(&[put(key, None, Some(b""))]).unwrap();
        }
        assert_eq!(keys(&*store, "x/"), ["x/1", "x/10", "x/2"]);
        let mut seen = 0;
        let mut visit = |_: &str, _: &[u8]| {
            seen += 1;
            ControlFlow::Break(())
        };
        store.scan("", &mut visit).unwrap();
        assert_eq!(seen, 1);
    }
}

#[test]
fn a_scan_goes_on_where_another_stopped() {
    for (store, _home) in stores() {
        for key in ["x/1", "x/2", "x/3", "y/1"] {
            store.replace(&[put(key, None, Some(b""))]).unwrap();
        }
        let after = |after: &str| keys_after(&*store, "x/", after);
        assert_eq!(after(""), ["x/1", "x/2", "x/3"]);
        assert_eq!(after("x/1"), ["x/2", "x/3"]);
        // The key itself need not be there any more.
        assert_eq!(after("x/2a"), ["x/3"]);
        assert_eq!(after("x/3"), [""; 0]);
    }
}

#[test]
fn whoever_scans_may_read_and_write_meanwhile() {
    for (store, _home) in stores() {
        for key in ["x/1", "x/2", "x/3"] {
            store.replace(&[put(key, None, Some(b"1"))]).unwrap();
        }
        let mut visit = |key: &str, value: &[u8]| {
            assert_eq!(store.get(key).unwrap().as_deref(), Some(value));
            store.replace(&[put(&format!("y/{key}"), None, Some(b"2"))]).unwrap();
            ControlFlow::Continue(())
        };
        store.scan("x/", &mut visit).unwrap();
        assert_eq!(keys(&*store, "y/").len(), 3);
    }
}

#[test]
fn a_store_is_reopened_but_never_recreated() {
    for (kind, directory, _home) in places() {
        assert!(matches!(kind.open(&directory), Err(StoreError::Missing(_))));
        let store = kind.create(&directory).unwrap();
        store.replace(&[put("a", None, Some(b"1"))]).unwrap();
        assert!(matches!(kind.open(&directory), Err(StoreError::DoesNotOpen { .. })));
        drop(store);
        assert!(matches!(kind.create(&directory), Err(StoreError::DoesNotOpen { .. })));
        assert_eq!(kind.open(&directory).unwrap().get("a").unwrap().unwrap(), b"1");
        let file = only_file(kind, &directory);
        fs::remove_file(&file).unwrap();
        assert!(matches!(kind.open(&directory), Err(StoreError::Missing(_))));
        File::create(&file).unwrap();
        assert!(matches!(kind.open(&directory), Err(StoreError::Corrupt { .. })));
    }
}

fn only_file(kind: StoreKind, directory: &Path) -> PathBuf {
    directory.join(match kind {
        StoreKind::Sled => "db",
        StoreKind::Redb => "redb",
    })
}

#[test]
fn no_backend_takes_anothers_files_for_its_own() {
    for (kind, directory, _home) in places() {
        drop(kind.create(&directory).unwrap());
        for other in StoreKind::ALL.into_iter().filter(|other| *other != kind) {
            let refused = other.open(&directory).unwrap_err();
            assert!(
                matches!(refused, StoreError::OtherKind { said, found } if (said, found) == (other, kind)),
                "{refused}"
            );
        }
    }
}

#[test]
fn what_no_backend_has_written_is_damage_or_nothing() {
    for (kind, directory, _home) in places() {
        let store = kind.create(&directory).unwrap();
        store.replace(&[put("a", None, Some(b"1"))]).unwrap();
        drop(store);
        let path = only_file(kind, &directory);
        let honest = fs::read(&path).unwrap();
        file::replace(&path, &vec![0x5a; honest.len()], Access::Private).unwrap();
        // sled finds no page of its own, and begins anew: the ledger takes a store without a head for
        // damaged.
        match kind.open(&directory) {
            Ok(store) => assert_eq!(keys(&*store, ""), [""; 0]),
            Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{kind}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn values_of_every_length_survive(lengths in prop::collection::vec(0..20_000_usize, 1..4)) {
        for (kind, directory, _home) in places() {
            let mut store = kind.create(&directory).unwrap();
            let mut before = None;
            for (nth, length) in lengths.iter().enumerate() {
                let value = vec![u8::try_from(nth).unwrap(); *length];
                store.replace(&[Change { key: "k".into(), expected: before, new: Some(value.clone()) }]).unwrap();
                drop(store);
                store = kind.open(&directory).unwrap();
                before = store.get("k").unwrap();
                prop_assert_eq!(before.as_ref(), Some(&value));
            }
            store.replace(&[Change { key: "k".into(), expected: before, new: None }]).unwrap();
            prop_assert_eq!(keys(&*store, ""), Vec::<String>::new());
        }
    }
}
