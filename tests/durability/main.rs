//! What the server finds on the disk when it starts, what it leaves there when it ends, and what
//! it says where it cannot go on. The scripts beside this file kill it at random and fill its disk.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod encoding;
mod ending;
mod files;
mod groups;
mod lagging;
mod rebasing;
mod switching;
mod tools;
mod unheard;
