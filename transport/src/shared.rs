//! One MCP server behind many sessions.
//!
//! Every session still has its own policy, limits and audit before it, and to its client it looks as
//! if it had a server of its own. Between the sessions and the server stands a [`switch`]: requests,
//! progress, cancellations, subscriptions and tasks of one session are never another's.
//!
//! What needs one client alone does not work here: the server cannot ask anything (sampling,
//! elicitation, roots), and its log messages reach nobody, for they belong to nobody. It is started
//! without a principal in its environment.

mod overlong;
mod seat;
mod switch;

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::DuplexStream;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::child::{Child, ChildCommand, Pipes};
use crate::frame::{FrameError, LineReader, LineWriter};
use crate::{ChildError, Limits, Service};
use seat::Seats;
use switch::{Action, Seat, Switch};

/// Messages of the greatest length that may wait to be written to the server.
const MESSAGES: usize = 2;

/// A command that is started once, for whoever comes.
#[derive(Clone)]
pub struct SharedServer(Arc<Host>);

impl fmt::Debug for SharedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedServer").field(&self.0.command).finish()
    }
}

struct Host {
    command: ChildCommand,
    limits: Limits,
    /// What is told where the server cannot be started.
    failed: Box<dyn Fn(&ChildError) + Send + Sync>,
    running: Mutex<Option<Arc<Running>>>,
}

/// A line on its way to the server, and the room that it takes.
struct Written {
    line: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// A server at work, and everybody who uses it.
struct Running {
    switch: Mutex<Switch>,
    seats: Seats,
    to_server: Mutex<Option<mpsc::UnboundedSender<Written>>>,
    /// For what waits to be written to the server, in kibibytes.
    room: Arc<Semaphore>,
    child: Mutex<Option<Child>>,
}

impl SharedServer {
    /// Of a command, started when the first session comes, and anew when one comes after it has
    /// ended. `failed` hears of it where it cannot be started.
    pub fn new(
        command: ChildCommand,
        limits: &Limits,
        failed: impl Fn(&ChildError) + Send + Sync + 'static,
    ) -> Self {
        let (limits, failed) = (limits.clone(), Box::new(failed));
        Self(Arc::new(Host { command, limits, failed, running: Mutex::default() }))
    }

    /// The same as the server behind each session of a gateway.
    #[must_use]
    pub fn service(&self) -> Service {
        let host = Arc::clone(&self.0);
        Service::new(move |_, stream| {
            let host = Arc::clone(&host);
            async move {
                match host.running() {
                    Ok(running) => running.seat(stream, &host.limits).await,
                    // The session ends without a word from its server.
                    Err(error) => (host.failed)(&error),
                }
            }
        })
    }

    /// Ends the server, if it is there, the way MCP asks for. For when every session is over.
    pub async fn stop(&self) {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        running.say_no_more();
        let child = running.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(child) = child {
            child.ended().await;
        }
    }
}

impl Host {
    /// The server at work; started if there is none.
    fn running(self: &Arc<Self>) -> Result<Arc<Running>, ChildError> {
        let mut present = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = present.as_ref() {
            return Ok(Arc::clone(running));
        }
        let (child, Pipes { stdin, stdout }) = self.command.start_shared(&self.limits)?;
        let (to_server, waiting) = mpsc::unbounded_channel();
        let running = Arc::new(Running {
            switch: Mutex::default(),
            seats: Seats::default(),
            to_server: Mutex::new(Some(to_server)),
            room: Arc::new(Semaphore::new(room_for(self.limits.line) * MESSAGES)),
            child: Mutex::new(Some(child)),
        });
        let to_server = LineWriter::new(stdin, self.limits.write);
        tokio::spawn(Arc::clone(&running).write(waiting, to_server));
        let from_server = LineReader::new(stdout, self.limits.line, self.limits.message);
        tokio::spawn(Arc::clone(self).listen(Arc::clone(&running), from_server));
        *present = Some(Arc::clone(&running));
        Ok(running)
    }

    /// Makes room for another server, unless there is one already.
    fn forget(&self, ended: &Arc<Running>) {
        let mut present = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|running| Arc::ptr_eq(running, ended)) {
            *present = None;
        }
    }

