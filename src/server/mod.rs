//! The process: startup, cron, signals, logging.

pub mod crash;
pub mod cron;
pub mod logging;
pub mod signals;
pub mod startup;
pub mod title;
pub mod world;
