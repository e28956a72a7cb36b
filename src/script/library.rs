//! Libraries of functions, kept once for all threads. Each thread compiles one when it first calls
//! it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::base::clock::{self, Steady};
use crate::resp::args::Args;
use crate::resp::reply::Reply;
use crate::script::header::{self, Flags};
use crate::script::machine::{self, Host, Tick};

/// How long a library may take to register its functions.
const LOAD_MS_MAX: u128 = 500;

/// What a library says about one of its functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<Vec<u8>>,
    /// What it says about itself.
    pub flags: Flags,
}

/// A library.
#[derive(Debug)]
pub struct Library {
    /// Another one for every source that was loaded.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// All of it.
    pub source: Arc<[u8]>,
    /// Where Lua begins.
    pub body_at: usize,
    /// Its functions, as they were registered.
    pub functions: Vec<Function>,
}

/// The libraries of one moment.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<String, Arc<Library>>,
    /// By their names in lower case: library and place in it.
    functions: HashMap<String, (Arc<Library>, usize)>,
}

impl Libraries {
    /// All, by name.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.by_name.values()
    }

    /// The library of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Library>> {
        self.by_name.get(name)
    }

    /// How many functions there are.
    pub fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// Bytes they take.
    pub fn memory_bytes(&self) -> usize {
        self.all().map(|library| library.source.len() + size_of::<Library>()).sum()
    }

    /// The function of that name, in either case.
    pub fn function(&self, name: &[u8]) -> Option<(&Arc<Library>, &Function)> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        let (library, place) = self.functions.get(&name)?;
        Some((library, &library.functions[*place]))
    }

    /// Removes a library; false when there is none of that name.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(library) = self.by_name.remove(name) else { return false };
        self.functions.retain(|_, (owner, _)| owner.id != library.id);
        true
    }

    /// Adds a library that was loaded; with `replaces`, instead of one of its name.
    pub fn add(&mut self, library: Arc<Library>, replaces: bool) -> Result<(), String> {
        let name = library.name.clone();
        if let Some(old) = self.by_name.get(&name)
            && !replaces
        {
            return Err(format!("Library '{}' already exists", old.name));
        }
        for function in &library.functions {
            let owner = self.functions.get(&function.name.to_ascii_lowercase());
            if owner.is_some_and(|(owner, _)| owner.name != name) {
                return Err(format!("Function {} already exists", function.name));
            }
        }
        self.remove(&name);
        for (place, function) in library.functions.iter().enumerate() {
            let at = (Arc::clone(&library), place);
            self.functions.insert(function.name.to_ascii_lowercase(), at);
        }
        self.by_name.insert(name, library);
        Ok(())
    }

    /// The sources, as files keep them.
    pub fn sources(&self) -> Vec<Arc<[u8]>> {
        self.all().map(|library| Arc::clone(&library.source)).collect()
    }
}

/// The libraries of the server. Who changes them holds all shards.
#[derive(Default)]
pub struct Functions {
    now: ArcSwap<Libraries>,
}

impl Functions {
    /// The libraries of this moment.
    pub fn now(&self) -> Arc<Libraries> {
        self.now.load_full()
    }

    /// Other libraries.
    pub fn set(&self, libraries: Libraries) {
        self.now.store(Arc::new(libraries));
    }

    /// See [`Libraries::sources`].
    pub fn sources(&self) -> Vec<Arc<[u8]>> {
        self.now.load().sources()
    }
}

/// Whether a library may take its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// A client waits, and everyone with it.
    Short,
    /// It comes from a file.
    Long,
}

/// Loads a library: runs it, so that it registers its functions.
pub fn load(source: Arc<[u8]>, patience: Patience) -> Result<Arc<Library>, String> {
    static LAST_ID: AtomicU64 = AtomicU64::new(0);
    let (name, body_at) = header::of_library(&source)?;
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
    let mut library = Library { id, name, source, body_at, functions: Vec::new() };
    library.functions = machine::load(&mut Loader::new(patience), &library)?;
    if library.functions.is_empty() {
        return Err("No functions registered".to_owned());
    }
    Ok(Arc::new(library))
}

/// Adds the libraries of a file.
pub fn add_sources(
    functions: &Functions,
    sources: Vec<Arc<[u8]>>,
    replaces: bool,
) -> Result<(), String> {
    if sources.is_empty() {
        return Ok(());
    }
    let mut libraries = Libraries::clone(&functions.now());
    for source in sources {
        libraries.add(load(source, Patience::Long)?, replaces)?;
    }
    functions.set(libraries);
    Ok(())
}

/// Watches over a library that registers its functions.
pub(super) struct Loader {
    began: Steady,
    patience: Patience,
}

impl Loader {
    pub(super) fn new(patience: Patience) -> Loader {
        Loader { began: clock::steady(), patience }
    }
}

impl Host for Loader {
    fn call(&mut self, _: &Args<'_>, reply: &mut Reply) {
        let _ =
            reply.error_line("ERR redis.call/pcall can only be called inside a script invocation");
    }

    fn may_call(&mut self, _: &Args<'_>) -> Option<bool> {
        None
    }

    fn set_recorded(&mut self, _: bool) {}

    fn tick(&mut self) -> Tick {
        let is_late = self.began.elapsed().as_millis() > LOAD_MS_MAX;
        match is_late && self.patience == Patience::Short {
            true => Tick::Stop("ERR FUNCTION LOAD timeout"),
            false => Tick::GoOn,
        }
    }
}
