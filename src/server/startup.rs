//! From settings to a server that accepts clients.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use crate::cli::Startup;
use crate::command;
use crate::engine::core::{Core, Garbage};
use crate::net::listener::Listeners;
use crate::net::threads::Threads;
use crate::server::logging;
use crate::server::world::Process;

/// Serves until the process is asked to end; gives the exit code.
pub fn serve(startup: Startup) -> i32 {
    let Startup { config, config_file, .. } = startup;
    if let Err(error) = logging::init(&config) {
        eprintln!("Can't open the log file: {error}");
        return 1;
    }
    let (garbage, receiver) = channel();
    let core = Core::new(config, config_file, command::table(), garbage);
    let _ = std::thread::Builder::new()
        .name("lazyfree".to_owned())
        .spawn(move || free_garbage(core, &receiver));
    let config = core.config();
    let threads = match Threads::start(core, config.io_threads) {
        Ok(threads) => threads,
        Err(error) => {
            tracing::error!("Can't start the threads that serve clients: {error}");
            return 1;
        }
    };
    let listeners = match Listeners::start(core, Arc::clone(&threads), &config) {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::error!("{error}");
            return 1;
        }
    };
    let listeners = Arc::new(listeners);
    // Nobody has set it before: there is one start.
    let _ = core.world.set(Box::new(Process { listeners }));
    tracing::info!("Ready to accept connections tcp");
    let mut asked = core.shutdown.asked.lock();
    loop {
        if let Some(code) = *asked {
            return code;
        }
        core.shutdown.bell.wait(&mut asked);
    }
}

fn free_garbage(core: &Core, garbage: &Receiver<Garbage>) {
    use std::sync::atomic::Ordering;
    while let Ok(garbage) = garbage.recv() {
        let objects = match &garbage {
            Garbage::Entry(_) => 1,
            Garbage::Db(db) => db.keys.len() as u64,
        };
        drop(garbage);
        core.garbage_pending.fetch_sub(1, Ordering::Relaxed);
        core.garbage_freed.fetch_add(objects, Ordering::Relaxed);
    }
}
