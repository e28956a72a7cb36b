//! Channels and patterns, and who listens.
