//! What the fuzz targets share: a CA whose key everybody knows, second opinions to compare with, and a way to see
//! the octets that a policy lets pass.

pub mod issuer;
pub mod json;
pub mod permission;
pub mod session;
pub mod verdict;
