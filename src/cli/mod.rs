//! What argv asks for: serve, check-rdb, check-aof.
