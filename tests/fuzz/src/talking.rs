//! Talking to a server of ours over memory, in a time that stands still while anybody has something to do.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

/// Longer than anything of ours takes while nobody waits for anybody.
const SETTLED: Duration = Duration::from_secs(2);

/// Runs a future in a time of its own: a wait is over as soon as there is nothing else to do.
pub fn in_its_own_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// Says something, and what has come by the time that the other side has nothing more to do.
pub async fn say(stream: &mut DuplexStream, octets: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    // The other side may be gone, or may not read any more.
    drop(timeout(SETTLED, stream.write_all(octets)).await);
    sleep(SETTLED).await;
    let mut buffer = [0; 16 * 1024];
    while let Ok(Ok(len @ 1..)) = timeout(Duration::from_millis(1), stream.read(&mut buffer)).await
    {
        heard.extend_from_slice(&buffer[..len]);
    }
    heard
}
