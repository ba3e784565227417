//! What is done, and counts once the disk has it.
//!
//! Whoever waits for the disk need not keep a thread for it: a service that has hundreds of
//! certificates on their way signs on as many threads as there are cores.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::sync::oneshot;

use crate::error::Error;

/// What the thread that writes has to say of one event.
pub(crate) type Verdict = Result<(), Error>;

/// Something that counts once the disk has it, and that nobody may be told of before.
///
/// Whether it is waited for or not, it happens: dropping it only means not to hear of it.
#[derive(Debug)]
#[must_use = "nobody may be told before it was waited for"]
pub struct Pending<T> {
    value: T,
    /// `None`: it counts already.
    verdict: Option<oneshot::Receiver<Verdict>>,
}

/// What counts already.
impl<T> From<T> for Pending<T> {
    fn from(value: T) -> Self {
        Self { value, verdict: None }
    }
}

impl<T> Pending<T> {
    pub(crate) fn new(value: T, verdict: oneshot::Receiver<Verdict>) -> Self {
        Self { value, verdict: Some(verdict) }
    }

    /// Something else, made of it in the meantime.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Pending<U> {
        Pending { value: make(self.value), verdict: self.verdict }
    }

    /// Waits until the disk has it, or it was refused after all.
    ///
    /// # Errors
    /// [`Error::Refused`] changes nothing; after any other, the CA has stopped.
    pub async fn settled(self) -> Result<T, Error> {
        if let Some(verdict) = self.verdict {
            // The other end is gone only if the thread has panicked, perhaps in the middle of a write.
            verdict.await.map_err(|_| Error::Stopped)??;
        }
        Ok(self.value)
    }

    /// The same, on a thread that has nothing else to do.
    ///
    /// # Errors
    /// As [`settled`](Self::settled).
    pub fn wait(self) -> Result<T, Error> {
        block_on(self.settled())
    }
}

/// Parks this thread until `future` is done. Also where an asynchronous runtime works on this thread,
/// which the runtime's own way of blocking forbids; whoever calls it there knows that it is brief.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;

    #[test]
    fn whoever_waits_hears_what_the_disk_came_to() {
        let (tell, verdict) = oneshot::channel();
        let pending = Pending::new(1, verdict).map(|one| one + 1);
        let waiting = thread::spawn(|| pending.wait());
        tell.send(Ok(())).unwrap();
        assert!(matches!(waiting.join().unwrap(), Ok(2)));
        assert!(matches!(Pending::from(3).wait(), Ok(3)));
    }

    #[test]
    fn what_was_refused_or_lost_is_not_handed_out() {
        let (tell, verdict) = oneshot::channel();
        tell.send(Err(Refusal::AlreadyEnrolled.into())).unwrap();
        let refused = Pending::new((), verdict).wait().unwrap_err();
        assert!(refused.is_overtaken(), "{refused}");
        // The thread that writes has ended without a word.
        let (tell, verdict) = oneshot::channel::<Verdict>();
        drop(tell);
        assert!(matches!(Pending::new((), verdict).wait(), Err(Error::Stopped)));
    }
}
