//! One thread writes for all: whatever waits while the disk is busy shares the next write, and in a crowd
//! whoever is about to.
//!
//! Signing, which costs the most, has been done by then, on other threads. An event
//! that is refused is refused alone. The store and the journal are synced at the same time, and only
//! after both does anybody get an answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;
use tokio::sync::oneshot;

use crate::audit::Head;
use crate::batch::{Batch, MAX_BATCH, Prepared};
use crate::consequences::RecordError;
use crate::error::Error;
use crate::journal::{Journal, JournalError};
use crate::pending::{Pending, Verdict};
use crate::record::{Actor, Event};
use crate::store::{Store, StoreError};

/// How many may wait in line; who comes after them waits to stand in line.
const MAX_WAITING: usize = 4 * MAX_BATCH;

/// Beyond this nobody is waited for longer, whatever a write has taken: the disk may have been held up by something.
const LONG: Duration = Duration::from_millis(20);

/// Somebody who waits until the disk has it.
struct Waiting {
    /// `None`: whatever can be read by now.
    act: Option<Act>,
    answer: oneshot::Sender<Verdict>,
}

/// What somebody does.
struct Act {
    by: Actor,
    event: Event,
    at: UnixTime,
}

/// The thread that writes, as others see it.
#[derive(Debug)]
pub(crate) struct Committer {
    line: Option<SyncSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
}

impl Committer {
    pub(crate) fn start(
        store: Arc<dyn Store>,
        journal: Journal,
        head: Head,
    ) -> Result<Self, StoreError> {
        let (line, waiting) = sync_channel(MAX_WAITING);
        let stopped = Arc::new(AtomicBool::new(false));
        let failed = |error: io::Error| StoreError::Failed(error.into());
        let scribe = Scribe::start(journal).map_err(failed)?;
        let mut writer =
            Writer { store, scribe, head, stopped: Arc::clone(&stopped), latest: Write::default() };
        let thread = thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || writer.serve(&waiting))
            .map_err(failed)?;
        Ok(Self { line: Some(line), thread: Some(thread), stopped })
    }

    /// Hands an event over, which counts once it is on disk.
    pub(crate) fn commit(
        &self,
        by: Actor,
        event: Event,
        at: UnixTime,
    ) -> Result<Pending<()>, Error> {
        self.stand_in_line(Some(Act { by, event, at }))
    }

    /// Waits for everything that can be read by now to be on disk.
    pub(crate) fn settle(&self) -> Result<Pending<()>, Error> {
        self.stand_in_line(None)
    }

    fn stand_in_line(&self, act: Option<Act>) -> Result<Pending<()>, Error> {
        let (answer, answered) = oneshot::channel();
        // The other end is gone only if the thread has panicked, perhaps in the middle of a write.
        let line = self.line.as_ref().ok_or(Error::Stopped)?;
        line.send(Waiting { act, answer }).map_err(|_| Error::Stopped)?;
        Ok(Pending::new((), answered))
    }

    /// Nothing more is written.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

impl Drop for Committer {
    /// The thread has let go of the store when this returns.
    fn drop(&mut self) {
        self.line = None;
        if let Some(thread) = self.thread.take() {
            // That it has panicked was said to whoever waited for it.
            let _ = thread.join();
        }
    }
}

/// The thread that writes, from within.
struct Writer {
    store: Arc<dyn Store>,
    scribe: Scribe,
    /// The latest record on disk.
    head: Head,
    /// Set for good when it is unknown what is on disk.
    stopped: Arc<AtomicBool>,
    latest: Write,
}

/// A write that is over.
#[derive(Default)]
struct Write {
    shared_by: usize,
    /// At most [`LONG`].
    took: Duration,
}

impl Write {
    fn new(shared_by: usize, took: Duration) -> Self {
        Self { shared_by, took: took.min(LONG) }
    }
}

impl Writer {
    fn serve(&mut self, waiting: &Receiver<Waiting>) {
        while let Ok(first) = waiting.recv() {
            let together = self.gather(first, waiting);
            let (shared_by, begun) = (together.len(), Instant::now());
            self.answer(together);
            self.latest = Write::new(shared_by, begun.elapsed());
        }
    }

    /// Everybody who waits by now. In a crowd also those who are about to: who was answered together asks
    /// again together, and if the first of them had a write alone, all the others would wait for two.
    fn gather(&self, first: Waiting, waiting: &Receiver<Waiting>) -> Vec<Waiting> {
        let mut together = vec![first];
        let deadline = Instant::now() + self.latest.took;
        loop {
            together.extend(waiting.try_iter().take(MAX_BATCH - together.len()));
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = left.min(self.latest.took / 4);
            if self.latest.shared_by < 2 || together.len() == MAX_BATCH || patience.is_zero() {
                return together;
            }
            match waiting.recv_timeout(patience) {
                Ok(next) => together.push(next),
                Err(_) => return together,
            }
        }
    }

