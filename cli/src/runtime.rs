//! The asynchronous runtimes: commands that need none do not pay for one.

use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// For one session: everything on this thread.
pub(crate) fn small() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(failed)
}

/// For many sessions: a thread a core. Where there is one core there is nobody to share with, and a
/// call costs 2 µs less on this thread.
pub(crate) fn large() -> Result<Runtime, Failure> {
    if available_parallelism().is_ok_and(|cores| cores == NonZero::<usize>::MIN) {
        return small();
    }
    Builder::new_multi_thread().enable_all().build().map_err(failed)
}

/// Waits until somebody at the terminal, or whoever started this, asks it to stop (SIGINT, SIGTERM).
/// From now on neither ends the process by itself.
pub(crate) fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new(format!("the asynchronous runtime cannot be started: {error}"))
}
