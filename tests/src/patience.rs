//! How long is waited for what must come.

use std::time::Duration;

use tokio::time::sleep;

/// Nothing on this machine takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until there is something; `None` if there is nothing after ten seconds.
pub async fn eventually<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    for _ in 0..1000 {
        let seen = look();
        if seen.is_some() {
            return seen;
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}
