//! The threads that sign: as many as there are cores, for more would only take turns on them.
//!
//! Nobody waits for the disk here, so certificates are signed in the order in which they were asked
//! for, and a crowd that asks at once does not get a thread each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::exit::Failure;

type Work = Box<dyn FnOnce() + Send>;

/// The way to them. They end when it is gone.
pub(super) struct Signers {
    /// Its length is bounded by the requests that the listeners let in at once.
    line: Sender<Work>,
}

impl Signers {
    /// Starts them.
    pub(super) fn start() -> Result<Self, Failure> {
        let (line, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name("signer".to_owned())
                .spawn(move || serve(&waiting))
                .map_err(|error| Failure::new(format!("no thread can be started: {error}")))?;
        }
        Ok(Self { line })
    }

    /// What comes of `work`, which is done to its end even if nobody waits for it any more; `None` if it
    /// has panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let work = Box::new(move || drop(done.send(work())));
        self.line.send(work).ok()?;
        result.await.ok()
    }
}

fn serve(waiting: &Mutex<Receiver<Work>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // The panic was told by the hook, and whoever waits learns of it because nobody answers.
        drop(catch_unwind(AssertUnwindSafe(work)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn what_has_begun_is_done_whoever_goes_away_or_panics() {
        let signers = Signers::start().unwrap();
        let (done, result) = channel();
        {
            // Given up as soon as it is in line.
            let given_up = signers.run(move || done.send(7));
            tokio::select! { biased; _ = given_up => {}, () = async {} => {} }
        }
        assert_eq!(result.recv(), Ok(7));
        for _ in 0..2 * thread::available_parallelism().map_or(1, usize::from) {
            assert!(signers.run(|| panic!("on purpose")).await.is_none_or(|(): ()| false));
        }
        assert_eq!(signers.run(|| 1 + 1).await, Some(2));
    }
}
