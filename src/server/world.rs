//! What the engine may ask of the process around it.

use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, LogFormat, LogLevel};
use crate::engine::apply::World;
use crate::net::listener::Listeners;
use crate::server::{crash, logging, title};

/// Sockets and log of the process.
pub struct Process {
    /// Where it listens.
    pub listeners: Arc<Listeners>,
}

impl World for Process {
    fn rebind(&self, config: &Config) -> Result<(), String> {
        self.listeners.rebind(config).map_err(|error| error.to_string())
    }

    fn stop_listening(&self) {
        self.listeners.close();
    }

    fn set_log_level(&self, level: LogLevel) {
        logging::set_level(level);
    }

    fn set_crash_log(&self, on: bool) {
        crash::set_enabled(on);
    }

    fn set_title(&self, config: &Config, config_file: Option<&Path>) {
        title::show(config, config_file);
    }

    fn set_log_format(&self, format: LogFormat) {
        logging::set_format(format);
    }
}
