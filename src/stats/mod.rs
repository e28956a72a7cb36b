//! Counters of the server, written by one thread each and read when asked.
