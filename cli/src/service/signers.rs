//! The threads that sign: as many as there are cores, for more would only take turns on them.
//!
//! Nobody waits for the disk here, save for a renewal that proves a theft, which is refused only when the
//! list is out that ends its lineage, and comes once in a lineage's life. So certificates are signed in the order in which they were asked
//! for, and a crowd that asks at once does not get a thread each.

use std::mem::replace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

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

    /// What comes of `work`. Up to where it first waits it is done on one of the threads, whether or not
    /// somebody still waits for it then; the rest by the task that waits. `None` if it has panicked there.
    ///
    /// That task is woken once, when there is something to tell: to wake it from another thread costs
    /// system calls and switches, and on one core the signing stands still meanwhile.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let turn = Turn(Arc::new(Asked::default()));
        let answer = Answer { asked: Arc::clone(&turn.0), going: None };
        self.line.send(Box::new(move || turn.begin(Box::pin(work)))).ok()?;
        answer.await
    }
}

fn serve(waiting: &Mutex<Receiver<Work>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // The panic was told by the hook, and whoever waits learns of it because the turn is over.
        drop(catch_unwind(AssertUnwindSafe(work)));
    }
}

type Going<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How far somebody's work has come.
enum Stage<T> {
    InLine,
    /// It was begun, and waits for something.
    Going(Going<T>),
    /// Without a result, if it has panicked.
    Over(Option<T>),
    /// The task that waits goes on with it.
    Taken,
}

/// What a task and a signer know of each other.
struct Asked<T>(Mutex<State<T>>);

struct State<T> {
    stage: Stage<T>,
    /// Of the task that waits.
    waker: Option<Waker>,
    /// Whether what the work waits for came before the signer has put the work down.
    is_woken: bool,
    /// Whether nobody waits any more.
    is_left: bool,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            stage: Stage::InLine,
            waker: None,
            is_woken: false,
            is_left: false,
        }))
    }
}

impl<T> Asked<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task is told if there is something to do for it. Where it has gone the work goes too: what it
    /// waits for knows us, so it would keep itself, and whatever it holds, for ever.
    fn put_down(&self, stage: Stage<T>) {
        let mut state = self.state();
        if state.is_left {
            state.stage = Stage::Taken;
            drop(state);
            return drop(stage);
        }
        let is_over = matches!(stage, Stage::Over(_));
        state.stage = stage;
        let told = if is_over || state.is_woken { state.waker.take() } else { None };
        drop(state);
        told.into_iter().for_each(Waker::wake);
    }
}

/// Stands for the task until that one has taken the work over.
impl<T: Send> Wake for Asked<T> {
    fn wake(self: Arc<Self>) {
        let mut state = self.state();
        state.is_woken = true;
        let is_down = !matches!(state.stage, Stage::InLine);
        let told = if is_down { state.waker.take() } else { None };
        drop(state);
        told.into_iter().for_each(Waker::wake);
    }
}

/// A signer's part. It is over in any case, also if the work has panicked.
struct Turn<T>(Arc<Asked<T>>);

impl<T: Send + 'static> Turn<T> {
    fn begin(self, mut work: Going<T>) {
        let waker = Waker::from(Arc::clone(&self.0));
        self.0.put_down(match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => Stage::Over(Some(done)),
            Poll::Pending => Stage::Going(work),
        });
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        let is_in_line = matches!(self.0.state().stage, Stage::InLine);
        if is_in_line {
            self.0.put_down(Stage::Over(None));
        }
    }
}

