//! Where the channels of a command are, as far as a permission is needed for them.

use crate::spec::Spec;

/// The words of a call that are channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Whether all words are, or the first only.
    pub all: bool,
    /// Whether they are patterns.
    pub patterns: bool,
}

impl Spec {
    /// The channels a call publishes or listens to. To cease listening needs no permission.
    pub fn channels(&self) -> Option<Channels> {
        match self.name {
            "publish" | "spublish" => Some(Channels { all: false, patterns: false }),
            "subscribe" | "ssubscribe" => Some(Channels { all: true, patterns: false }),
            "psubscribe" => Some(Channels { all: true, patterns: true }),
            _ => None,
        }
    }
}
