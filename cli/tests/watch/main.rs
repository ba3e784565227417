//! What somebody who watches a gateway gets to see, and what they can do: metrics, health, sessions, alerts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod alerts;
#[path = "../home/mod.rs"]
mod home;
#[path = "../lines/mod.rs"]
mod lines;
mod metrics;
mod receiver;
mod scrape;
#[expect(dead_code, reason = "of what a served CA can be asked, this needs a part")]
#[path = "../served/mod.rs"]
mod served;
#[path = "../serving/mod.rs"]
mod serving;
mod sessions;

use home::Home;

/// A CA, a gateway `gw`, and agents: `reader` may read notes, `editor` may do anything with them.
fn cast() -> Home {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
    home.run(&["issue", "reader", "--allow", "tools:read_*"]);
    home.run(&["issue", "editor", "--allow", "tools:*"]);
    home
}
