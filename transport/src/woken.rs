//! Waiting for what rarely happens, beside work that never pauses.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use pin_project_lite::pin_project;

/// The same future, polled only when it was itself woken. A `select!` polls all its branches whenever
/// one of them is woken, so a session's timers and watches would be looked at with every message.
pub(crate) fn when_woken<F: Future>(future: F) -> WhenWoken<F> {
    let bell = Arc::new(Bell { has_rung: AtomicBool::new(true), outer: AtomicWaker::new() });
    WhenWoken { future, waker: Arc::clone(&bell).into(), bell }
}

pin_project! {
    /// Every session that waits keeps several of these, each in its own place and no larger than it must be.
    pub(crate) struct WhenWoken<F> {
        #[pin]
        future: F,
        bell: Arc<Bell>,
        waker: Waker,
    }
}

/// Wakes the task, and notes for whom.
struct Bell {
    has_rung: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.swap(true, Ordering::AcqRel);
        self.outer.wake();
    }
}

impl<F: Future> Future for WhenWoken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Before one looks: whoever rings in between wakes the task once more.
        this.bell.outer.register(context.waker());
        if !this.bell.has_rung.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        this.future.poll(&mut Context::from_waker(this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, poll_fn};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn whoever_rings_from_another_thread_is_heard() {
        for _ in 0..1_000 {
            let (ring, rung) = tokio::sync::oneshot::channel();
            let ringing = std::thread::spawn(move || ring.send(7).unwrap());
            assert_eq!(when_woken(rung).await, Ok(7));
            ringing.join().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_beside_it_does_not_wake_it() {
        let polls = Cell::new(0);
        let mut rare = Box::pin(sleep(Duration::from_secs(60)));
        let counted = poll_fn(|context| {
            polls.set(polls.get() + 1);
            rare.as_mut().poll(context)
        });
        let busy = async {
            for _ in 0..100 {
                sleep(Duration::from_millis(1)).await;
            }
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = when_woken(counted) => {}
            () = busy => {}
        }
        assert_eq!(polls.get(), 2);
        assert_eq!(when_woken(async { 7 }).await, 7);
    }
}