/// The task's part.
struct Answer<T> {
    asked: Arc<Asked<T>>,
    going: Option<Going<T>>,
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let mut state = self.asked.state();
        state.is_left = true;
        let is_in_line = matches!(state.stage, Stage::InLine);
        let left = (!is_in_line).then(|| replace(&mut state.stage, Stage::Taken));
        drop(state);
        drop(left);
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(going) = &mut self.going {
            return going.as_mut().poll(context).map(Some);
        }
        let mut state = self.asked.state();
        state.waker = Some(context.waker().clone());
        match replace(&mut state.stage, Stage::Taken) {
            Stage::InLine => {
                state.stage = Stage::InLine;
                Poll::Pending
            }
            Stage::Over(done) => Poll::Ready(done),
            Stage::Going(mut going) => {
                drop(state);
                let done = going.as_mut().poll(context).map(Some);
                self.going = Some(going);
                done
            }
            Stage::Taken => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::mpsc::channel;
    use std::thread::current;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_has_begun_is_done_whoever_goes_away_or_panics() {
        let signers = Signers::start().unwrap();
        let (done, result) = channel();
        {
            // Given up as soon as it is in line.
            let given_up = signers.run(async move { done.send(7) });
            tokio::select! { biased; _ = given_up => {}, () = async {} => {} }
        }
        assert_eq!(result.recv(), Ok(7));
        for _ in 0..2 * thread::available_parallelism().map_or(1, usize::from) {
            assert!(signers.run(async { panic!("on purpose") }).await.is_none_or(|(): ()| false));
        }
        assert_eq!(signers.run(async { 1 + 1 }).await, Some(2));
    }

    #[tokio::test]
    async fn what_is_waited_for_is_waited_for_on_no_signer() {
        let signers = Arc::new(Signers::start().unwrap());
        let here = current().id();
        let (began, has_begun) = channel();
        let (tell, told) = oneshot::channel();
        let asking = Arc::clone(&signers);
        let waiting = tokio::spawn(async move {
            let work = async move {
                began.send(current().id()).unwrap();
                let told: u32 = told.await.unwrap();
                (told, current().id())
            };
            asking.run(work).await
        });
        tokio::task::yield_now().await;
        let signer = has_begun.recv().unwrap();
        assert_ne!(signer, here);
        // Every signer is free although one has begun what waits.
        for _ in 0..2 * thread::available_parallelism().map_or(1, usize::from) {
            assert_eq!(signers.run(async { 7 }).await, Some(7));
        }
        tell.send(8).unwrap();
        assert_eq!(waiting.await.unwrap(), Some((8, here)));
    }

    /// Tells when it is dropped.
    struct Held(Sender<()>);

    impl Drop for Held {
        fn drop(&mut self) {
            // An error means that nobody waits any more.
            let _ = self.0.send(());
        }
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_nothing_behind() {
        let signers = Signers::start().unwrap();
        for is_begun_first in [false, true] {
            let ((freed, is_freed), (began, has_begun)) = (channel(), channel());
            let (tell, told) = oneshot::channel::<()>();
            let work = async move {
                let _held = Held(freed);
                began.send(()).unwrap();
                let _ = told.await;
            };
            let mut answer = Box::pin(signers.run(work));
            tokio::select! { biased; _ = &mut answer => {}, () = async {} => {} }
            if is_begun_first {
                has_begun.recv().unwrap();
            }
            drop(answer);
            // Nobody was told, and what was held is free all the same.
            assert_eq!(is_freed.recv_timeout(Duration::from_secs(20)), Ok(()));
            drop(tell);
        }
    }

    #[tokio::test]
    async fn nobody_sleeps_on_whenever_the_answer_comes() {
        let signers = Signers::start().unwrap();
        for _ in 0..2_000 {
            let (tell, told) = oneshot::channel();
            // From another thread, at any moment between the first look and the task's.
            let teller = thread::spawn(move || tell.send(1_u32).unwrap());
            assert_eq!(signers.run(async move { told.await.unwrap() }).await, Some(1));
            teller.join().unwrap();
        }
        // What wakes before it waits.
        let mut polls = 0;
        let twice = poll_fn(move |context| {
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 2 { Poll::Ready(polls) } else { Poll::Pending }
        });
        assert_eq!(signers.run(twice).await, Some(2));
    }
}
