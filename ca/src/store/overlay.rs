//! Changes on top of a store that knows nothing of them yet.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard};

use super::{Change, Store, StoreError, refuse_beyond_limits};

/// Several `replace`s that shall become one: each sees those before it, and one that is refused
/// leaves no trace.
///
/// It keeps every promise of a [`Store`] but durability, and takes no other changes of the store
/// below into account than those made before a key is first touched.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    below: &'a dyn Store,
    touched: Mutex<BTreeMap<String, Touched>>,
}

/// What the store below holds, and what it shall hold.
#[derive(Clone, Debug)]
struct Touched {
    below: Option<Vec<u8>>,
    above: Option<Vec<u8>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(below: &'a dyn Store) -> Self {
        Self { below, touched: Mutex::default() }
    }

    /// The one `replace` for the store below.
    pub(crate) fn into_changes(self) -> Result<Vec<Change>, StoreError> {
        let touched = self.touched.into_inner().map_err(|_| StoreError::Stopped)?;
        let change = |(key, Touched { below, above })| Change { key, expected: below, new: above };
        Ok(touched.into_iter().map(change).collect())
    }

    fn touched(&self) -> Result<MutexGuard<'_, BTreeMap<String, Touched>>, StoreError> {
        self.touched.lock().map_err(|_| StoreError::Stopped)
    }
}

impl Store for Overlay<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(touched) = self.touched()?.get(key) {
            return Ok(touched.above.clone());
        }
        self.below.get(key)
    }

    fn scan_after(
        &self,
        prefix: &str,
        after: &str,
        visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let start = if after.is_empty() { Bound::Included(prefix) } else { Bound::Excluded(after) };
        // A copy, because `visit` may read as well.
        let touched: Vec<(String, Option<Vec<u8>>)> = self
            .touched()?
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, touched)| (key.clone(), touched.above.clone()))
            .collect();
        let mut above = touched.into_iter().peekable();
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
        refuse_beyond_limits(changes)?;
        let mut touched = self.touched()?;
        let mut below = Vec::with_capacity(changes.len());
        for change in changes {
            let (stored, current) = match touched.get(&change.key) {
                Some(known) => (None, known.above.clone()),
                None => {
                    let stored = self.below.get(&change.key)?;
                    (Some(stored.clone()), stored)
                }
            };
            if current != change.expected {
                return Err(StoreError::Conflict { key: change.key.clone() });
            }
            below.push(stored);
        }
        for (change, stored) in changes.iter().zip(below) {
            let above = change.new.clone();
            match touched.entry(change.key.clone()) {
                Entry::Occupied(mut known) => known.get_mut().above = above,
                Entry::Vacant(new) => {
                    new.insert(Touched { below: stored.flatten(), above });
                }
            }
        }
        Ok(())
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
