//! The session's end of the stream of lines.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Notify, oneshot};

/// How a talk with a server ended, if not by its client.
#[derive(Debug, Default)]
pub(super) struct Ending {
    why: Mutex<Option<io::Error>>,
    has_come: Notify,
}

impl Ending {
    /// Ends it. The first reason counts.
    pub(super) fn come(&self, why: io::Error) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.has_come.notify_one();
    }

    pub(super) async fn has_come(&self) {
        self.has_come.notified().await;
    }

    fn take(&self) -> Option<io::Error> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Lines of a server that speaks HTTP, as if it spoke in lines. Dropping it ends the server's session.
#[derive(Debug)]
pub struct Near {
    stream: DuplexStream,
    ending: Arc<Ending>,
    _stop: oneshot::Sender<()>,
}

impl Near {
    pub(super) fn new(
        stream: DuplexStream,
        ending: Arc<Ending>,
        stop: oneshot::Sender<()>,
    ) -> Self {
        Self { stream, ending, _stop: stop }
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        match is_end {
            true => Poll::Ready(self.ending.take().map_or(Ok(()), Err)),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
