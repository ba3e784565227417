//! A stream's messages as server-sent events, as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::outbox::Event;
use super::session::Reading;

/// A line that means nothing goes out where nothing else does, so that nobody in between takes the
/// connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const NOTHING: &[u8] = b":\n\n";

/// Octets of a message that go out at once. Of a longer one the rest stays where it is counted, so that
/// connections whose other side does not read hold none in full.
const PIECE: usize = 64 * 1024;

/// How soon a client that lost a stream may ask for the rest of it, in milliseconds.
const RETRY: u32 = 1000;

/// The events of one stream.
pub(crate) struct Events {
    reading: Reading,
    /// Octets of the next message that have gone out. It stays the next one until it is taken, or the
    /// stream ends.
    sent: usize,
    /// Whether the client is told at once how to go on with this stream.
    is_primed: bool,
    quiet: Pin<Box<Sleep>>,
}

impl Events {
    /// Of a stream, from its next message on.
    pub(crate) fn new(reading: Reading, is_primed: bool) -> Self {
        Self { reading, sent: 0, is_primed, quiet: Box::pin(sleep(KEEP_ALIVE)) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if std::mem::take(&mut self.is_primed) {
            return Poll::Ready(Some(primed(self.reading.stream, self.reading.read)));
        }
        if let Poll::Ready(event) = self.reading.poll_next(context) {
            self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(event.map(|event| self.encode(&event)));
        }
        ready!(self.quiet.as_mut().poll(context));
        self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(Bytes::from_static(NOTHING)))
    }

    /// The next piece. A message has no line ends, so it is one line of data.
    fn encode(&mut self, event: &Event) -> Bytes {
        let rest = event.line.get(self.sent..).unwrap_or_default();
        let piece = rest.get(..PIECE).unwrap_or(rest);
        let mut octets = BytesMut::with_capacity(piece.len() + 48);
        if self.sent == 0 {
            if self.reading.can_resume() {
                let id = format!("id: {}-{}\n", self.reading.stream, event.number);
                octets.put_slice(id.as_bytes());
            }
            octets.put_slice(b"data: ");
        }
        octets.put_slice(piece);
        self.sent += piece.len();
        if self.sent == event.line.len() {
            octets.put_slice(b"\n\n");
            self.reading.took(event);
            self.sent = 0;
        }
        octets.freeze()
    }
}

/// An event without a message, after which the stream can be resumed (MCP 2025-11-25, transports).
fn primed(stream: u64, number: u64) -> Bytes {
    format!("id: {stream}-{number}\nretry: {RETRY}\ndata: \n\n").into()
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().poll(context).map(|octets| octets.map(|octets| Ok(Frame::data(octets))))
    }
}
