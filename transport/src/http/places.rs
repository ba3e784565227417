//! Who may be connected: so many in all, so many of one source. Where there is no room, whoever has
//! most gives way to whoever has less, so that one source cannot shut out the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::HttpLimits;
use crate::source::Source;

/// The connections there are.
pub(crate) struct Places {
    limit: usize,
    limit_per_source: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    taken: usize,
    /// Of each source, oldest first.
    sources: HashMap<Source, BTreeMap<u64, oneshot::Sender<()>>>,
}

/// A place among the connections, left when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    source: Source,
    number: u64,
    signal: oneshot::Receiver<()>,
}

impl Place {
    /// Waits until the place is needed for somebody else.
    pub(crate) async fn gives_way(&mut self) {
        if (&mut self.signal).await.is_err() {
            // The sender went without a word: the place is kept.
            std::future::pending().await
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.source, self.number);
    }
}

impl Places {
    pub(crate) fn new(limits: &HttpLimits) -> Arc<Self> {
        Arc::new(Self {
            limit: limits.connections.max(1),
            limit_per_source: limits.connections_per_source.max(1),
            state: Mutex::default(),
        })
    }

    /// Takes a place, if a source may have one more.
    pub(crate) fn admit(self: &Arc<Self>, source: Source) -> Option<Place> {
        let mut state = self.lock();
        let own = state.sources.get(&source).map_or(0, BTreeMap::len);
        if own >= self.limit_per_source || state.taken >= self.limit && !state.make_room(own) {
            return None;
        }
        let (sender, signal) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.taken += 1;
        state.sources.entry(source).or_default().insert(number, sender);
        Some(Place { places: Arc::clone(self), source, number, signal })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the oldest connection of whoever has most, if that is at least two more than `own`: one
    /// more would only make the two change places for ever.
    fn make_room(&mut self, own: usize) -> bool {
        let largest = self.sources.iter().max_by_key(|(_, connections)| connections.len());
        let Some((source, connections)) = largest.filter(|(_, most)| most.len() > own + 1) else {
            return false;
        };
        let (source, oldest) = (*source, connections.keys().next().copied());
        if let Some(signal) = oldest.and_then(|number| self.remove(source, number)) {
            // An error means that it has ended by itself a moment ago.
            let _ = signal.send(());
        }
        true
    }

    fn remove(&mut self, source: Source, number: u64) -> Option<oneshot::Sender<()>> {
        let connections = self.sources.get_mut(&source)?;
        let removed = connections.remove(&number)?;
        self.taken -= 1;
        if connections.is_empty() {
            self.sources.remove(&source);
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(Ipv4Addr::from_bits(number).into())
    }

    fn places(connections: usize, per_source: usize) -> Arc<Places> {
        Places::new(&HttpLimits {
            connections,
            connections_per_source: per_source,
            ..HttpLimits::default()
        })
    }

    #[test]
    fn a_source_has_its_share_and_gets_a_place_back() {
        let places = places(10, 2);
        let first = places.admit(source(1)).unwrap();
        let _second = places.admit(source(1)).unwrap();
        assert!(places.admit(source(1)).is_none());
        assert!(places.admit(source(2)).is_some());
        drop(first);
        assert!(places.admit(source(1)).is_some());
        assert_eq!(places.lock().sources.len(), 1);
    }

    #[tokio::test]
    async fn whoever_has_most_gives_way() {
        let places = places(4, 4);
        let mut many: Vec<Place> = (0..4).map(|_| places.admit(source(1)).unwrap()).collect();
        // There is no room for a fifth of its own …
        assert!(places.admit(source(1)).is_none());
        // … but for two of others, at the cost of its oldest.
        let _second = places.admit(source(2)).unwrap();
        let _third = places.admit(source(3)).unwrap();
        for given_way in many.drain(..2) {
            let mut given_way = given_way;
            given_way.gives_way().await;
        }
        // Two, one, one: now nobody has two more than a newcomer would have.
        assert!(places.admit(source(2)).is_none());
        let _fourth = places.admit(source(4)).unwrap();
        assert!(places.admit(source(5)).is_none());
        assert_eq!(places.lock().taken, 4);
    }
}
