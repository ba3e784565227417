//! A stream whose other side must read: hyper limits how long a request takes to come, but not how
//! long an answer takes to go.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::HttpLimits;

/// For an answer as a whole, beside the time that its length takes.
const HEAD_START: Duration = Duration::from_secs(60);

/// Whoever takes so many octets of an answer is not silent meanwhile.
const MUCH: u64 = 1024 * 1024;

/// Fails where the other side takes nothing for too long, or what there is for it too slowly.
pub(crate) struct Paced<S, F> {
    stream: S,
    patience: Duration,
    /// Octets a second; 0 is no limit.
    rate: u32,
    /// Called whenever much has been taken.
    took: F,
    /// Since when something has been there for the other side, and how much of it was taken.
    begun: Option<Instant>,
    taken: u64,
    /// Ends when patience does; set while something waits to be written.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S, F: Fn()> Paced<S, F> {
    pub(crate) fn new(stream: S, limits: &HttpLimits, took: F) -> Self {
        let (patience, rate) = (limits.write, limits.write_rate);
        Self { stream, patience, rate, took, begun: None, taken: 0, end: None }
    }

    /// Passes on what writing came to, unless it has been waiting for too long.
    fn pace<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.end = None;
            return written;
        }
        let until = self.until(Instant::now());
        let end = self.end.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(end.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// When patience ends with somebody who takes nothing from now on.
    fn until(&mut self, now: Instant) -> Instant {
        let begun = *self.begun.get_or_insert(now);
        let seconds = self.taken.checked_div(self.rate.into());
        let whole = seconds.map(|seconds| begun + HEAD_START + Duration::from_secs(seconds));
        whole.unwrap_or(now + self.patience).min(now + self.patience)
    }

    fn count(&mut self, written: &Poll<io::Result<usize>>) {
        self.begun.get_or_insert_with(Instant::now);
        if let Poll::Ready(Ok(octets)) = written {
            let before = self.taken / MUCH;
            self.taken += u64::try_from(*octets).unwrap_or_default();
            if self.taken / MUCH > before {
                (self.took)();
            }
        }
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Paced<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin, F: Fn() + Unpin> AsyncWrite for Paced<S, F> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, octets);
        self.count(&written);
        self.pace(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.count(&written);
        self.pace(context, written)
    }

    /// Where this is true hyper copies no answer, however long, into a buffer of its own.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            (self.begun, self.taken) = (None, 0);
        }
        self.pace(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.pace(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(write_rate: u32) -> HttpLimits {
        HttpLimits { write: 30 * SECOND, write_rate, ..HttpLimits::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_be_slow_but_not_asleep() {
        let (ours, mut theirs) = duplex(10);
        let mut paced = Paced::new(ours, &limits(0), || ());
        let slow = async {
            for _ in 0..5 {
                sleep(29 * SECOND).await;
                theirs.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(paced.write_all(&[7; 60]), slow);
        written.unwrap();
        let start = Instant::now();
        let error = paced.write_all(&[7; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_no_longer_than_its_length_at_the_rate_and_a_minute() {
        let (ours, mut theirs) = duplex(10);
        let mut paced = Paced::new(ours, &limits(10), || ());
        let start = Instant::now();
        let slow = tokio::spawn(async move {
            while theirs.read_exact(&mut [0; 10]).await.is_ok() {
                sleep(2 * SECOND).await;
            }
        });
        // At half the rate a minute's start is used up in two, and then it is over.
        let error = paced.write_all(&[7; 10_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!((118..=122).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        drop(paced);
        slow.await.unwrap();
        // Whoever keeps the pace may take as long as there is something to take.
        let (ours, mut theirs) = duplex(10);
        let mut paced = Paced::new(ours, &limits(10), || ());
        tokio::spawn(async move {
            while theirs.read_exact(&mut [0; 10]).await.is_ok() {
                sleep(SECOND).await;
            }
        });
        paced.write_all(&[7; 10_000]).await.unwrap();
        // What has gone out whole is done with: the next answer begins anew.
        paced.flush().await.unwrap();
        assert_eq!((paced.begun, paced.taken), (None, 0));
    }

    #[tokio::test]
    async fn whoever_takes_much_is_not_silent() {
        let (ours, mut theirs) = duplex(64 * 1024);
        let spoken = AtomicUsize::new(0);
        let mut paced = Paced::new(ours, &limits(0), || {
            spoken.fetch_add(1, Ordering::Relaxed);
        });
        let reader = async { theirs.read_exact(&mut vec![0; 3 << 20]).await.unwrap() };
        let octets = vec![7; 3 << 20];
        let (written, _) = tokio::join!(paced.write_all(&octets), reader);
        written.unwrap();
        assert_eq!(spoken.load(Ordering::Relaxed), 3);
    }
}
