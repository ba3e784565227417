//! Changes of the lists, told to whoever listens (`subscriptions/listen`, 2026-07-28).

use std::time::Duration;

use rmcp::service::SubscriptionContext;
use tokio::sync::watch;
use tokio::time::timeout;

/// Far longer than the library takes from telling a listener that it is heard to calling
/// [`Changes::tell`]. For a listener that hangs up in between it never does.
const OPENING: Duration = Duration::from_secs(1);

/// How often each list has changed. Nothing in them really does; what matters is who is told.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    tools: watch::Sender<u64>,
    prompts: watch::Sender<u64>,
    /// Listeners that have been told that they are heard, and are not yet.
    opening: watch::Sender<usize>,
}

impl Changes {
    pub(crate) async fn of_tools(&self) {
        self.opened().await;
        self.tools.send_modify(|count| *count += 1);
    }

    pub(crate) async fn of_prompts(&self) {
        self.opened().await;
        self.prompts.send_modify(|count| *count += 1);
    }

    /// A listener is about to be told that it is heard.
    pub(crate) fn open(&self) {
        self.opening.send_modify(|count| *count += 1);
    }

    /// Waits until everybody is heard who has been told so: a change before that would pass them by.
    async fn opened(&self) {
        drop(timeout(OPENING, self.opening.subscribe().wait_for(|count| *count == 0)).await);
    }

    /// Tells one listener of every change, for as long as it listens.
    pub(crate) async fn tell(&self, subscription: &SubscriptionContext) {
        let (mut tools, mut prompts) = (self.tools.subscribe(), self.prompts.subscribe());
        self.opening.send_modify(|count| *count = count.saturating_sub(1));
        loop {
            // What the listener did not ask for is refused by its sink, which is what we want.
            tokio::select! {
                () = subscription.cancelled() => return,
                Ok(()) = tools.changed() => {
                    drop(subscription.sink().notify_tool_list_changed().await);
                }
                Ok(()) = prompts.changed() => {
                    drop(subscription.sink().notify_prompt_list_changed().await);
                }
            }
        }
    }
}
