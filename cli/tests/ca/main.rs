//! The commands of the CA, as somebody at a terminal meets them: what they print, what they leave
//! behind, how they end.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say so and stop"
)]

mod history;
mod issuing;
mod looking;
mod passphrases;
mod revoking;
mod sandbox;
mod transcript;
mod usage;
