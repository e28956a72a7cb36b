//! The wire format: requests in, replies out; no I/O.

pub mod args;
pub mod error;
pub mod reply;
pub mod request;
