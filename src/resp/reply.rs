//! Replies: encoded at once into the buffer that goes to the client, in its protocol's shapes.

use crate::base::{num, text};
use crate::resp::error::CmdError;

/// The version of the protocol a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What clients speak before HELLO 3.
    #[default]
    Resp2,
    /// Maps, sets, doubles, booleans, pushes.
    Resp3,
}

/// Proof that a command has answered.
#[must_use]
#[derive(Debug)]
pub struct Replied(());

/// What a handler returns.
pub type CmdResult = Result<Replied, CmdError>;

/// The replies of a connection's batch, as bytes.
#[derive(Default)]
pub struct Reply {
    out: Vec<u8>,
    protocol: Protocol,
}

impl Reply {
    /// An empty buffer for `protocol`.
    pub fn new(protocol: Protocol) -> Reply {
        Reply { out: Vec::new(), protocol }
    }

    /// The protocol replies are encoded in.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the client speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// Encodes in `protocol` from here on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// The buffer itself: for the connection that writes it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes the buffer has room for.
    pub fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// Bytes so far, for [`Reply::cut`].
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was answered.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back everything behind `len`.
    pub fn cut(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Bytes that are replies already.
    pub fn raw(&mut self, bytes: &[u8]) -> Replied {
        self.out.extend_from_slice(bytes);
        Replied(())
    }

    /// The end of an aggregate whose elements were all given.
    pub fn done(&self) -> Replied {
        Replied(())
    }

    #[inline]
    fn line(&mut self, sign: u8, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.out.push(sign);
        self.out.extend_from_slice(digits.format(number).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// `+OK`
    pub fn ok(&mut self) -> Replied {
        self.raw(b"+OK\r\n")
    }

    /// A status line.
    pub fn simple(&mut self, text: &str) -> Replied {
        self.out.push(b'+');
        text::put(text, &mut self.out);
        self.raw(b"\r\n")
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, number: i64) -> Replied {
        self.line(b':', number);
        Replied(())
    }

    /// 1 or 0.
    pub fn flag(&mut self, yes: bool) -> Replied {
        self.int(i64::from(yes))
    }

    /// A length as an integer.
    pub fn count(&mut self, len: usize) -> Replied {
        self.int(i64::try_from(len).unwrap_or(i64::MAX))
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) -> Replied {
        self.line(b'$', bytes.len() as i64);
        // At once: room for the two bytes at the end alone would double a large buffer.
        self.out.reserve(bytes.len() + 2);
        self.out.extend_from_slice(bytes);
        self.raw(b"\r\n")
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, number: i64) -> Replied {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(number).as_bytes())
    }

    /// A bulk string or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) -> Replied {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A null: `_`, or a null bulk in RESP2.
    pub fn null(&mut self) -> Replied {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// A null: `_`, or a null array in RESP2.
    pub fn null_array(&mut self) -> Replied {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// The head of an array; its elements follow, then [`Reply::done`].
    pub fn array(&mut self, len: usize) {
        self.line(b'*', len as i64);
    }

    /// An array without elements.
    pub fn empty_array(&mut self) -> Replied {
        self.raw(b"*0\r\n")
    }

    /// The head of a map of `pairs`; a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.line(b'*', pairs as i64 * 2),
            Protocol::Resp3 => self.line(b'%', pairs as i64),
        }
    }

    /// The head of a set; an array in RESP2.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.line(b'*', len as i64),
            Protocol::Resp3 => self.line(b'~', len as i64),
        }
    }

    /// The head of a push; an array in RESP2.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.line(b'*', len as i64),
            Protocol::Resp3 => self.line(b'>', len as i64),
        }
    }

    /// The head of an attribute (RESP3 only).
    pub fn attribute(&mut self, pairs: usize) {
        self.line(b'|', pairs as i64);
    }

    /// Remembers where an aggregate begins whose length is not known yet.
    pub fn open(&mut self) -> Opened {
        Opened(self.out.len())
    }

    /// Puts an array's head where it was opened.
    pub fn close_array(&mut self, opened: Opened, len: usize) -> Replied {
        self.close(opened, |reply| reply.array(len))
    }

    /// Puts a set's head where it was opened.
    pub fn close_set(&mut self, opened: Opened, len: usize) -> Replied {
        self.close(opened, |reply| reply.set(len))
    }

    /// Puts a map's head where it was opened.
    pub fn close_map(&mut self, opened: Opened, pairs: usize) -> Replied {
        self.close(opened, |reply| reply.map(pairs))
    }

    fn close(&mut self, opened: Opened, head: impl FnOnce(&mut Reply)) -> Replied {
        let end = self.out.len();
        head(self);
        let head_len = self.out.len() - end;
        self.out[opened.0..].rotate_right(head_len);
        Replied(())
    }

    /// A double: `,1.5`, or a bulk string in RESP2.
    pub fn double(&mut self, number: f64) -> Replied {
        let mut text = Vec::with_capacity(24);
        num::format_f64(number, &mut text);
        self.double_digits(&text)
    }

    /// A double whose digits are given: `,1.5`, or a bulk string in RESP2.
    pub fn double_digits(&mut self, digits: &[u8]) -> Replied {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => {
                self.out.push(b',');
                self.out.extend_from_slice(digits);
                self.raw(b"\r\n")
            }
        }
    }

    /// A boolean: `#t`, or 1 and 0 in RESP2.
    pub fn bool(&mut self, yes: bool) -> Replied {
        match (self.protocol, yes) {
            (Protocol::Resp2, yes) => self.flag(yes),
            (Protocol::Resp3, true) => self.raw(b"#t\r\n"),
            (Protocol::Resp3, false) => self.raw(b"#f\r\n"),
        }
    }

    /// A big number in decimal; a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) -> Replied {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits.as_bytes()),
            Protocol::Resp3 => {
                self.out.push(b'(');
                self.out.extend_from_slice(digits.as_bytes());
                self.raw(b"\r\n")
            }
        }
    }

    /// A text with its format (three letters); a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) -> Replied {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => {
                self.line(b'=', text.len() as i64 + 4);
                self.out.extend_from_slice(format.as_bytes());
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.raw(b"\r\n")
            }
        }
    }

    /// An error line; line breaks in it become blanks, those at its end nothing.
    pub fn error(&mut self, error: &CmdError) -> Replied {
        self.error_line(&error.to_string())
    }

    /// The same from its text, code first.
    pub fn error_line(&mut self, line: &str) -> Replied {
        self.out.push(b'-');
        let from = self.out.len();
        text::put(line.trim_end_matches(['\r', '\n']), &mut self.out);
        for byte in &mut self.out[from..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.raw(b"\r\n")
    }
}

/// Where an aggregate of unknown length begins.
#[must_use]
pub struct Opened(usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::{shown, shown_to_zero};

    #[test]
    fn errors_repeat_bytes_as_they_came_in_one_line() {
        let mut reply = Reply::new(Protocol::Resp2);
        for word in [&b"\xff\xfe"[..], b"a\r\nb\r\n", "\u{10ff41}".as_bytes(), b"c\0d"] {
            let _ = reply.error(&CmdError::err(shown_to_zero(word)));
        }
        let _ = reply.simple(&shown(b"caf\xe9"));
        let lines =
            b"-ERR \xff\xfe\r\n-ERR a  b\r\n-ERR \xf4\x8f\xbd\x81\r\n-ERR c\r\n+caf\xe9\r\n";
        assert_eq!(reply.bytes(), lines);
    }
}
