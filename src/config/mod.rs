//! The settings as one table: startup, CONFIG GET, SET, REWRITE and the example file read it.
