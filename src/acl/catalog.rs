//! The commands as rules name them: by their original names, whatever they were renamed to.

use std::collections::HashMap;

use crate::spec::{Cat, Cats, Spec};

struct Known {
    name: &'static str,
    categories: Cats,
    subs: Vec<usize>,
}

/// See the module. A command's place is its index in the command table.
#[derive(Default)]
pub struct Catalog {
    commands: Vec<Known>,
    places: HashMap<&'static str, usize>,
}

impl Catalog {
    /// A catalog of the commands with these facts, in the order of the command table.
    pub fn new<'s>(specs: impl Iterator<Item = &'s Spec>) -> Catalog {
        let mut catalog = Catalog::default();
        let mut parents = Vec::new();
        for (place, spec) in specs.enumerate() {
            let (name, categories) = (spec.name, spec.categories());
            catalog.commands.push(Known { name, categories, subs: Vec::new() });
            catalog.places.insert(name, place);
            parents.push(spec.parent());
        }
        for (place, parent) in parents.into_iter().enumerate() {
            if let Some(container) = parent.and_then(|name| catalog.places.get(name)) {
                catalog.commands[*container].subs.push(place);
            }
        }
        catalog
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The place of a command or `container|sub`, in any case of letters.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let name = str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.places.get(name.as_str()).copied()
    }

    /// The name, in lower case.
    pub fn name(&self, place: usize) -> &'static str {
        self.commands[place].name
    }

    /// The places of a container's subcommands.
    pub fn subs(&self, place: usize) -> &[usize] {
        &self.commands[place].subs
    }

    /// The places of all commands of a category, subcommands included.
    pub fn of(&self, category: Cat) -> impl Iterator<Item = usize> + '_ {
        let commands = self.commands.iter().enumerate();
        commands.filter(move |(_, known)| known.categories.has(category)).map(|(place, _)| place)
    }
}
