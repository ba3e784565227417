//! Who may be connected: so many in all, so many of one source. Where there is no room, whoever has
//! most gives way to whoever has less, and the longest silent to whoever has nothing; otherwise each
//! source helps itself. So neither one source nor as many as there are places can shut out the others
//! by holding connections open.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Connections go by a number that is drawn when they come and again at each request: so the lowest
/// is that of the longest silent.
#[derive(Default)]
struct State {
    next: u64,
    sources: HashMap<Source, BTreeMap<u64, oneshot::Sender<()>>>,
    all: BTreeMap<u64, Source>,
}

/// A place among the connections, left when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    source: Source,
    /// Changed under the lock of the places alone.
    number: AtomicU64,
}

/// What a place hears when it is needed for somebody else.
pub(crate) struct Signal(oneshot::Receiver<()>);

impl Signal {
    /// Waits for it.
    pub(crate) async fn gives_way(&mut self) {
        if (&mut self.0).await.is_err() {
            // The sender went without a word: the place is kept.
            std::future::pending().await
        }
    }
}

impl Place {
    /// A request has come: others are silent for longer now.
    pub(crate) fn speaks(&self) {
        let mut state = self.places.lock();
        let number = self.number.load(Ordering::Relaxed);
        // Whoever has given way a moment ago stays gone.
        if let Some(signal) = state.remove(self.source, number) {
            self.number.store(state.add(self.source, signal), Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.remove(self.source, self.number.load(Ordering::Relaxed));
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
    pub(crate) fn admit(self: &Arc<Self>, source: Source) -> Option<(Place, Signal)> {
        let mut state = self.lock();
        let own = state.sources.get(&source).map_or(0, BTreeMap::len);
        if own >= self.limit_per_source {
            return None;
        }
        if state.all.len() >= self.limit {
            state.make_room(source, own);
        }
        let (sender, signal) = oneshot::channel();
        let number = AtomicU64::new(state.add(source, sender));
        Some((Place { places: Arc::clone(self), source, number }, Signal(signal)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the connection that is to give way to a source which has `own` others.
    fn make_room(&mut self, newcomer: Source, own: usize) {
        let given_way = self.giving_way(newcomer, own);
        if let Some(signal) = given_way.and_then(|(number, source)| self.remove(source, number)) {
            // An error means that it has ended by itself a moment ago.
            let _ = signal.send(());
        }
    }

    /// The longest silent of whoever has most, if that is at least two more than `own`: one more would
    /// only make the two change places for ever. Otherwise the longest silent of all, for a source that
    /// would have none at all; any other helps itself.
    fn giving_way(&self, newcomer: Source, own: usize) -> Option<(u64, Source)> {
        let largest = self.sources.iter().max_by_key(|(_, connections)| connections.len());
        let (source, connections) = match largest.filter(|(_, most)| most.len() > own + 1) {
            Some(largest) => largest,
            None if own == 0 => return self.all.first_key_value().map(|(nth, of)| (*nth, *of)),
            None => self.sources.get_key_value(&newcomer)?,
        };
        Some((*connections.keys().next()?, *source))
    }

    fn add(&mut self, source: Source, signal: oneshot::Sender<()>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sources.entry(source).or_default().insert(number, signal);
        self.all.insert(number, source);
        number
    }

    fn remove(&mut self, source: Source, number: u64) -> Option<oneshot::Sender<()>> {
        let connections = self.sources.get_mut(&source)?;
        let removed = connections.remove(&number)?;
        self.all.remove(&number);
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
        let mut many: Vec<_> = (0..4).map(|_| places.admit(source(1)).unwrap()).collect();
        // There is room for two of others, at the cost of its longest silent.
        many[0].0.speaks();
        let _second = places.admit(source(2)).unwrap();
        let _third = places.admit(source(3)).unwrap();
        for (_place, mut signal) in many.drain(1..3) {
            signal.gives_way().await;
        }
        // Two, one, one: nobody has two more than the first has, so for another it helps itself.
        let _fifth = places.admit(source(1)).unwrap();
        many.remove(1).1.gives_way().await;
        assert_eq!(places.lock().all.len(), 4);
    }

    #[tokio::test]
    async fn as_many_sources_as_there_are_places_do_not_shut_out_the_next() {
        let places = places(3, 3);
        let mut held: Vec<_> =
            (1..=3).map(|number| places.admit(source(number)).unwrap()).collect();
        // Whoever asks for something stays, also if it came first.
        held[0].0.speaks();
        let _fourth = places.admit(source(4)).unwrap();
        let (gone, mut signal) = held.remove(1);
        signal.gives_way().await;
        gone.speaks();
        drop(gone);
        assert_eq!(places.lock().all.len(), 3);
        // Nobody gets a second place at the cost of somebody's only one.
        let _instead = places.admit(source(4)).unwrap();
        assert_eq!(places.lock().sources.len(), 3);
        // One that is gone is no longer in the way.
        drop(held.remove(1));
        let _fifth = places.admit(source(5)).unwrap();
        let _sixth = places.admit(source(6)).unwrap();
        held.remove(0).1.gives_way().await;
    }
}
