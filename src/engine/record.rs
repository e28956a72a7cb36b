//! What a unit of execution tells the journal: commands, in the order they take effect.

use crate::keyspace::effects::DbKey;
use crate::resp::args::Args;

/// Appends a command in RESP, as the append-only file and replicas read it.
pub fn encode_command<'w>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'w [u8]>) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(words.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for word in words {
        out.push(b'$');
        out.extend_from_slice(digits.format(word.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[derive(Default)]
struct Commands {
    bytes: Vec<u8>,
    /// The database of each command, and where its bytes end.
    ends: Vec<(u32, usize)>,
}

impl Commands {
    fn push<'w>(&mut self, db: u32, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        encode_command(&mut self.bytes, words);
        self.ends.push((db, self.bytes.len()));
    }

    fn push_encoded(&mut self, db: u32, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
        self.ends.push((db, self.bytes.len()));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// The record of a unit of execution: one command, a transaction or a script.
#[derive(Default)]
pub struct Record {
    all: Commands,
    /// What the command that runs now said instead of itself.
    own: Commands,
    replaced: bool,
    db: u32,
    enabled: bool,
    loose: bool,
}

impl Record {
    /// Begins a unit; nothing is kept when nobody reads the journal.
    #[inline]
    pub fn begin(&mut self, enabled: bool) {
        self.all.clear();
        self.enabled = enabled;
        self.loose = false;
    }

    /// The unit's commands may take effect one by one: removals of keys that were met in passing.
    pub fn loosen(&mut self) {
        self.loose = true;
    }

    /// Whether the unit's commands take effect together.
    pub fn is_transaction(&self) -> bool {
        self.len() > 1 && !self.loose
    }

    /// Begins a command on database `db`.
    #[inline]
    pub fn begin_command(&mut self, db: u32) {
        self.own.clear();
        self.replaced = false;
        self.db = db;
    }

    /// Whether somebody reads the journal; handlers may skip expensive preparation otherwise.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The journal gets these words instead of the request. Called again, further commands follow.
    pub fn instead(&mut self, words: &[&[u8]]) {
        self.replaced = true;
        if self.enabled {
            self.own.push(self.db, words.iter().copied());
        }
    }

    /// The same on another database.
    pub fn instead_on(&mut self, db: u32, words: &[&[u8]]) {
        self.replaced = true;
        if self.enabled {
            self.own.push(db, words.iter().copied());
        }
    }

    /// The journal gets nothing for this command.
    pub fn nothing(&mut self) {
        self.replaced = true;
    }

    /// Whether the handler said something else than the request.
    pub fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// Keys were removed before the command had its effect, because their deadline had passed or
    /// memory was short; `with` names the removal.
    pub fn removed(&mut self, keys: &[DbKey], with: &[u8]) {
        if self.enabled {
            for at in keys {
                self.all.push(at.db, [with, &at.key].into_iter());
            }
        }
    }

    /// The same of fields of hashes.
    pub fn expired_fields(&mut self, hashes: &[(DbKey, Vec<Box<[u8]>>)]) {
        if self.enabled {
            for (at, fields) in hashes {
                for field in fields {
                    self.all.push(at.db, [b"HDEL".as_slice(), &at.key, field].into_iter());
                }
            }
        }
    }

    /// Ends the command: `request` goes to the journal if it `changed` something and the handler
    /// said nothing else.
    #[inline]
    pub fn end_command(&mut self, changed: bool, request: &Args<'_>) {
        if !self.enabled {
            return;
        }
        if !self.replaced {
            if changed {
                match request.encoded() {
                    Some(encoded) => self.all.push_encoded(self.db, encoded),
                    None => self.all.push(self.db, request.words()),
                }
            }
            return;
        }
        let offset = self.all.bytes.len();
        self.all.bytes.extend_from_slice(&self.own.bytes);
        let own = self.own.ends.iter().map(|(db, end)| (*db, end + offset));
        self.all.ends.extend(own);
    }

    /// Whether the unit has nothing for the journal.
    pub fn is_empty(&self) -> bool {
        self.all.ends.is_empty()
    }

    /// Commands of the unit.
    pub fn len(&self) -> usize {
        self.all.ends.len()
    }

    /// Takes back the commands behind the first `len`.
    pub fn cut(&mut self, len: usize) {
        self.all.ends.truncate(len);
        self.all.bytes.truncate(self.all.ends.last().map_or(0, |(_, end)| *end));
    }

    /// The commands: database and bytes.
    pub fn commands(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut from = 0;
        self.all.ends.iter().map(move |(db, end)| {
            let bytes = &self.all.bytes[from..*end];
            from = *end;
            (*db, bytes)
        })
    }
}
