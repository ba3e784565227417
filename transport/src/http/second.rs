//! HTTP/2 (RFC 9113) on one connection: the same requests and answers, many at once.

mod streams;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::streams::{Open, Streams};
use super::paced::Paced;
use super::server::{Answer, Server};
use super::{Body, Caller};

/// Requests of one connection at once.
const STREAMS: u32 = 128;

/// Bodies of the greatest length that the requests of one connection may hold at once, all together.
const BODIES: usize = 2;

/// Octets that a client may send ahead of what is read, for each request. All together come to what
/// bodies may hold at once, and fit into the connection's window, so those that wait for room never hold
/// up those that have it.
fn window(body_len: usize) -> u32 {
    const SMALLEST: usize = 1024;
    const LARGEST: usize = 64 * 1024;
    let requests = usize::try_from(STREAMS).unwrap_or(usize::MAX);
    let each = BODIES.saturating_mul(body_len) / requests;
    u32::try_from(each.clamp(SMALLEST, LARGEST)).unwrap_or(u32::MAX)
}

/// So often a client is asked whether it is still there, also where nothing is open. One that does not
/// answer for as long as it may take to read something ([`write`](super::HttpLimits::write)) is dead.
const PING: Duration = Duration::from_secs(60);

impl Server {
    /// Serves one connection until it ends, until nothing has been open on it for too long, or until
    /// `stopping` turns true and the answers that are due have been given. Nothing of it outlives this
    /// future.
    pub(crate) async fn serve_second<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        stream: S,
        caller: &Caller,
        answer: &Answer,
        mut stopping: watch::Receiver<bool>,
    ) {
        let room = Arc::new(Semaphore::new(BODIES * kibibytes(self.limits.body_len)));
        let streams = Arc::<Streams>::default();
        let service = service_fn(|request: Request<Incoming>| {
            let (server, caller, open) = (Arc::clone(self), caller.clone(), streams.open());
            let (answer, room) = (answer.clone(), Arc::clone(&room));
            async move {
                let answered = server.respond_within(&room, &caller, &answer, request).await;
                Ok::<_, Infallible>(answered.map(|body| open.until_sent(body)))
            }
        });
        let tasks = TasksOfConnection::default();
        let stream = TokioIo::new(Paced::new(stream, &self.limits, || ()));
        let builder = self.second(tasks.0.clone());
        let mut connection =
            std::pin::pin!(builder.serve_connection::<_, _, Open<Body>>(stream, service));
        let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        // However it ended, whoever was served is gone.
        tokio::select! {
            _ = &mut connection => {}
            () = streams.until_silent(self.limits.head) => {}
            () = streams.until_idle(self.limits.idle) => {
                connection.as_mut().graceful_shutdown();
                drop(timeout(self.limits.write, connection).await);
            }
            () = stopped => {
                connection.as_mut().graceful_shutdown();
                drop(connection.await);
            }
        }
    }

    fn second(&self, tasks: Tasks) -> http2::Builder<Tasks> {
        let mut builder = http2::Builder::new(tasks);
        let window = window(self.limits.body_len);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(window)
            .initial_connection_window_size(window * STREAMS)
            .max_header_list_size(u32::try_from(self.limits.head_len).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(self.limits.write);
        builder
    }

    /// Answers a request once there is room for its body, which it has until the body has gone where
    /// it should. For room it waits no longer than for an answer; those that have it lose it in time,
    /// whatever they do: to send a body has a deadline as well.
    async fn respond_within(
        &self,
        room: &Semaphore,
        caller: &Caller,
        answer: &Answer,
        request: Request<Incoming>,
    ) -> Response<Body> {
        // A semaphore that is never closed has no other error than time.
        let held = room.acquire_many(self.room_for(&request));
        let Ok(Ok(mut held)) = timeout(self.limits.answer, held).await else {
            return self.has_no_room(caller).await;
        };
        let whole = |octets: usize| give_back(&mut held, kibibytes(octets));
        self.respond(caller, answer, || (), whole, request).await
    }

    /// What the body of a request may come to, in the semaphore's units.
    fn room_for(&self, request: &Request<Incoming>) -> u32 {
        let announced = request.body().size_hint().exact();
        let announced = announced.and_then(|octets| usize::try_from(octets).ok());
        // More than the limit is refused without being read.
        let octets = announced.unwrap_or(usize::MAX).min(self.limits.body_len);
        u32::try_from(kibibytes(octets)).unwrap_or(u32::MAX)
    }
}

/// Of a body that did not say how long it is, all the room there can be was kept.
fn give_back(held: &mut SemaphorePermit<'_>, needed: usize) {
    drop(held.split(held.num_permits().saturating_sub(needed)));
}

fn kibibytes(octets: usize) -> usize {
    octets / 1024 + 1
}

#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// The requests of one connection, which end with it, also where it is dropped in the middle. They
/// hold copies of their executor, so that does not come by itself.
#[derive(Default)]
struct TasksOfConnection(Tasks);

impl Drop for TasksOfConnection {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}