    /// Distributes what the server says, until it ends.
    async fn listen(
        self: Arc<Self>,
        running: Arc<Running>,
        mut from_server: LineReader<ChildStdout>,
    ) {
        loop {
            match from_server.next().await {
                Ok(Some(line)) => {
                    let actions = running.switch().hear_server(line);
                    running.act_at_once(actions);
                    continue;
                }
                Err(FrameError::TooLong(_)) => {}
                Ok(None) | Err(_) => break,
            }
            // It was one session's; the others go on.
            let head = from_server.beginning();
            let head = head.get(..overlong::HEAD_LEN).unwrap_or(head).to_vec();
            let Ok(Some(tail)) = from_server.skip().await else { break };
            let concerned = overlong::concerned(&head, &tail);
            let actions = running.switch().is_too_long(concerned, self.limits.line);
            running.act_at_once(actions);
        }
        self.forget(&running);
        // Every session ends with its server.
        running.seats.close();
        running.say_no_more();
        drop(running.child.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Running {
    fn switch(&self) -> MutexGuard<'_, Switch> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one session until either side ends.
    async fn seat(self: Arc<Self>, stream: DuplexStream, limits: &Limits) {
        let Some((seat, mut outgoing)) = self.seats.enter(limits.line) else { return };
        // Also where the session is dropped in the middle.
        let _leaving = Leaving { running: Arc::clone(&self), seat };
        let (from_client, to_client) = tokio::io::split(stream);
        let mut from_client = LineReader::new(from_client, limits.line, limits.message);
        let mut to_client = LineWriter::new(to_client, limits.write);
        let upward = async {
            while let Ok(Some(line)) = from_client.next().await {
                let actions = self.switch().hear_client(seat, line);
                if self.act(actions).await.is_err() {
                    return;
                }
            }
            // It has said everything; what is in flight is still answered.
            let actions = self.switch().finish(seat);
            if self.act(actions).await.is_ok() {
                pending::<()>().await;
            }
        };
        let downward = async {
            while let Some(line) = outgoing.next().await {
                if to_client.send(&line).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = upward => {}
            () = downward => {}
        }
        drop(to_client.close().await);
    }

    /// Does what a session has caused, and waits until there is room for it.
    async fn act(&self, actions: Vec<Action>) -> Result<(), NoServer> {
        for action in actions {
            if let Action::ToServer(line) = action {
                let room = u32::try_from(room_for(line.len())).unwrap_or(u32::MAX);
                let room = Arc::clone(&self.room).acquire_many_owned(room).await;
                self.queue(line, room.map_err(|_| NoServer)?)?;
            } else {
                self.act_at_once(vec![action]);
            }
        }
        Ok(())
    }

    /// Does what the server has caused. It must not be kept from speaking by what it does not hear: what
    /// there is no room for it does not get, and of its own requests it is told that nobody answers.
    fn act_at_once(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ToServer(line) => {
                    let room = u32::try_from(room_for(line.len())).unwrap_or(u32::MAX);
                    if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(room) {
                        // A server that is gone needs no answer.
                        let _ = self.queue(line, room);
                    }
                }
                Action::ToClient(seat, line) => self.seats.send(seat, Bytes::from(line)),
                Action::Close(seat) => self.seats.leave(seat),
            }
        }
    }

    fn queue(&self, line: Vec<u8>, room: OwnedSemaphorePermit) -> Result<(), NoServer> {
        let to_server = self.to_server.lock().unwrap_or_else(PoisonError::into_inner);
        let to_server = to_server.as_ref().ok_or(NoServer)?;
        to_server.send(Written { line, _room: room }).map_err(|_| NoServer)
    }

    /// Writes to the server what waits, one line after the other, and closes its stdin at the end.
    async fn write(
        self: Arc<Self>,
        mut waiting: mpsc::UnboundedReceiver<Written>,
        mut to_server: LineWriter<ChildStdin>,
    ) {
        while let Some(Written { line, _room }) = waiting.recv().await {
            if to_server.send(&line).await.is_err() {
                // A server that does not read serves nobody.
                self.seats.close();
                drop(self.child.lock().unwrap_or_else(PoisonError::into_inner).take());
                return;
            }
        }
    }

    /// Closes the server's stdin once what waits has been written.
    fn say_no_more(&self) {
        drop(self.to_server.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The server has ended.
#[derive(Debug)]
struct NoServer;

/// Room is counted in kibibytes, and no message takes none.
fn room_for(octets: usize) -> usize {
    octets / 1024 + 1
}

/// A session that goes, however it ends.
struct Leaving {
    running: Arc<Running>,
    seat: Seat,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let (running, seat) = (Arc::clone(&self.running), self.seat);
        running.seats.leave(seat);
        let actions = running.switch().leave(seat);
        if !actions.is_empty() {
            // A server that takes nothing more has ended, and is listened to elsewhere.
            tokio::spawn(async move { drop(running.act(actions).await) });
        }
    }
}
