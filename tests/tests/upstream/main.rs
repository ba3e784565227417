//! Servers that run already, behind a gateway: what they are sent, and what becomes of what they say.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so"
)]

mod answers;
mod behind;
mod headers;
mod lines;
mod order;
mod reaching;
mod revoked;
mod sessions;
mod stateless;
mod waiting;
