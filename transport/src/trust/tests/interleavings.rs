//! Every order in which lists come into force while a session lives: the real session, the real relay
//! and the real `watch`, and nothing left to chance.
//!
//! Whatever the code asks of the world (its clock, its client's stream, its server's stream, its audit)
//! is a point at which another thread may have acted meanwhile. There and before each poll, the world
//! goes on by no act, by one or by several; all choices are tried, depth first. An act on the `watch`
//! changes the course of a session only by where it falls between the session's looks at it, and
//! between any two of those there is such a point: see `tests/tests/model/README.md`.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::event::EventLog;
use crate::live::{Live, Spoken};
use crate::policy::ClientPolicy;
use crate::relay::{Relay, RelayEnd, Subject};
use crate::{Limits, Output, Rules};

/// The choices of one course of events, and with [`next`](Self::next) those of the one after it.
#[derive(Debug, Default)]
struct Course {
    choices: Vec<(usize, usize)>,
    at: usize,
}

impl Course {
    fn choose(&mut self, of: usize) -> usize {
        if self.at == self.choices.len() {
            self.choices.push((0, of));
        }
        let (chosen, before) = self.choices[self.at];
        assert_eq!(before, of, "the same choices led elsewhere");
        self.at += 1;
        chosen
    }

    fn next(mut self) -> Option<Self> {
        while let Some((chosen, of)) = self.choices.pop() {
            if chosen + 1 < of {
                self.choices.push((chosen + 1, of));
                return Some(Self { choices: self.choices, at: 0 });
            }
        }
        None
    }
}

/// A list that is to come into force, and whether it names the session's peer.
type Publication = (Arc<Revocations>, bool);

/// Everything around one session.
#[derive(Debug)]
struct World {
    course: Course,
    sender: watch::Sender<Arc<Revocations>>,
    lists: VecDeque<Publication>,
    /// What the client still has to say.
    requests: VecDeque<u8>,
    /// What it has said and nobody has read.
    sent: Vec<u8>,
    reader: Option<Waker>,
    is_revoked: bool,
    /// Requests that were sent after the list had come into force.
    doomed: Vec<u8>,
    forwarded: Vec<u8>,
}

impl World {
    /// One act of others; `must` if nothing else can happen any more. Whether there was one.
    fn acts(&mut self, must: bool) -> bool {
        let (lists, requests) = (!self.lists.is_empty(), !self.requests.is_empty());
        let acts = usize::from(lists) + usize::from(requests);
        if acts == 0 {
            return false;
        }
        let choice = if must { self.course.choose(acts) + 1 } else { self.course.choose(acts + 1) };
        match choice {
            0 => return false,
            1 if lists => self.publish(),
            _ => self.send(),
        }
        true
    }

    fn publish(&mut self) {
        let (list, names_peer) = self.lists.pop_front().unwrap();
        self.sender.send_replace(list);
        self.is_revoked |= names_peer;
    }

    fn send(&mut self) {
        let id = self.requests.pop_front().unwrap();
        if self.is_revoked {
            self.doomed.push(id);
        }
        let request = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n");
        self.sent.extend(request.bytes());
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A world that the session's code meets at many places.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// Time for others.
    fn point(&self) {
        while self.with(|world| world.acts(false)) {}
    }
}

impl TimeProvider for Shared {
    fn current_time(&self) -> Option<UnixTime> {
        self.point();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(BASE)))
    }
}

/// The client's stream; what it is sent does not matter here.
struct Client(Shared);

