//! Framing: one message per line, UTF-8, over any reliable stream (MCP, stdio transport).

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use memchr::memchr;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Permit;

/// Room for what comes first. It is on the stack: a session that waits keeps none.
const FIRST_LEN: usize = 4 * 1024;
/// Room for what comes next of a long line.
const READ_LEN: usize = 64 * 1024;
/// A larger buffer is given back once it is empty.
const KEPT_LEN: usize = 512;
/// Last octets that are kept of a line that is passed over.
const LAST_LEN: usize = 128;

/// Why no further line can be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A line longer than the limit; what follows it cannot be told apart any more.
    #[error("a message is longer than {0} octets")]
    TooLong(usize),
    /// A line that was begun and not ended in time.
    #[error("a message was begun and not ended within {0:?}")]
    TooSlow(Duration),
    /// The peer does not read.
    #[error("the peer did not read for {0:?}")]
    NotRead(Duration),
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads lines with a limit on their length and on the time from their first octet to their last.
#[derive(Debug)]
pub struct LineReader<R> {
    stream: R,
    buffer: Vec<u8>,
    /// Where the line that is read next begins.
    start: usize,
    /// Up to where no line end was found.
    searched: usize,
    max_len: usize,
    deadline: Duration,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads from `stream` lines of at most `max_len` octets, each within `deadline` of its first octet.
    pub fn new(stream: R, max_len: usize, deadline: Duration) -> Self {
        Self { stream, buffer: Vec::new(), start: 0, searched: 0, max_len, deadline }
    }

