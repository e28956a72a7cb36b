//! How units of execution follow each other in a stream of commands: SELECT where the database
//! changes, MULTI and EXEC around a unit of several commands.

/// What a reader of the stream knows by now.
#[derive(Debug, Default)]
pub struct Framing {
    db: Option<u32>,
}

impl Framing {
    /// The next reader begins here and knows no database yet.
    pub fn restart(&mut self) {
        self.db = None;
    }

    /// The database that is selected, as far as readers know.
    pub fn selected(&self) -> u32 {
        self.db.unwrap_or(0)
    }

    /// Appends a unit, its commands each with its database.
    pub fn unit<'c>(
        &mut self,
        out: &mut Vec<u8>,
        transaction: bool,
        commands: impl Iterator<Item = (u32, &'c [u8])>,
    ) {
        if transaction {
            out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        for (db, bytes) in commands {
            if self.db != Some(db) {
                self.db = Some(db);
                let mut digits = itoa::Buffer::new();
                let db = digits.format(db);
                let select = format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{db}\r\n", db.len());
                out.extend_from_slice(select.as_bytes());
            }
            out.extend_from_slice(bytes);
        }
        if transaction {
            out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
    }
}
