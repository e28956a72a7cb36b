//! The process: startup, cron, shutdown, logging.
