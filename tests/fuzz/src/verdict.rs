//! The octets that a policy lets pass. A permit shows them to a line writer only, so one is put behind it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use vouchsafe_transport::{LineWriter, Verdict};

/// What became of a message, in octets.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Forwarded(Vec<u8>),
    Answered(Vec<u8>),
    Dropped,
}

impl Fate {
    pub fn of(verdict: Verdict<'_>) -> Self {
        match verdict {
            Verdict::Forward(permit) => {
                let mut sent = Vec::new();
                let mut writer = LineWriter::new(&mut sent, Duration::from_secs(60));
                block_on(writer.forward(permit)).expect("memory takes every line");
                assert_eq!(sent.pop(), Some(b'\n'));
                Self::Forwarded(sent)
            }
            Verdict::Answer(line) => Self::Answered(line),
            _ => Self::Dropped,
        }
    }
}

/// Runs a future that never waits for anything outside: whoever is not ready now is asked again. The runtime is
/// there for the clock of its time limits alone, because parking it would take most of a run's time.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| {
        let _entered = runtime.enter();
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                return done;
            }
        }
    })
}

/// Whether every reader sees one line here. Python's, Java's and .NET's end a line at a bare carriage return too,
/// so one in the middle would make several messages of the one that was judged.
pub fn is_one_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    !line.iter().any(|octet| matches!(octet, b'\r' | b'\n'))
}
