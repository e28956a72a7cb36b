//! The wire format: requests in, replies out; no I/O.
