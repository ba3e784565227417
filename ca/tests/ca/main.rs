//! The CA as its users see it, through its public face alone.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

use vouchsafe_ca::StoreKind;

mod authority;
mod caller;
mod check;
mod clocks;
mod crowd;
mod deltas;
mod enrolment;
mod faults;
mod faulty;
mod history;
mod inviting;
mod killed;
mod lineage;
mod ocsp;
mod openssl;
mod rebuilding;
mod reserved;
mod rotation;
mod story;
mod untold;
mod world;

/// What keeps what the CA remembers.
const STORE: StoreKind = StoreKind::Sled;

/// Where that keeps it, in the home.
const STORE_FILE: &str = "store/db";
