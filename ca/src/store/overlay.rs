//! Changes on top of a store that knows nothing of them yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard};

use super::{Change, Store, StoreError, refuse_beyond_limits};

/// How many keys are remembered that were only read. An event that reads more of them reads on without.
const REMEMBERED: usize = 4 * 1024;

/// Several `replace`s that shall become one: each sees those before it, and one that is refused
/// leaves no trace.
///
/// It keeps every promise of a [`Store`] but durability, and takes no other changes of the store
/// below into account than those made before a key is first looked at.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    below: &'a dyn Store,
    known: Mutex<BTreeMap<String, Known>>,
}

/// What the store below holds, and what it shall hold.
#[derive(Debug)]
struct Known {
    below: Option<Vec<u8>>,
    /// `None`: it stays as it is.
    above: Option<Option<Vec<u8>>>,
}

impl Known {
    fn now(&self) -> Option<&Vec<u8>> {
        self.above.as_ref().unwrap_or(&self.below).as_ref()
    }
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(below: &'a dyn Store) -> Self {
        Self { below, known: Mutex::default() }
    }

    /// The one `replace` for the store below. What was only read or demanded is not in it: that it
    /// still holds is for whoever asks to see to.
    pub(crate) fn into_changes(self) -> Result<Vec<Change>, StoreError> {
        let known = self.known.into_inner().map_err(|_| StoreError::Stopped)?;
        let change = |(key, Known { below, above }): (String, Known)| {
            let new = above.filter(|above| *above != below)?;
            Some(Change { key, expected: below, new })
        };
        Ok(known.into_iter().filter_map(change).collect())
    }

    /// Makes all changes or none, as [`Store::replace`] does.
    pub(crate) fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        refuse_beyond_limits(&changes)?;
        let mut known = self.known()?;
        for change in &changes {
            let known = match known.entry(change.key.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    new.insert(Known { below: self.below.get(&change.key)?, above: None })
                }
            };
            if known.now() != change.expected.as_ref() {
                return Err(StoreError::Conflict { key: change.key.clone() });
            }
        }
        for Change { key, new, .. } in changes {
            if let Some(known) = known.get_mut(&key) {
                known.above = Some(new);
            }
        }
        Ok(())
    }

    fn known(&self) -> Result<MutexGuard<'_, BTreeMap<String, Known>>, StoreError> {
        self.known.lock().map_err(|_| StoreError::Stopped)
    }
}

