//! Durable file operations: the only place that renames.