impl AsyncRead for Client {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.point();
        self.0.with(|world| {
            if world.sent.is_empty() {
                world.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            buffer.put_slice(&std::mem::take(&mut world.sent));
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.point();
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The server's stdin. From its stdout nothing ever comes.
struct Server(Shared);

impl AsyncRead for Server {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Server {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let request: serde_json::Value = serde_json::from_slice(octets).unwrap();
        let id = u8::try_from(request["id"].as_u64().unwrap()).unwrap();
        self.0.with(|world| world.forwarded.push(id));
        self.0.point();
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.point();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// From the judgement in the handshake to the end, as the acceptor and the gateway do it.
async fn session(
    world: Shared,
    trust: Trust,
    peer: Peer,
    live: Arc<Live>,
) -> Result<RelayEnd, Denial> {
    let mut trust = trust.present();
    world.point();
    trust.judge(&peer)?;
    world.point();
    let session = Session::new(Client(world.clone()), peer, trust);
    let (kin, held) = (session.kin(), session.held());
    let subject = Subject::new(1, session.peer());
    let ongoing = live.enter(1, session.peer(), None, Spoken::Lines, None);
    let nowhere = Output::new(File::options().write(true).open("/dev/null").unwrap());
    let log = EventLog::new(Arc::new(nowhere), Arc::new(world.clone()));
    let limits = Limits::default();
    let policy = ClientPolicy::of(held, Arc::new(Rules::default()));
    let work = session.run(async |stream| {
        let lookout = kin.lookout();
        let (relay, from_client) =
            Relay::new(&subject, policy, &ongoing, lookout, &log, &limits, stream);
        relay.run(from_client, Server(world.clone()), Server(world.clone())).await
    });
    work.await
}

/// Whether the session's task is to be polled again.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One course of events: what there was at the end.
fn live_through(
    ca: &Ca,
    peer: &Peer,
    first: &Arc<Revocations>,
    world: &Shared,
    live: &Arc<Live>,
) -> Option<Denial> {
    let sender = world.with(|world| world.sender.clone());
    sender.send_replace(Arc::clone(first));
    let roots = watch::channel([ca.certificate.clone()].into()).1;
    let trust = Trust::new(roots, sender.subscribe(), Arc::new(world.clone()));
    let mut task = pin!(session(world.clone(), trust, peer.clone(), Arc::clone(live)));
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    loop {
        while !woken.0.load(Ordering::Relaxed) {
            if !world.with(|world| world.acts(true)) {
                return None;
            }
        }
        world.point();
        woken.0.store(false, Ordering::Relaxed);
        if let Poll::Ready(ended) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(ended.unwrap_err());
        }
    }
}

/// How many courses there were.
fn explore(lists: &[bool], requests: u8) -> usize {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let ca = Ca::new();
    let (peer, live) = (ca.agent(1, 90_000), Arc::new(Live::default()));
    let first = ca.list(1, &[], 100_000);
    let publications: VecDeque<Publication> = (2..)
        .zip(lists)
        .map(|(number, names_peer)| {
            let revoked: &[u8] = if *names_peer { &[1] } else { &[7] };
            (ca.list(number, revoked, 100_000), *names_peer)
        })
        .collect();
    let (mut courses, mut course) = (0, Some(Course::default()));
    while let Some(begun) = course {
        let world = Shared(Arc::new(Mutex::new(World {
            course: begun,
            sender: watch::Sender::new(Arc::clone(&first)),
            lists: publications.clone(),
            requests: (1..=requests).collect(),
            sent: Vec::new(),
            reader: None,
            is_revoked: false,
            doomed: Vec::new(),
            forwarded: Vec::new(),
        })));
        let ended = live_through(&ca, &peer, &first, &world, &live);
        course = world.with(|world| {
            let is_doomed = |id: &u8| world.doomed.contains(id);
            assert!(!world.forwarded.iter().any(is_doomed), "let through: {world:?}");
            assert_eq!(ended, world.is_revoked.then_some(Denial::Revoked), "{world:?}");
            if ended.is_none() {
                assert_eq!(world.forwarded.len(), usize::from(requests), "{world:?}");
            }
            std::mem::take(&mut world.course).next()
        });
        assert_eq!(live.open(), 0);
        courses += 1;
    }
    courses
}

/// `VOUCHSAFE_TEST_INTERLEAVINGS=3` tries as many requests; each costs about ten times the time.
#[test]
fn in_no_order_of_events_is_a_revoked_peers_later_request_let_through() {
    let most = std::env::var("VOUCHSAFE_TEST_INTERLEAVINGS").ok();
    let most = most.map_or(2, |most| most.parse().unwrap());
    for (lists, requests) in [(&[true][..], most), (&[false], most), (&[false, true], most - 1)] {
        let begun = std::time::Instant::now();
        let courses = explore(lists, requests);
        println!("{lists:?}, {requests} requests: {courses} courses, {:?}", begun.elapsed());
        assert!(courses > 100);
    }
}
