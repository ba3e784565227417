//! HTTP/2 (RFC 9113) on one connection: the same requests and answers, many at once.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::paced::Paced;
use super::server::{Answer, Server};
use super::{Body, Caller};

/// Requests of one connection at once.
const STREAMS: u32 = 128;

/// Bodies of the greatest length that the requests of one connection may hold at once, all together.
const BODIES: usize = 2;

/// Octets that a client may send ahead of what is read, for each request. All together fit into the
/// connection's window, so those that wait for room never hold up those that have it.
const WINDOW: u32 = 64 * 1024;

/// A connection that answers no PING for so long is dead.
const PING: Duration = Duration::from_secs(60);

impl Server {
    /// Serves one connection until it ends, or until `stopping` turns true and the answers that are
    /// due have been given. Nothing of it outlives this future.
    pub(crate) async fn serve_second<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        stream: S,
        caller: &Caller,
        answer: &Answer,
        mut stopping: watch::Receiver<bool>,
    ) {
        let room = Arc::new(Semaphore::new(BODIES * kibibytes(self.limits.body_len)));
        let asked = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let (server, caller) = (Arc::clone(self), caller.clone());
            let (answer, room) = (answer.clone(), Arc::clone(&room));
            async move {
                // Held until the body has gone where it should; a semaphore that is never closed has
                // no error.
                let _held = room.acquire_many(server.room_for(&request)).await;
                let answered = server.respond(&caller, &answer, || (), request).await;
                Ok::<_, Infallible>(answered)
            }
        });
        let tasks = TasksOfConnection::default();
        let mut builder = http2::Builder::new(tasks.0.clone());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * STREAMS)
            .max_header_list_size(u32::try_from(self.limits.head_len).unwrap_or(u32::MAX))
            .keep_alive_interval(PING)
            .keep_alive_timeout(self.limits.write);
        let stream = TokioIo::new(Paced::new(stream, self.limits.write));
        let mut connection =
            std::pin::pin!(builder.serve_connection::<_, _, Body>(stream, service));
        let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        // However it ended, whoever was served is gone.
        drop(tokio::select! {
            ended = &mut connection => ended,
            () = until_silent(self.limits.head, &asked) => return,
            () = stopped => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        });
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

/// Waits until no request has come in time.
async fn until_silent(patience: Duration, asked: &AtomicBool) {
    sleep(patience).await;
    if asked.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
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
