//! What the fuzz targets share: a CA whose key everybody knows, second opinions to compare with, and a way to see
//! the octets that a policy lets pass.

pub mod agreement;
pub mod front;
pub mod issuer;
pub mod json;
pub mod permission;
pub mod pieces;
pub mod schema;
pub mod secrets;
pub mod session;
pub mod talking;
pub mod third;
pub mod verdict;
pub mod wire;
