//! CRC-64 as RDB files end with.
