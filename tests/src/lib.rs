//! What the proofs share: a [`World`] with a CA, agents and gateways, and a [`Client`] without manners.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on should say so and stop"
)]

pub mod audit;
mod bridged;
pub mod chaos;
mod client;
pub mod hostile;
mod http_client;
mod keeper;
mod lists;
mod patience;
mod processes;
mod tools;
pub mod upstream;
mod web;
mod world;

pub use bridged::BridgedClient;
pub use client::{Client, tls_config};
pub use http_client::{Answer, HttpClient, hoard};
pub use keeper::{Journal, Keeper, keeper_over_http};
pub use lists::list_of_nobody;
pub use patience::{PATIENCE, eventually};
pub use processes::{Memory, children};
pub use tools::is_installed;
pub use web::WebServer;
pub use world::{RunningGateway, TRUST_DOMAIN, World, binary, command, fixed, identity_in};
