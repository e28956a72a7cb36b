//! From a batch of requests to replies and records.
