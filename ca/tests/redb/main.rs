//! The same CA on redb: every test that has to do with what it remembers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

use vouchsafe_ca::StoreKind;

#[path = "../ca/authority.rs"]
mod authority;
#[path = "../ca/check.rs"]
mod check;
#[path = "../ca/clocks.rs"]
mod clocks;
#[path = "../ca/crowd.rs"]
mod crowd;
#[path = "../ca/deltas.rs"]
mod deltas;
#[path = "../ca/enrolment.rs"]
mod enrolment;
#[path = "../ca/faults.rs"]
mod faults;
#[path = "../ca/faulty.rs"]
mod faulty;
#[path = "../ca/history.rs"]
mod history;
#[path = "../ca/inviting.rs"]
mod inviting;
#[path = "../ca/killed.rs"]
mod killed;
#[path = "../ca/lineage.rs"]
mod lineage;
#[path = "../ca/openssl.rs"]
mod openssl;
#[path = "../ca/rebuilding.rs"]
mod rebuilding;
#[path = "../ca/rotation.rs"]
mod rotation;
#[path = "../ca/story.rs"]
mod story;
#[path = "../ca/untold.rs"]
mod untold;
#[path = "../ca/world.rs"]
mod world;

/// What keeps what the CA remembers.
const STORE: StoreKind = StoreKind::Redb;

/// Where that keeps it, in the home.
const STORE_FILE: &str = "store/redb";