    /// Judges everybody, writes once, answers everybody.
    fn answer(&mut self, waiting: Vec<Waiting>) {
        let mut batch = Batch::new(&*self.store, &self.head);
        let judge = |Waiting { act, answer }| {
            let verdict = act.map_or(Ok(()), |Act { by, event, at }| batch.add(by, event, at));
            (answer, verdict)
        };
        let judged: Vec<(oneshot::Sender<Verdict>, Result<(), RecordError>)> =
            waiting.into_iter().map(judge).collect();
        let prepared = if batch.is_empty() { Ok(None) } else { batch.finish().map(Some) };
        let mut failure = match prepared {
            _ if self.stopped.load(Ordering::SeqCst) => Some(Error::Stopped),
            Ok(None) => None,
            Ok(Some(prepared)) => {
                let failure = self.write(prepared).err();
                // It is unknown now what is on disk.
                self.stopped.fetch_or(failure.is_some(), Ordering::SeqCst);
                failure
            }
            // Nothing was written.
            Err(error) => Some(error.into()),
        };
        let failed = failure.is_some();
        for (answer, verdict) in judged {
            // The first is told the cause, the others that there is one.
            let cause = failed.then(|| failure.take().unwrap_or(Error::Stopped));
            let verdict = cause.map_or_else(|| verdict.map_err(Error::from), Err);
            // Whoever does not wait any more does not hear it.
            let _ = answer.send(verdict);
        }
    }

    /// Both files at the same time; whichever a crash leaves behind is brought level when the home is
    /// opened.
    fn write(&mut self, prepared: Prepared) -> Result<(), Error> {
        let Prepared { changes, lines, head } = prepared;
        self.scribe.begin(lines)?;
        let stored = self.store.replace(&changes);
        // Waited for in any case, so that what is said next is about what comes next.
        let written = self.scribe.finish();
        stored?;
        written?;
        self.head = head;
        Ok(())
    }
}

/// The thread that syncs the journal while the committer's own syncs the store.
struct Scribe {
    lines: Option<SyncSender<String>>,
    written: Receiver<Result<(), JournalError>>,
    thread: Option<JoinHandle<()>>,
}

