//! Whether a request is on its way whole. What concerns it may go over another connection, and must
//! not be there before it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// Of one request. Whoever waits for it is told too where it comes to nothing: by its end.
#[derive(Debug)]
pub(super) struct Departure {
    /// The last of the body has been taken, to be written behind the head.
    is_taken: AtomicBool,
    has_left: watch::Sender<bool>,
}

impl Departure {
    pub(super) fn new() -> (Arc<Self>, watch::Receiver<bool>) {
        let (has_left, told) = watch::channel(false);
        (Arc::new(Self { is_taken: AtomicBool::new(false), has_left }), told)
    }
}

/// A request's body.
pub(super) struct Parcel {
    octets: Full<Bytes>,
    departure: Option<Arc<Departure>>,
}

impl Parcel {
    /// Of a request whose departure somebody may wait for.
    pub(super) fn watched(octets: Bytes, departure: &Arc<Departure>) -> Self {
        Self { octets: Full::new(octets), departure: Some(Arc::clone(departure)) }
    }

    pub(super) fn departure(&self) -> Option<Arc<Departure>> {
        self.departure.clone()
    }
}

impl From<Bytes> for Parcel {
    fn from(octets: Bytes) -> Self {
        Self { octets: Full::new(octets), departure: None }
    }
}

impl Body for Parcel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.octets).poll_frame(context));
        if let Some(departure) = this.departure.as_ref().filter(|_| this.octets.is_end_stream()) {
            departure.is_taken.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.octets.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.octets.size_hint()
    }
}

/// The request that a connection sends at present: one follows another.
#[derive(Clone, Default)]
pub(super) struct Present(Arc<Mutex<Option<Arc<Departure>>>>);

impl Present {
    pub(super) fn is(&self, departure: Option<Arc<Departure>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = departure;
    }

    /// Everything that was to be written has been.
    fn is_flushed(&self) {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = present.take_if(|departure| departure.is_taken.load(Ordering::Relaxed));
        if let Some(departure) = left {
            departure.has_left.send_replace(true);
        }
    }
}

/// A connection's stream, which tells when a request has left: what was taken is written at the next
/// flush that succeeds.
pub(super) struct Watched<S> {
    stream: S,
    present: Present,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, present: Present) -> Self {
        Self { stream, present }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        if flushed.is_ok() {
            self.present.is_flushed();
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
