//! The append-only file: manifest, replay, rewrite, check.
