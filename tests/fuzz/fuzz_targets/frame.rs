//! Lines out of a stream: the same lines and the same end, however the network cuts the stream into pieces.
//!
//! The first octet sets the limit of a line, the next eight the sizes of the pieces; the rest is the stream.

#![no_main]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, ReadBuf};
use vouchsafe_fuzz::verdict::block_on;
use vouchsafe_transport::{FrameError, LineReader};

fuzz_target!(|octets: &[u8]| {
    let Some((head, stream)) = octets.split_at_checked(9) else { return };
    let max_len = usize::from(head[0]) + 1;
    let pieces = Pieces { stream, sizes: &head[1..], nth: 0, waits: false };
    assert_eq!(block_on(read(pieces, max_len)), expected(stream, max_len));
});

/// The lines, and whether the stream ended well.
type Lines = (Vec<Vec<u8>>, bool);

async fn read(stream: impl AsyncRead + Unpin, max_len: usize) -> Lines {
    let mut reader = LineReader::new(stream, max_len, Duration::from_secs(60));
    let mut lines = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(line)) => lines.push(line.to_vec()),
            Ok(None) => return (lines, true),
            Err(FrameError::TooLong(_)) => return (lines, false),
            Err(error) => panic!("{error}"),
        }
    }
}

fn expected(stream: &[u8], max_len: usize) -> Lines {
    let mut lines = Vec::new();
    for line in stream.split_inclusive(|octet| *octet == b'\n') {
        let (text, is_whole) = match line.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (line, false),
        };
        // The limit counts the line end, also the one that has not come yet.
        if text.len() >= max_len {
            return (lines, false);
        }
        if is_whole && !text.iter().all(u8::is_ascii_whitespace) {
            lines.push(text.to_vec());
        }
    }
    (lines, true)
}

/// A stream that comes in pieces of given sizes, and after a large one lets its reader wait once.
struct Pieces<'a> {
    stream: &'a [u8],
    sizes: &'a [u8],
    nth: usize,
    waits: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.waits) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = self.sizes[self.nth % self.sizes.len()];
        self.nth += 1;
        self.waits = size >= 128;
        let len = (usize::from(size % 128) + 1).min(self.stream.len()).min(buffer.remaining());
        let (piece, rest) = self.stream.split_at(len);
        buffer.put_slice(piece);
        self.stream = rest;
        Poll::Ready(Ok(()))
    }
}
