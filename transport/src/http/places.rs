//! Who may be connected: so many in all, so many of one source. Where there is no room, whoever has
//! most gives way to whoever has less, and the longest silent to whoever has nothing; otherwise each
//! source helps itself. So neither one source nor as many as there are places can shut out the others
//! by holding connections open, and neither can one connection of a source the others behind it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::HttpLimits;
use crate::source::Source;

/// What an honest handshake, or a request and its way here, is done in. For so long it gives way to
/// nobody of its own source; at a hundred requests a second that is never true of 256 connections for long.
const PROMPT: Duration = Duration::from_secs(2);

/// For whoever waits to be told that there is nothing new, instead of being cut off.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The connections there are.
pub(crate) struct Places {
    limit: usize,
    limit_per_source: usize,
    /// How long an answer may be worked on.
    answer: Duration,
    state: Mutex<State>,
}

/// Connections go by a number that is drawn when they come and again whenever they ask or take
/// something: so the lowest is that of the longest silent.
#[derive(Default)]
struct State {
    next: u64,
    sources: HashMap<Source, BTreeMap<u64, Connection>>,
    all: BTreeMap<u64, Source>,
}

struct Connection {
    /// Hears how long it has left, once the place is needed for somebody else.
    notice: watch::Sender<Option<Duration>>,
    busy_until: Instant,
    waits: bool,
}

impl Connection {
    fn is_silent(&self, now: Instant) -> bool {
        self.waits || self.busy_until <= now
    }
}

/// A place among the connections, left when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    source: Source,
    /// Changed under the lock of the places alone.
    number: AtomicU64,
}

/// What a place hears when it is needed for somebody else.
pub(crate) struct Signal(watch::Receiver<Option<Duration>>);

impl Signal {
    /// Waits for it.
    async fn gives_way(&mut self) -> Duration {
        let left = self.0.wait_for(Option::is_some).await.ok().and_then(|left| *left);
        match left {
            Some(left) => left,
            // The sender went without a word: the place is kept.
            None => std::future::pending().await,
        }
    }

    /// Waits for it, and for whatever may still be said.
    pub(crate) async fn is_over(&mut self) {
        sleep(self.gives_way().await).await;
    }
}

