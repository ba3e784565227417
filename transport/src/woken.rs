//! Waiting for what rarely happens, beside work that never pauses.

use std::future::pending;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// The same future, polled only when it was itself woken. A `select!` polls all its branches whenever
/// one of them is woken, so a session's timers and watches would be looked at with every message.
pub(crate) async fn when_woken<F: Future>(future: F) -> F::Output {
    let mut alone = FuturesUnordered::from_iter([future]);
    match alone.next().await {
        Some(output) => output,
        // It is there until it is done.
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

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
        assert_eq!(when_woken(async { Poll::Ready(7) }).await, Poll::Ready(7));
    }
}
