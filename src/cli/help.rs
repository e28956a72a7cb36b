//! What the program says about itself.

use crate::config::{REDIS_VERSION, REKEEP_VERSION};

/// The line of `--version`: Redis's, so that scripts can read it, and our own name behind it.
pub fn server_version() -> String {
    format!(
        "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 \
         build=rekeep-{REKEEP_VERSION} (Rekeep {REKEEP_VERSION})"
    )
}

/// The text of `--help`.
pub fn server_help() -> String {
    format!(
        "\
Rekeep {REKEEP_VERSION}, a Redis-compatible server that keeps its data (as Redis {REDIS_VERSION})

Usage:
  redis-server [FILE] [--SETTING VALUE...]...   serve clients
  redis-server -                                take the configuration from standard input
  redis-server --check-system                   look at how this machine is set up
  redis-server -v, --version                    say which version this is
  redis-server -h, --help                       say this

  rekeep [serve] ...                            the same as redis-server
  rekeep check-rdb FILE                         check a snapshot
  rekeep check-aof [--fix] MANIFEST-OR-FILE     check append-only files

FILE is a configuration file; redis.conf.example explains every setting. Settings on the command
line are read after it and win. Without any, the server listens on port 6379, serves only this
machine until it has a password, and keeps dump.rdb in the current directory.

Examples:
  redis-server                                  try it; talk to it with redis-cli
  redis-server --appendonly yes --dir /data     keep every acknowledged write
  redis-server /etc/redis.conf --port 7777      one setting differs from the file
  redis-server --replicaof 10.0.0.1 6379        follow another server
  redis-server --save 3600 1 300 100            snapshot each hour, or sooner when busy"
    )
}
