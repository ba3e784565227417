//! The CA as a service.

pub(crate) mod web;