    /// The next line that is not empty, without its line end; `None` at the end of the stream.
    /// Octets after the last line end are no message and are discarded.
    ///
    /// # Errors
    /// See [`FrameError`]; afterwards the stream must be closed.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let mut begun = None;
        loop {
            if let Some(end) = self.find_end() {
                // However the octets arrived: the limit is the same.
                if end - self.start >= self.max_len {
                    return Err(FrameError::TooLong(self.max_len));
                }
                let line = self.start..end;
                self.start = end + 1;
                self.searched = self.start;
                if !self.buffer.get(line.clone()).is_some_and(is_blank) {
                    return Ok(self.buffer.get(line));
                }
                begun = None;
                continue;
            }
            self.make_room();
            if self.buffer.len() >= self.max_len {
                return Err(FrameError::TooLong(self.max_len));
            }
            let read = if self.buffer.is_empty() {
                self.read_first().await?
            } else {
                let deadline = *begun.get_or_insert_with(|| Instant::now() + self.deadline);
                let late = |_| FrameError::TooSlow(self.deadline);
                let read = self.stream.read_buf(&mut self.buffer);
                timeout_at(deadline, read).await.map_err(late)??
            };
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// What has come of the line that was too long ([`FrameError::TooLong`]): its beginning.
    pub(crate) fn beginning(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Passes over the line that was too long, up to its end: gives the last octets of it, or `None`
    /// where the stream ends. For streams that many share, of which one must not end all.
    pub(crate) async fn skip(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let mut last = Vec::new();
        loop {
            if let Some(end) = self.find_end() {
                keep_last(&mut last, self.buffer.get(self.start..end));
                self.start = end + 1;
                self.searched = self.start;
                return Ok(Some(last));
            }
            keep_last(&mut last, self.buffer.get(self.start..));
            self.start = self.buffer.len();
            self.make_room();
            self.buffer.reserve(READ_LEN);
            let read = timeout(self.deadline, self.stream.read_buf(&mut self.buffer)).await;
            if read.map_err(|_| FrameError::TooSlow(self.deadline))?? == 0 {
                return Ok(None);
            }
        }
    }

    /// The stream, for whoever does not care for lines any more.
    pub(crate) fn into_inner(self) -> R {
        self.stream
    }

    /// Reads into an empty buffer, which is made when something has come.
    async fn read_first(&mut self) -> io::Result<usize> {
        let Self { stream, buffer, .. } = self;
        poll_fn(|context| {
            let mut room = [const { MaybeUninit::uninit() }; FIRST_LEN];
            let mut read = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
            buffer.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }

    fn find_end(&mut self) -> Option<usize> {
        let found = memchr(b'\n', self.buffer.get(self.searched..)?);
        match found {
            Some(offset) => Some(self.searched + offset),
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    /// Moves what is left of the buffer to its front, and gives a large empty one back.
    fn make_room(&mut self) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if !self.buffer.is_empty() {
            // As much again as has come, so that a long line takes few reads.
            self.buffer.reserve(self.buffer.len().clamp(FIRST_LEN, READ_LEN));
        } else if self.buffer.capacity() > KEPT_LEN {
            self.buffer = Vec::new();
        }
    }
}

/// Keeps the last octets of what goes by.
fn keep_last(last: &mut Vec<u8>, octets: Option<&[u8]>) {
    let octets = octets.unwrap_or_default();
    let octets = octets.get(octets.len().saturating_sub(LAST_LEN)..).unwrap_or_default();
    last.drain(..(last.len() + octets.len()).saturating_sub(LAST_LEN).min(last.len()));
    last.extend_from_slice(octets);
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Writes lines, each whole and flushed, to a peer that must read them in time.
#[derive(Debug)]
pub struct LineWriter<W> {
    stream: W,
    deadline: Duration,
    line: Vec<u8>,
    /// How much of the line has been written.
    written: usize,
}

impl<W: AsyncWrite + Unpin> LineWriter<W> {
    /// Writes to `stream`; the peer must take each line within `deadline`.
    pub fn new(stream: W, deadline: Duration) -> Self {
        Self { stream, deadline, line: Vec::new(), written: 0 }
    }

    /// Sends a message that was judged.
    ///
    /// # Errors
    /// [`FrameError::NotRead`] or [`FrameError::Io`].
    pub async fn forward(&mut self, permit: Permit<'_>) -> Result<(), FrameError> {
        self.send(permit.line()).await
    }

    /// Sends a line of our own making. If the sending of the line before was given up half way, the
    /// rest of that comes first: what is sent here is a line of its own in any case.
    ///
    /// # Errors
    /// [`FrameError::NotRead`] or [`FrameError::Io`].
    pub async fn send(&mut self, line: &[u8]) -> Result<(), FrameError> {
        let deadline = self.deadline;
        let sent = async {
            self.write().await?;
            self.line.clear();
            // At once, or the line end would double what a long line takes.
            self.line.reserve(line.len() + 1);
            self.line.extend_from_slice(line);
            self.line.push(b'\n');
            self.written = 0;
            self.write().await?;
            self.stream.flush().await
        };
        within(deadline, sent).await??;
        if self.line.capacity() > KEPT_LEN {
            self.line = Vec::new();
            self.written = 0;
        }
        Ok(())
    }

    /// Writes what is left of the line, and counts, so that it can be given up at any time.
    async fn write(&mut self) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = self.line.get(self.written..) {
            match self.stream.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                len => self.written += len,
            }
        }
        Ok(())
    }

    /// Says that nothing more will be sent (TLS: close_notify), after the rest of a line that was
    /// given up half way.
    ///
    /// # Errors
    /// [`FrameError::NotRead`] or [`FrameError::Io`].
    pub async fn close(&mut self) -> Result<(), FrameError> {
        let deadline = self.deadline;
        let closed = async {
            self.write().await?;
            self.stream.shutdown().await
        };
        Ok(within(deadline, closed).await??)
    }
}

/// Waits for a peer to read. Most of the time there is nothing to wait for, and no clock to look at.
async fn within<T>(deadline: Duration, work: impl Future<Output = T>) -> Result<T, FrameError> {
    let mut work = pin!(work);
    match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(deadline, work).await.map_err(|_| FrameError::NotRead(deadline)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn lines_arrive_whole_however_they_are_cut() {
        let text = b"one\r\n\n  \ntwo\nthree without an end";
        for size in 1..text.len() {
            let (mut far, near) = tokio::io::duplex(64);
            let chunks: Vec<Vec<u8>> = text.chunks(size).map(<[u8]>::to_vec).collect();
            let writing = tokio::spawn(async move {
                for chunk in chunks {
                    far.write_all(&chunk).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let mut reader = LineReader::new(near, 100, SECOND);
            assert_eq!(reader.next().await.unwrap(), Some(&b"one\r"[..]));
            assert_eq!(reader.next().await.unwrap(), Some(&b"two"[..]));
            assert!(reader.next().await.unwrap().is_none());
            writing.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_can_be_passed_over() {
        let text = format!("one\n{}\ntwo\n{}", "x".repeat(100_000), "y".repeat(100_000));
        let mut reader = LineReader::new(text.as_bytes(), 10, SECOND);
        assert_eq!(reader.next().await.unwrap(), Some(&b"one"[..]));
        assert!(matches!(reader.next().await, Err(FrameError::TooLong(10))));
        assert_eq!(reader.skip().await.unwrap(), Some(vec![b'x'; LAST_LEN]));
        assert_eq!(reader.next().await.unwrap(), Some(&b"two"[..]));
        assert!(matches!(reader.next().await, Err(FrameError::TooLong(10))));
        assert_eq!(reader.skip().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_ends_the_stream() {
        let (mut far, near) = tokio::io::duplex(1024);
        far.write_all(&[b'x'; 200]).await.unwrap();
        let mut reader = LineReader::new(near, 100, SECOND);
        assert!(matches!(reader.next().await, Err(FrameError::TooLong(100))));
        // Its end makes no difference, even if it comes in the same breath.
        let (mut far, near) = tokio::io::duplex(1024);
        far.write_all(&[&[b'x'; 100], &b"\n"[..]].concat()).await.unwrap();
        let mut reader = LineReader::new(near, 100, SECOND);
        assert!(matches!(reader.next().await, Err(FrameError::TooLong(100))));
        far.write_all(&[&[b'x'; 99], &b"\n"[..]].concat()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_line_must_be_finished_in_time_but_silence_between_lines_is_free() {
        let (mut far, near) = tokio::io::duplex(1024);
        let mut reader = LineReader::new(near, 100, SECOND);
        let late = tokio::spawn(async move {
            tokio::time::sleep(SECOND * 100).await;
            far.write_all(b"whole\nhalf").await.unwrap();
            tokio::time::sleep(SECOND * 100).await;
            far
        });
        assert_eq!(reader.next().await.unwrap(), Some(&b"whole"[..]));
        assert!(matches!(reader.next().await, Err(FrameError::TooSlow(_))));
        drop(late);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_left() {
        let (_far, near) = tokio::io::duplex(8);
        let mut writer = LineWriter::new(near, SECOND);
        assert!(matches!(writer.send(&[b'x'; 100]).await, Err(FrameError::NotRead(_))));
    }
    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_given_up_half_way_never_runs_into_the_next() {
        let (far, near) = tokio::io::duplex(8);
        let mut writer = LineWriter::new(near, SECOND * 100);
        let long = [b'x'; 100];
        assert!(timeout(SECOND, writer.send(&long)).await.is_err());
        let reading = tokio::spawn(async move {
            let mut reader = LineReader::new(far, 1000, SECOND);
            let mut lines = Vec::new();
            while let Some(line) = reader.next().await.unwrap() {
                lines.push(line.to_vec());
            }
            lines
        });
        writer.send(b"farewell").await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(reading.await.unwrap(), [&long[..], b"farewell"]);
    }
}
