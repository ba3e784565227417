//! What waits for each session to be written, and how much of it there may be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::switch::Seat;

/// The sessions that are there.
#[derive(Default)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    last: u64,
    seats: HashMap<Seat, Incoming>,
    is_closed: bool,
}

struct Incoming {
    lines: mpsc::UnboundedSender<Bytes>,
    octets: Arc<AtomicUsize>,
    limit: usize,
}

/// What waits for one session.
pub(super) struct Outgoing {
    lines: mpsc::UnboundedReceiver<Bytes>,
    octets: Arc<AtomicUsize>,
}

impl Outgoing {
    /// The next line; `None` once the session is to end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let line = self.lines.recv().await?;
        self.octets.fetch_sub(line.len(), Ordering::Relaxed);
        Some(line)
    }
}

impl Seats {
    /// Takes a seat for which no more than two messages of `line` octets may wait; `None` if the
    /// server has ended.
    pub(super) fn enter(&self, line: usize) -> Option<(Seat, Outgoing)> {
        let mut taken = self.lock();
        if taken.is_closed {
            return None;
        }
        taken.last += 1;
        let seat = Seat(taken.last);
        let (sender, lines) = mpsc::unbounded_channel();
        let octets = Arc::<AtomicUsize>::default();
        let limit = line.saturating_mul(2);
        let incoming = Incoming { lines: sender, octets: Arc::clone(&octets), limit };
        taken.seats.insert(seat, incoming);
        Some((seat, Outgoing { lines, octets }))
    }

    /// Puts a line before a session. One that does not read loses its seat: the others would have to
    /// wait for it, or memory would.
    pub(super) fn send(&self, seat: Seat, line: Bytes) {
        let mut taken = self.lock();
        let Some(incoming) = taken.seats.get(&seat) else { return };
        let before = incoming.octets.fetch_add(line.len(), Ordering::Relaxed);
        if before + line.len() > incoming.limit || incoming.lines.send(line).is_err() {
            taken.seats.remove(&seat);
        }
    }

    /// Lets a session end once it has read what waits for it.
    pub(super) fn leave(&self, seat: Seat) {
        self.lock().seats.remove(&seat);
    }

    /// Lets every session end, and nobody enter.
    pub(super) fn close(&self) {
        let mut taken = self.lock();
        taken.is_closed = true;
        taken.seats.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_does_not_read_loses_the_seat_and_nobody_else_does() {
        let seats = Seats::default();
        let (slow, mut of_slow) = seats.enter(10).unwrap();
        let (quick, mut of_quick) = seats.enter(10).unwrap();
        for _ in 0..3 {
            seats.send(slow, Bytes::from_static(b"0123456789"));
            seats.send(quick, Bytes::from_static(b"0123456789"));
            assert!(of_quick.next().await.is_some());
        }
        // What was there before it was too much is still read.
        for _ in 0..2 {
            assert!(of_slow.next().await.is_some());
        }
        assert!(of_slow.next().await.is_none());
        seats.send(quick, Bytes::from_static(b"on"));
        assert_eq!(of_quick.next().await.unwrap(), "on");
        seats.close();
        assert!(of_quick.next().await.is_none() && seats.enter(10).is_none());
    }
}
