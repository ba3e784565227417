//! The real `serve` on a network that fails, and where the system has nothing left to give.
//!
//! After each fault: honest agents are served, the audit says what happened, and neither session nor
//! child nor descriptor is left behind.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod crowd;
mod exhaustion;
mod handshakes;
#[path = "../home/mod.rs"]
mod home;
#[path = "../lines/mod.rs"]
mod lines;
mod memory;
mod observed;
mod sessions;
