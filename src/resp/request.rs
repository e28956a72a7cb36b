//! Bytes of a client into requests: RESP arrays of bulks, and inline commands.
//!
//! The parser keeps its place in an unfinished request, so bytes are looked at once however small
//! the pieces they come in.

use crate::base::num;
use crate::base::words::split_words;
use crate::resp::args::{Args, Span};

/// The longest inline command, and the longest line that states a length.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Arguments a request may have.
const ARGS_MAX: i64 = 1024 * 1024;
/// Arguments a client may send before it has authenticated.
const ARGS_UNAUTHENTICATED_MAX: i64 = 10;
/// Bytes of an argument a client may send before it has authenticated.
const BULK_UNAUTHENTICATED_BYTES_MAX: i64 = 16 * 1024;

/// Words whose places a parser keeps room for; what a larger request took is given back.
const SPANS_KEPT: usize = 4096;

/// What the client may send now.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// `proto-max-bulk-len`.
    pub bulk_bytes_max: u64,
    /// Whether AUTH has succeeded or is not needed.
    pub authenticated: bool,
}

/// A violation of the protocol; the connection answers it and closes. `Display` is the line on
/// the wire without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum ProtocolError {
    #[error("ERR Protocol error: too big inline request")]
    InlineTooBig,
    #[error("ERR Protocol error: unbalanced quotes in request")]
    Quotes,
    #[error("ERR Protocol error: too big mbulk count string")]
    CountTooLong,
    #[error("ERR Protocol error: invalid multibulk length")]
    Count,
    #[error("ERR Protocol error: unauthenticated multibulk length")]
    CountUnauthenticated,
    #[error("ERR Protocol error: too big bulk count string")]
    LengthTooLong,
    #[error("ERR Protocol error: expected '$', got '{0}'")]
    Dollar(char),
    #[error("ERR Protocol error: invalid bulk length")]
    Length,
    #[error("ERR Protocol error: unauthenticated bulk length")]
    LengthUnauthenticated,
}

/// A complete request: a range of the parser's spans, and where its bytes end.
#[derive(Clone, Copy, Debug)]
struct Request {
    first: u32,
    count: u32,
    /// Its bytes in RESP; nothing for inline commands.
    begin: usize,
    until: usize,
    /// Where the next request begins; empty ones between the two are passed over.
    end: usize,
}

/// Cuts a buffer into requests.
#[derive(Default)]
pub struct Parser {
    spans: Vec<Span>,
    requests: Vec<Request>,
    /// First byte that was not looked at.
    at: usize,
    /// Arguments the unfinished request still lacks; `None` between requests.
    missing: Option<u32>,
    /// Length of the bulk whose header was read.
    bulk: Option<usize>,
    /// First span of the unfinished request.
    open: u32,
    /// First byte of its header.
    begin: usize,
    error: Option<ProtocolError>,
}

