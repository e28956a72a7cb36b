//! Keyspace events: their classes, as `notify-keyspace-events` selects them, and names.

/// A set of classes, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(pub u32);

impl Classes {
    /// `K`: publish on `__keyspace@db__:key`.
    pub const KEYSPACE: Classes = Classes(1);
    /// `E`: publish on `__keyevent@db__:event`.
    pub const KEYEVENT: Classes = Classes(1 << 1);
    /// `g`
    pub const GENERIC: Classes = Classes(1 << 2);
    /// `$`
    pub const STRING: Classes = Classes(1 << 3);
    /// `l`
    pub const LIST: Classes = Classes(1 << 4);
    /// `s`
    pub const SET: Classes = Classes(1 << 5);
    /// `h`
    pub const HASH: Classes = Classes(1 << 6);
    /// `z`
    pub const ZSET: Classes = Classes(1 << 7);
    /// `x`
    pub const EXPIRED: Classes = Classes(1 << 8);
    /// `e`
    pub const EVICTED: Classes = Classes(1 << 9);
    /// `t`
    pub const STREAM: Classes = Classes(1 << 10);
    /// `m`
    pub const KEY_MISS: Classes = Classes(1 << 11);
    /// `d`
    pub const MODULE: Classes = Classes(1 << 13);
    /// `n`
    pub const NEW: Classes = Classes(1 << 14);
    /// `A`: every class but `m` and `n`.
    pub const ALL: Classes = Classes(0b10_0111_1111_1100);

    const LETTERS: [(char, Classes); 14] = [
        ('g', Classes::GENERIC),
        ('$', Classes::STRING),
        ('l', Classes::LIST),
        ('s', Classes::SET),
        ('h', Classes::HASH),
        ('z', Classes::ZSET),
        ('x', Classes::EXPIRED),
        ('e', Classes::EVICTED),
        ('t', Classes::STREAM),
        ('d', Classes::MODULE),
        ('K', Classes::KEYSPACE),
        ('E', Classes::KEYEVENT),
        ('m', Classes::KEY_MISS),
        ('n', Classes::NEW),
    ];

    /// Classes by their letters; `None` for an unknown letter.
    pub fn parse(letters: &str) -> Option<Classes> {
        letters.chars().try_fold(Classes(0), |sum, letter| {
            if letter == 'A' {
                return Some(Classes(sum.0 | Classes::ALL.0));
            }
            let (_, class) = Classes::LETTERS.iter().find(|(known, _)| *known == letter)?;
            Some(Classes(sum.0 | class.0))
        })
    }

    /// Their letters in Redis's order, `A` standing for all it stands for.
    pub fn letters(self) -> String {
        let all = self.has(Classes::ALL);
        let mut letters = String::from(if all { "A" } else { "" });
        for (letter, class) in Classes::LETTERS {
            if self.has(class) && !(all && Classes::ALL.has(class)) {
                letters.push(letter);
            }
        }
        letters
    }

    /// Whether every bit of `class` is there.
    #[inline]
    pub fn has(self, class: Classes) -> bool {
        self.0 & class.0 == class.0
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class.
    pub class: Classes,
    /// Its name, as subscribers see it.
    pub name: &'static str,
}

macro_rules! events_of {
    ($($(#[$doc:meta])* $function:ident $class:ident;)*) => {
        impl Event {
            $($(#[$doc])*
            pub const fn $function(name: &'static str) -> Event {
                Event { class: Classes::$class, name }
            })*
        }
    };
}

events_of! {
    /// An event of class `g`.
    generic GENERIC;
    /// An event of class `$`.
    string STRING;
    /// An event of class `l`.
    list LIST;
    /// An event of class `s`.
    set SET;
    /// An event of class `h`.
    hash HASH;
    /// An event of class `z`.
    zset ZSET;
    /// An event of class `t`.
    stream STREAM;
}

impl Event {
    /// A key was deleted, or its last element was.
    pub const DEL: Event = Event::generic("del");
    /// A key's deadline passed.
    pub const EXPIRED: Event = Event { class: Classes::EXPIRED, name: "expired" };
    /// A key made way for others.
    pub const EVICTED: Event = Event { class: Classes::EVICTED, name: "evicted" };
    /// A key came into being.
    pub const NEW: Event = Event { class: Classes::NEW, name: "new" };
    /// A key was read that is not there.
    pub const KEY_MISS: Event = Event { class: Classes::KEY_MISS, name: "keymiss" };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_parsed_and_printed_as_redis_does() {
        for (given, shown) in [("KEA", "AKE"), ("Kg$", "g$K"), ("", ""), ("AKEmn", "AKEmn")] {
            assert_eq!(Classes::parse(given).map(Classes::letters).as_deref(), Some(shown));
        }
        assert_eq!(Classes::parse("q"), None);
    }
}
