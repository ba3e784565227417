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

/// How soon a client that lost a stream may ask for the rest of it, in milliseconds.
const RETRY: u32 = 1000;

/// The events of one stream.
pub(crate) struct Events {
    reading: Reading,
    /// What has been taken from the stream already.
    first: Option<Event>,
    /// Whether the client is told at once how to go on with this stream.
    is_primed: bool,
    quiet: Pin<Box<Sleep>>,
}

impl Events {
    /// Of a stream of which `first` has been read.
    pub(crate) fn new(reading: Reading, first: Option<Event>, is_primed: bool) -> Self {
        Self { reading, first, is_primed, quiet: Box::pin(sleep(KEEP_ALIVE)) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if std::mem::take(&mut self.is_primed) {
            let before = self.first.as_ref().map_or(self.reading.read, |first| first.number - 1);
            return Poll::Ready(Some(primed(self.reading.stream, before)));
        }
        let event = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.reading.poll_next(context),
        };
        if let Poll::Ready(event) = event {
            self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(event.map(|event| self.encode(&event)));
        }
        ready!(self.quiet.as_mut().poll(context));
        self.quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
        Poll::Ready(Some(Bytes::from_static(NOTHING)))
    }

    /// A message has no line ends, so it is one line of data.
    fn encode(&self, event: &Event) -> Bytes {
        let mut octets = BytesMut::with_capacity(event.line.len() + 48);
        if self.reading.can_resume() {
            octets.put_slice(format!("id: {}-{}\n", self.reading.stream, event.number).as_bytes());
        }
        octets.put_slice(b"data: ");
        octets.put_slice(&event.line);
        octets.put_slice(b"\n\n");
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