impl Parser {
    /// Looks at the bytes that came since the last call. `buffer` is the one of the last call with
    /// bytes appended. Inline commands are unquoted in place.
    pub fn parse(&mut self, buffer: &mut [u8], allowed: Allowed) {
        while self.error.is_none() && self.at < buffer.len() {
            let step = if self.missing.is_some() {
                self.bulks(buffer, allowed)
            } else if buffer[self.at] == b'*' {
                self.header(buffer, allowed)
            } else {
                self.inline(buffer)
            };
            match step {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Complete requests.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// The words of complete request `index`, over the buffer of `parse`.
    #[inline]
    pub fn request<'a>(&'a self, index: usize, buffer: &'a [u8]) -> Args<'a> {
        let request = self.requests[index];
        let first = request.first as usize;
        Args::new(buffer, &self.spans[first..first + request.count as usize])
            .with_encoded(buffer.get(request.begin..request.until).unwrap_or(&[]))
    }

    /// Where the bytes of complete request `index` end.
    pub fn end_of(&self, index: usize) -> usize {
        self.requests[index].end
    }

    /// The violation behind the last complete request, if any. Parsing ended there.
    pub fn error(&self) -> Option<&ProtocolError> {
        self.error.as_ref()
    }

    /// Bytes the unfinished bulk still lacks, to reserve them at once.
    pub fn lacking(&self, buffer: &[u8]) -> usize {
        self.bulk.map_or(0, |len| (len + 2).saturating_sub(buffer.len() - self.at))
    }

    /// Bytes of arguments that were read, of a request whose next argument is not all there yet.
    pub fn arguments_read(&self) -> usize {
        self.bulk.map_or(0, |_| self.at)
    }

    /// Forgets the first `executed` requests and removes their bytes from the buffer.
    pub fn consume(&mut self, executed: usize, buffer: &mut Vec<u8>) {
        if executed == 0 {
            return;
        }
        let (cut, first) = if executed == self.requests.len() {
            let end = self.requests[executed - 1].end;
            (end, self.open as usize)
        } else {
            (self.requests[executed - 1].end, self.requests[executed].first as usize)
        };
        if cut == buffer.len() {
            buffer.clear();
        } else {
            buffer.drain(..cut);
        }
        self.requests.drain(..executed);
        self.spans.drain(..first);
        for span in &mut self.spans {
            span.at -= cut as u32;
        }
        for request in &mut self.requests {
            request.first -= first as u32;
            request.begin -= cut;
            request.until -= cut;
            request.end -= cut;
        }
        self.begin = self.begin.saturating_sub(cut);
        self.open -= first as u32;
        self.at -= cut;
        if self.spans.capacity() > SPANS_KEPT && self.spans.len() < SPANS_KEPT {
            self.spans.shrink_to(SPANS_KEPT);
        }
    }

    /// The line at `at` without its CR LF, if all of it is there.
    fn line(&self, buffer: &[u8]) -> Option<(usize, usize)> {
        let rest = &buffer[self.at..];
        let end = memchr::memchr(b'\r', rest)?;
        (end + 1 < rest.len()).then_some((self.at, self.at + end))
    }

    fn header(&mut self, buffer: &[u8], allowed: Allowed) -> Result<bool, ProtocolError> {
        self.begin = self.at;
        // Nearly every request has fewer than ten arguments.
        let count = match &buffer[self.at..] {
            [b'*', ones @ b'0'..=b'9', b'\r', _, ..] => {
                self.at += 4;
                i64::from(ones - b'0')
            }
            rest => {
                let Some((from, to)) = self.line(buffer) else {
                    return match rest.len() > INLINE_BYTES_MAX {
                        true => Err(ProtocolError::CountTooLong),
                        false => Ok(false),
                    };
                };
                self.at = to + 2;
                num::parse_i64(&buffer[from + 1..to])
                    .filter(|count| *count <= ARGS_MAX)
                    .ok_or(ProtocolError::Count)?
            }
        };
        if !allowed.authenticated && count > ARGS_UNAUTHENTICATED_MAX {
            return Err(ProtocolError::CountUnauthenticated);
        }
        self.open = self.spans.len() as u32;
        if count <= 0 {
            self.finish_empty();
            return Ok(true);
        }
        self.missing = Some(count as u32);
        Ok(true)
    }

    /// A request without words is passed over; its bytes go with its neighbours'.
    fn finish_empty(&mut self) {
        if let Some(last) = self.requests.last_mut() {
            last.end = self.at;
        } else {
            let (first, end) = (self.open, self.at);
            self.requests.push(Request { first, count: 0, begin: end, until: end, end });
        }
    }

    fn bulks(&mut self, buffer: &[u8], allowed: Allowed) -> Result<bool, ProtocolError> {
        while let Some(missing) = self.missing {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.bulk_header(buffer, allowed)? {
                    Some(len) => len,
                    None => return Ok(false),
                },
            };
            if buffer.len() - self.at < len + 2 {
                self.bulk = Some(len);
                return Ok(false);
            }
            self.spans.push(Span { at: self.at as u32, len: len as u32 });
            self.at += len + 2;
            self.bulk = None;
            self.missing = (missing > 1).then_some(missing - 1);
        }
        let count = self.spans.len() as u32 - self.open;
        let (first, begin, end) = (self.open, self.begin, self.at);
        self.requests.push(Request { first, count, begin, until: end, end });
        self.open = self.spans.len() as u32;
        Ok(true)
    }

    #[inline]
    fn bulk_header(
        &mut self,
        buffer: &[u8],
        allowed: Allowed,
    ) -> Result<Option<usize>, ProtocolError> {
        // Nearly every argument is shorter than ten or a hundred bytes.
        let len = match &buffer[self.at..] {
            [b'$', ones @ b'0'..=b'9', b'\r', _, ..] => {
                self.at += 4;
                i64::from(ones - b'0')
            }
            [b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _, ..] => {
                self.at += 5;
                i64::from(tens - b'0') * 10 + i64::from(ones - b'0')
            }
            rest => {
                let Some((from, to)) = self.line(buffer) else {
                    return match rest.len() > INLINE_BYTES_MAX {
                        true => Err(ProtocolError::LengthTooLong),
                        false => Ok(None),
                    };
                };
                if buffer[from] != b'$' {
                    return Err(ProtocolError::Dollar(char::from(buffer[from])));
                }
                self.at = to + 2;
                num::parse_i64(&buffer[from + 1..to]).ok_or(ProtocolError::Length)?
            }
        };
        if len < 0 || len as u64 > allowed.bulk_bytes_max {
            return Err(ProtocolError::Length);
        }
        if !allowed.authenticated && len > BULK_UNAUTHENTICATED_BYTES_MAX {
            return Err(ProtocolError::LengthUnauthenticated);
        }
        Ok(Some(len as usize))
    }

    fn inline(&mut self, buffer: &mut [u8]) -> Result<bool, ProtocolError> {
        let rest = &buffer[self.at..];
        let Some(newline) = memchr::memchr(b'\n', rest) else {
            return match rest.len() > INLINE_BYTES_MAX {
                true => Err(ProtocolError::InlineTooBig),
                false => Ok(false),
            };
        };
        let line = rest[..newline].strip_suffix(b"\r").unwrap_or(&rest[..newline]);
        let words = split_words(line).ok_or(ProtocolError::Quotes)?;
        self.open = self.spans.len() as u32;
        // Unquoted words are never longer than what they were written as.
        let mut to = self.at;
        for word in &words {
            buffer[to..to + word.len()].copy_from_slice(word);
            self.spans.push(Span { at: to as u32, len: word.len() as u32 });
            to += word.len();
        }
        self.at += newline + 1;
        if words.is_empty() {
            self.finish_empty();
        } else {
            let (first, count, end) = (self.open, words.len() as u32, self.at);
            self.requests.push(Request { first, count, begin: end, until: end, end });
            self.open = self.spans.len() as u32;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Allowed = Allowed { bulk_bytes_max: 512 << 20, authenticated: true };

    fn parse_in_pieces(
        bytes: &[u8],
        piece: usize,
        allowed: Allowed,
    ) -> (Vec<Vec<Vec<u8>>>, String) {
        let (mut parser, mut buffer, mut requests) = (Parser::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            parser.parse(&mut buffer, allowed);
            for index in 0..parser.count() {
                let words = parser.request(index, &buffer);
                requests.push(words.words().map(<[u8]>::to_vec).collect());
            }
            parser.consume(parser.count(), &mut buffer);
        }
        requests.retain(|words: &Vec<Vec<u8>>| !words.is_empty());
        (requests, parser.error().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn requests_come_out_the_same_however_the_bytes_arrive() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$12\r\nkey\r\nwithCRL\r\nPING \"a\\x41\"\r\n*0\r\n\r\n*1\r\n$4\r\nPING\r\n";
        let whole = parse_in_pieces(bytes, bytes.len(), OPEN);
        assert_eq!(whole.0.len(), 3, "{whole:?}");
        assert_eq!(whole.0[1], [b"PING".to_vec(), b"aA".to_vec()]);
        for piece in 1..bytes.len() {
            assert_eq!(parse_in_pieces(bytes, piece, OPEN), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn requests_in_resp_keep_their_bytes_and_no_others() {
        let set = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let bytes = [&set[..], b"*0\r\n\r\n", set, b"GET k\r\n", set].concat();
        for piece in 1..bytes.len() {
            let (mut parser, mut buffer, mut encoded) = (Parser::default(), Vec::new(), Vec::new());
            for piece in bytes.chunks(piece) {
                buffer.extend_from_slice(piece);
                parser.parse(&mut buffer, OPEN);
                for index in 0..parser.count() {
                    let request = parser.request(index, &buffer);
                    if request.count() > 0 {
                        encoded.push(request.encoded().map(<[u8]>::to_vec));
                    }
                }
                parser.consume(parser.count(), &mut buffer);
            }
            let whole = Some(set.to_vec());
            assert_eq!(encoded, [whole.clone(), whole.clone(), None, whole], "pieces of {piece}");
        }
    }

    #[test]
    fn violations_have_redis_words() {
        for (bytes, words) in [
            (&b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfoo\r\n"[..], "expected '$', got 'f'"),
            (b"*-abc\r\n", "invalid multibulk length"),
            (b"*20000000\r\n", "invalid multibulk length"),
            (b"*1\r\n$-10\r\n", "invalid bulk length"),
            (b"*1\r\n$2000000000\r\n", "invalid bulk length"),
            (b"set x \"a\n", "unbalanced quotes in request"),
        ] {
            let error = parse_in_pieces(bytes, bytes.len(), OPEN).1;
            assert_eq!(error, format!("ERR Protocol error: {words}"));
        }
        let closed = Allowed { authenticated: false, ..OPEN };
        assert!(parse_in_pieces(b"*11\r\n", 9, closed).1.contains("unauthenticated multibulk"));
        assert!(
            parse_in_pieces(b"*1\r\n$16385\r\n", 99, closed).1.contains("unauthenticated bulk")
        );
        assert!(parse_in_pieces(&[b'a'; 70_000], 1000, OPEN).1.contains("too big inline request"));
    }
}