impl Store for Overlay<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut known = self.known()?;
        if let Some(known) = known.get(key) {
            return Ok(known.now().cloned());
        }
        let value = self.below.get(key)?;
        if known.len() < REMEMBERED {
            known.insert(key.to_owned(), Known { below: value.clone(), above: None });
        }
        Ok(value)
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let start = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        // A copy, because `visit` may read as well.
        let known: Vec<(String, Option<Vec<u8>>)> = self
            .known()?
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, known)| (key.clone(), known.now().cloned()))
            .collect();
        let mut above = known.into_iter().peekable();
        let mut flow = ControlFlow::Continue(());
        self.below.scan_after(prefix, after, &mut |key, value| {
            while let Some((earlier, value)) = above.next_if(|(above, _)| above.as_str() < key) {
                if let Some(value) = value {
                    flow = visit(&earlier, &value);
                    if flow.is_break() {
                        return flow;
                    }
                }
            }
            flow = match above.next_if(|(above, _)| above == key) {
                Some((_, Some(value))) => visit(key, &value),
                Some((_, None)) => ControlFlow::Continue(()),
                None => visit(key, value),
            };
            flow
        })?;
        for (key, value) in above {
            if flow.is_continue()
                && let Some(value) = value
            {
                flow = visit(&key, &value);
            }
        }
        Ok(())
    }

    fn replace(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.apply(changes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::{MAX_KEY_LEN, SledStore};

    fn everything(store: &dyn Store, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut visit = |key: &str, value: &[u8]| {
            // What is visited can be read in the middle of a scan.
            assert_eq!(store.get(key).unwrap().as_deref(), Some(value));
            found.push((key.to_owned(), value.to_vec()));
            ControlFlow::Continue(())
        };
        store.scan(prefix, &mut visit).unwrap();
        found
    }

    /// The three keys that follow.
    fn page(store: &dyn Store, after: &str) -> Vec<String> {
        let prefix = after.split_inclusive('/').next().unwrap_or_default();
        let mut found = Vec::new();
        let mut visit = |key: &str, _: &[u8]| {
            found.push(key.to_owned());
            if found.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        store.scan_after(prefix, after, &mut visit).unwrap();
        found
    }

    /// One of few keys, and what it shall hold; some expect what is not so.
    fn replacement() -> impl Strategy<Value = Vec<(u8, Option<u8>, bool)>> {
        let change = (0..12_u8, prop::option::of(any::<u8>()), prop::bool::weighted(0.95));
        prop::collection::vec(change, 1..5)
    }

    fn key(nth: u8) -> String {
        format!("{}/{nth}", if nth < 6 { "a" } else { "b" })
    }

    fn changes(store: &dyn Store, wanted: &[(u8, Option<u8>, bool)]) -> Vec<Change> {
        let change = |(nth, new, right): &(u8, Option<u8>, bool)| {
            let key = key(*nth);
            let expected = store.get(&key).unwrap();
            let expected = if *right { expected } else { Some(b"wrong".to_vec()) };
            Change { key, expected, new: new.map(|octet| vec![octet]) }
        };
        wanted.iter().map(change).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn many_replacements_at_once_come_to_the_same_as_one_by_one(
            before in prop::collection::vec(replacement(), 0..4),
            after in prop::collection::vec(replacement(), 0..8),
        ) {
            let (one, other) = (SledStore::temporary().unwrap(), SledStore::temporary().unwrap());
            for wanted in &before {
                let changes = changes(&one, wanted);
                prop_assert_eq!(one.replace(&changes).is_ok(), other.replace(&changes).is_ok());
            }
            let overlay = Overlay::new(&other);
            let untouched = everything(&other, "");
            for wanted in &after {
                let changes = changes(&one, wanted);
                let (straight, above) = (one.replace(&changes), overlay.replace(&changes));
                prop_assert_eq!(straight.is_ok(), above.is_ok());
                for prefix in ["", "a/", "b/", "c"] {
                    prop_assert_eq!(everything(&one, prefix), everything(&overlay, prefix));
                }
                for after in ["", "a/3", "a/x", "b/7"] {
                    prop_assert_eq!(page(&one, after), page(&overlay, after));
                }
            }
            prop_assert_eq!(everything(&other, ""), untouched);
            other.replace(&overlay.into_changes().unwrap()).unwrap();
            prop_assert_eq!(everything(&one, ""), everything(&other, ""));
        }
    }

    #[test]
    fn what_was_only_read_or_demanded_is_not_written() {
        let store = SledStore::temporary().unwrap();
        let put = |key: &str, expected: Option<&[u8]>, new: Option<&[u8]>| {
            let own = |value: &[u8]| value.to_vec();
            Change { key: key.into(), expected: expected.map(own), new: new.map(own) }
        };
        store.replace(&[put("a", None, Some(b"1"))]).unwrap();
        let overlay = Overlay::new(&store);
        assert_eq!(overlay.get("a").unwrap().unwrap(), b"1");
        let demands = [put("a", Some(b"1"), Some(b"1")), put("b", None, None)];
        overlay.replace(&demands).unwrap();
        overlay.replace(&[put("c", None, Some(b"3"))]).unwrap();
        assert!(overlay.replace(&[put("a", Some(b"2"), Some(b"2"))]).is_err());
        assert_eq!(overlay.into_changes().unwrap(), [put("c", None, Some(b"3"))]);
    }

    #[test]
    fn what_the_store_below_would_not_take_is_refused_at_once() {
        let store = SledStore::temporary().unwrap();
        let overlay = Overlay::new(&store);
        let long = Change { key: "k".repeat(MAX_KEY_LEN + 1), expected: None, new: None };
        let twice = Change { key: "k".into(), expected: None, new: Some(vec![1]) };
        for refused in [vec![long], vec![twice.clone(), twice]] {
            let error = overlay.replace(&refused).unwrap_err();
            assert!(matches!(error, StoreError::Limit { .. }), "{error}");
        }
        assert!(overlay.into_changes().unwrap().is_empty());
    }
}
