//! The exit code; everything else is `cli`.

fn main() {}