impl Scribe {
    fn start(mut journal: Journal) -> io::Result<Self> {
        let (lines, given) = sync_channel::<String>(1);
        let (done, written) = sync_channel(1);
        let thread = thread::Builder::new().name("journal".to_owned()).spawn(move || {
            while let Ok(lines) = given.recv() {
                if done.send(journal.append(&lines)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { lines: Some(lines), written, thread: Some(thread) })
    }

    fn begin(&self, lines: String) -> Result<(), Error> {
        // The other end is gone only if the thread has panicked.
        self.lines.as_ref().and_then(|to| to.send(lines).ok()).ok_or(Error::Stopped)
    }

    fn finish(&self) -> Result<(), Error> {
        Ok(self.written.recv().map_err(|_| Error::Stopped)??)
    }
}

impl Drop for Scribe {
    /// The journal is closed when this returns.
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::path::Path;
    use std::sync::atomic::AtomicUsize;

    use vouchsafe_certs::{PermissionSet, Principal};

    use super::*;
    use crate::invitation::Offer;
    use crate::kind::Kind;
    use crate::refusal::Refusal;
    use crate::store::{Change, SledStore};

    /// A store that counts its writes, and may fail them.
    #[derive(Debug)]
    struct CountingStore {
        inner: SledStore,
        writes: AtomicUsize,
        fails: bool,
    }

    impl Store for CountingStore {
        fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
            self.inner.get(key)
        }

        fn scan_after(
            &self,
            prefix: &str,
            after: &str,
            visit: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
        ) -> Result<(), StoreError> {
            self.inner.scan_after(prefix, after, visit)
        }

        fn replace(&self, changes: &[Change]) -> Result<(), StoreError> {
            self.writes.fetch_add(1, Ordering::SeqCst);
            if self.fails {
                return Err(StoreError::Failed("the disk is on fire".into()));
            }
            self.inner.replace(changes)
        }
    }

    fn at() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000))
    }

    fn invited(id: &str) -> Event {
        let offer = Offer {
            principal: Principal::parse("spiffe://acme.example/a").unwrap(),
            kind: Kind::Agent,
            permissions: PermissionSet::default(),
            lifetime: None,
            uses: 1,
            expires_in: "1h".parse().unwrap(),
        };
        Event::Invited { id: id.to_owned(), secret_sha256: String::new(), inviter: None, offer }
    }

    fn withdrawn(id: &str) -> Event {
        Event::Withdrawn { id: id.to_owned() }
    }

    /// The answers to what came while the disk was busy, how many writes it took, and the journal's lines.
    fn answers(events: &[Option<Event>], fails: bool) -> (Vec<Result<(), Error>>, usize, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let inner = SledStore::temporary().unwrap();
        let store = Arc::new(CountingStore { inner, writes: AtomicUsize::new(0), fails });
        let mut writer = Writer { store: store.clone(), ..writer(folder.path(), 1) };
        let ask = |event: &Option<Event>| {
            let (answer, answered) = oneshot::channel();
            let act = event.clone().map(|event| Act { by: Actor::Home, event, at: at() });
            (Waiting { act, answer }, answered)
        };
        let (waiting, answered): (Vec<_>, Vec<_>) = events.iter().map(ask).unzip();
        writer.answer(waiting);
        let answers =
            answered.into_iter().map(|answered| answered.blocking_recv().unwrap()).collect();
        let journal = std::fs::read_to_string(path).unwrap();
        (answers, store.writes.load(Ordering::SeqCst), journal.lines().count())
    }

    #[test]
    fn what_waits_is_one_write_and_what_is_refused_is_refused_alone() {
        let events = [invited("a"), withdrawn("b"), withdrawn("a"), invited("c")].map(Some);
        let (answers, writes, lines) = answers(&[&events[..], &[None]].concat(), false);
        let [one, unknown, two, three, settled] = &answers[..] else { panic!() };
        assert!(matches!(unknown, Err(Error::Refused(Refusal::NoSuchInvitation(_)))));
        // The second was judged by the first, although that was not on disk.
        assert!([one, two, three, settled].into_iter().all(Result::is_ok));
        assert_eq!((writes, lines), (1, 3));
    }

    /// Whose latest write was shared by so many, and took longer than anything here.
    fn writer(folder: &Path, shared_by: usize) -> Writer {
        let journal = Journal::open(&folder.join("journal.jsonl")).unwrap();
        Writer {
            store: Arc::new(SledStore::temporary().unwrap()),
            scribe: Scribe::start(journal).unwrap(),
            head: Head::beginning(),
            stopped: Arc::default(),
            latest: Write { shared_by, took: Duration::from_secs(60) },
        }
    }

    fn anybody() -> Waiting {
        Waiting { act: None, answer: oneshot::channel().0 }
    }

    #[test]
    fn a_crowd_waits_for_those_who_are_about_to_come() {
        let folder = tempfile::tempdir().unwrap();
        // A line without places: nobody is in it before they are taken out.
        let (line, waiting) = sync_channel(0);
        let others = thread::spawn(move || (0..50).all(|_| line.send(anybody()).is_ok()));
        let together = writer(folder.path(), 2).gather(anybody(), &waiting);
        assert_eq!(together.len(), 51);
        assert!(others.join().unwrap());
    }

    #[test]
    fn who_comes_alone_waits_for_nobody_and_no_crowd_is_larger_than_a_batch() {
        let folder = tempfile::tempdir().unwrap();
        let (line, waiting) = sync_channel(MAX_WAITING);
        let begun = Instant::now();
        assert_eq!(writer(folder.path(), 1).gather(anybody(), &waiting).len(), 1);
        (0..MAX_BATCH).for_each(|_| line.send(anybody()).unwrap());
        assert_eq!(writer(folder.path(), 2).gather(anybody(), &waiting).len(), MAX_BATCH);
        assert_eq!(waiting.try_iter().count(), 1);
        // Where the latest write took no time, neither does this.
        let quick = Write { shared_by: 2, took: Duration::ZERO };
        let quick = Writer { latest: quick, ..writer(folder.path(), 2) };
        assert_eq!(quick.gather(anybody(), &waiting).len(), 1);
        assert!(begun.elapsed() < Duration::from_secs(10), "somebody was waited for");
        drop(line);
    }

    #[test]
    fn what_is_waited_for_goes_by_the_latest_write_and_by_no_disk_that_was_held_up() {
        let folder = tempfile::tempdir().unwrap();
        let (line, waiting) = sync_channel(MAX_WAITING);
        (0..3).for_each(|_| line.send(anybody()).unwrap());
        drop(line);
        let mut writer = writer(folder.path(), 1);
        writer.serve(&waiting);
        assert_eq!(writer.latest.shared_by, 3);
        assert!(writer.latest.took > Duration::ZERO);
        assert_eq!(Write::new(2, Duration::from_secs(3)).took, LONG);
    }

    #[test]
    fn where_nothing_is_to_be_written_nothing_is() {
        let (answers, writes, lines) = answers(&[None, Some(withdrawn("a")), None], false);
        let answers: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!((answers, writes, lines), (vec![true, false, true], 0, 0));
    }

    #[test]
    fn nobody_is_told_that_it_is_done_if_the_disk_fails() {
        let (answers, writes, _) = answers(&[Some(invited("a")), None, Some(invited("b"))], true);
        let [first, settled, second] = &answers[..] else { panic!() };
        assert!(matches!(first, Err(Error::Store(StoreError::Failed(_)))));
        assert!(matches!((settled, second), (Err(Error::Stopped), Err(Error::Stopped))));
        assert_eq!(writes, 1);
    }
}