/// Somebody whose answer waits for something to happen. Their connection is the first that is needed
/// for others.
pub struct Waiting(Option<(Arc<Place>, Signal)>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

impl Waiting {
    /// Where nobody is in anybody's way.
    pub(crate) fn freely() -> Self {
        Self(None)
    }

    /// Until the connection is needed for somebody else, and it is time to answer.
    pub async fn gives_way(&mut self) {
        match &mut self.0 {
            Some((_, signal)) => drop(signal.gives_way().await),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((place, _)) = &self.0 {
            place.is_busy_for(PROMPT);
        }
    }
}

impl Place {
    /// A request has come, or a part of an answer has gone: others are silent for longer now.
    pub(crate) fn speaks(&self) {
        self.is_busy_for(PROMPT);
    }

    /// A request has come whole, and is about to be answered.
    pub(crate) fn works(&self) {
        self.is_busy_for(self.places.answer);
    }

    /// There is an answer. Whether it may be followed by another.
    pub(crate) fn has_worked(&self) -> bool {
        self.is_busy_for(PROMPT)
    }

    /// The answer is to wait for something, if not too many of this source do.
    pub(crate) fn waits(self: &Arc<Self>) -> Option<Waiting> {
        let mut state = self.places.lock();
        let connections = state.sources.get_mut(&self.source)?;
        let waiting = connections.values().filter(|connection| connection.waits).count();
        let connection = connections.get_mut(&self.number.load(Ordering::Relaxed))?;
        if waiting >= (self.places.limit_per_source / 2).max(1) {
            return None;
        }
        connection.waits = true;
        let signal = Signal(connection.notice.subscribe());
        Some(Waiting(Some((Arc::clone(self), signal))))
    }

    /// Whether it is there at all: whoever has given way a moment ago stays gone.
    fn is_busy_for(&self, duration: Duration) -> bool {
        let mut state = self.places.lock();
        let number = self.number.load(Ordering::Relaxed);
        let Some(connection) = state.remove(self.source, number) else { return false };
        let connection =
            Connection { busy_until: Instant::now() + duration, waits: false, ..connection };
        self.number.store(state.add(self.source, connection), Ordering::Relaxed);
        true
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
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
            answer: limits.answer,
            state: Mutex::default(),
        })
    }

    /// Takes a place. A source that may have no more gives up its longest silent for it, unless all
    /// of them are busy.
    pub(crate) fn admit(self: &Arc<Self>, source: Source) -> Option<(Place, Signal)> {
        let (mut state, now) = (self.lock(), Instant::now());
        let own = state.sources.get(&source).map_or(0, BTreeMap::len);
        if own >= self.limit_per_source {
            let number = state.longest_silent(source, now)?;
            state.dismiss(source, number);
        } else if state.all.len() >= self.limit {
            state.make_room(source, own, now);
        }
        let (notice, signal) = watch::channel(None);
        let connection = Connection { notice, busy_until: now + PROMPT, waits: false };
        let number = AtomicU64::new(state.add(source, connection));
        Some((Place { places: Arc::clone(self), source, number }, Signal(signal)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the connection that is to give way to a source which has `own` others.
    fn make_room(&mut self, newcomer: Source, own: usize, now: Instant) {
        if let Some((number, source)) = self.giving_way(newcomer, own, now) {
            self.dismiss(source, number);
        }
    }

    /// The longest silent of whoever has most, if that is at least two more than `own`: one more would
    /// only make the two change places for ever. Otherwise the longest silent of all, for a source that
    /// would have none at all; any other helps itself.
    fn giving_way(&self, newcomer: Source, own: usize, now: Instant) -> Option<(u64, Source)> {
        let largest = self.sources.iter().max_by_key(|(_, connections)| connections.len());
        let source = match largest.filter(|(_, most)| most.len() > own + 1) {
            Some((largest, _)) => *largest,
            None if own == 0 => return self.all.first_key_value().map(|(nth, of)| (*nth, *of)),
            None => newcomer,
        };
        // Nobody keeps others out by being busy.
        let busy = || self.sources.get(&source)?.keys().next().copied();
        Some((self.longest_silent(source, now).or_else(busy)?, source))
    }

    fn longest_silent(&self, source: Source, now: Instant) -> Option<u64> {
        let mut connections = self.sources.get(&source)?.iter();
        let (number, _) = connections.find(|(_, connection)| connection.is_silent(now))?;
        Some(*number)
    }

    fn dismiss(&mut self, source: Source, number: u64) {
        if let Some(Connection { notice, waits, .. }) = self.remove(source, number) {
            let left = if waits { LAST_WORDS } else { Duration::ZERO };
            notice.send_replace(Some(left));
        }
    }

    fn add(&mut self, source: Source, connection: Connection) -> u64 {
        let number = self.next;
        self.next += 1;
        self.sources.entry(source).or_default().insert(number, connection);
        self.all.insert(number, source);
        number
    }

    fn remove(&mut self, source: Source, number: u64) -> Option<Connection> {
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

    use tokio::time::{advance, timeout};

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

    #[tokio::test(start_paused = true)]
    async fn a_source_has_its_share_and_gets_a_place_back() {
        let places = places(10, 2);
        let first = places.admit(source(1)).unwrap();
        let _second = places.admit(source(1)).unwrap();
        assert!(places.admit(source(1)).is_none());
        assert!(places.admit(source(2)).is_some());
        drop(first);
        assert!(places.admit(source(1)).is_some());
        assert_eq!(places.lock().sources.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_of_a_source_gives_way_to_its_next() {
        let places = places(10, 3);
        let admit = || places.admit(source(1));
        let (first, mut of_first) = admit().unwrap();
        let (second, mut of_second) = admit().unwrap();
        let (third, mut of_third) = admit().unwrap();
        // A handshake and a request on its way are given their time, and an answer in the making its own.
        advance(PROMPT - Duration::from_millis(1)).await;
        second.speaks();
        third.works();
        assert!(admit().is_none());
        advance(Duration::from_millis(1)).await;
        let _fourth = admit().unwrap();
        of_first.is_over().await;
        first.speaks();
        assert!(admit().is_none(), "whoever is gone is not counted, and does not come back");
        advance(PROMPT).await;
        let _fifth = admit().unwrap();
        of_second.is_over().await;
        // What is worked on is not broken off, however many come.
        for _ in 0..9 {
            advance(PROMPT).await;
            assert!(admit().is_some());
        }
        assert!(timeout(PROMPT, of_third.is_over()).await.is_err());
        assert!(third.has_worked() && !second.has_worked());
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_a_source_may_wait_and_give_way_with_a_word() {
        let places = places(10, 4);
        let admit = || places.admit(source(1)).map(|(place, signal)| (Arc::new(place), signal));
        let held: Vec<_> = (0..4).map(|_| admit().unwrap()).collect();
        let mut first = held[0].0.waits().unwrap();
        let _second = held[1].0.waits().unwrap();
        assert!(held[2].0.waits().is_none());
        // However young it is: whoever waits does nothing.
        let _fifth = admit().unwrap();
        let begun = Instant::now();
        first.gives_way().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        drop(first);
        assert!(!held[0].0.has_worked() && held[0].0.waits().is_none());
        let mut signal = held.into_iter().next().unwrap().1;
        signal.is_over().await;
        assert_eq!(begun.elapsed(), LAST_WORDS);
        // Another may wait now, and is busy again when that is over.
        let (sixth, mut of_sixth) = admit().unwrap();
        drop(sixth.waits().unwrap());
        assert!(timeout(Duration::ZERO, of_sixth.is_over()).await.is_err());
    }

    #[test]
    fn at_its_rate_a_source_cannot_keep_all_of_its_places_busy() {
        let limits = HttpLimits::default();
        let busy = PROMPT * limits.rate;
        let places = u32::try_from(limits.connections_per_source).unwrap();
        assert!(busy.as_secs() < places.into());
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
            signal.is_over().await;
        }
        // Two, one, one: nobody has two more than the first has, so for another it helps itself.
        let _fifth = places.admit(source(1)).unwrap();
        many.remove(1).1.is_over().await;
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
        signal.is_over().await;
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
        held.remove(0).1.is_over().await;
    }
}
