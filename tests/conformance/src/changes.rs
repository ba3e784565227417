//! Changes of the lists, told to whoever listens (`subscriptions/listen`, 2026-07-28).

use rmcp::service::SubscriptionContext;
use tokio::sync::watch;

/// How often each list has changed. Nothing in them really does; what matters is who is told.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    pub(crate) tools: watch::Sender<u64>,
    pub(crate) prompts: watch::Sender<u64>,
}

impl Changes {
    /// Tells one listener of every change, for as long as it listens.
    pub(crate) async fn tell(&self, subscription: &SubscriptionContext) {
        let (mut tools, mut prompts) = (self.tools.subscribe(), self.prompts.subscribe());
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
