//! The process: startup, cron, shutdown, logging.

pub mod logging;
pub mod startup;
pub mod world;
