//! The commands: one file a family, its rows, then its handlers.
