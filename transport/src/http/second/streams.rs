//! What is open on one connection, and since when nothing is.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::sleep;

/// Requests that have come, and those that are not answered to the end. To count them wakes nobody.
#[derive(Debug, Default)]
pub(super) struct Streams {
    come: AtomicU64,
    open: AtomicUsize,
}

impl Streams {
    /// A request has come.
    pub(super) fn open(self: &Arc<Self>) -> Place {
        self.come.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }

    /// Waits until no request has come in time.
    pub(super) async fn until_silent(&self, patience: Duration) {
        sleep(patience).await;
        if self.come.load(Ordering::Relaxed) > 0 {
            pending::<()>().await;
        }
    }

    /// Waits until nothing has been open for so long, or for twice as long at most. Where no request
    /// ever came, it is somebody else who waits for the first.
    pub(super) async fn until_idle(&self, patience: Duration) {
        let mut before = None;
        loop {
            sleep(patience).await;
            let come = self.come.load(Ordering::Relaxed);
            let is_quiet = come > 0 && self.open.load(Ordering::Relaxed) == 0;
            if is_quiet && before == Some(come) {
                return;
            }
            before = is_quiet.then_some(come);
        }
    }
}

/// A request among those that are open, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Streams>);

impl Place {
    /// It is open for as long as there is something of its answer to send.
    pub(super) fn until_sent<B>(self, body: B) -> Open<B> {
        Open { body, _place: self }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer.
pub(super) struct Open<B> {
    body: B,
    _place: Place,
}

impl<B: Body<Data = Bytes, Error = Infallible> + Unpin> Body for Open<B> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
