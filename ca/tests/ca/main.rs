//! The CA as its users see it, through its public face alone.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod authority;
mod caller;
mod crowd;
mod deltas;
mod enrolment;
mod faults;
mod history;
mod inviting;
mod killed;
mod lineage;
mod ocsp;
mod openssl;
mod rebuilding;
mod reserved;
mod rotation;
mod untold;
mod world;
