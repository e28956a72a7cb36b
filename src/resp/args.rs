//! The arguments of one request: spans of the bytes they were read into, and a typed cursor.

use std::ops::RangeInclusive;

use crate::base::num;
use crate::resp::error::CmdError;

/// Where an argument lies in its buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub at: u32,
    /// Bytes.
    pub len: u32,
}

/// The words of one request, the command's name first, with a cursor that begins behind the name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
    at: usize,
    /// The whole request as RESP, if that is how it came.
    encoded: &'a [u8],
}

impl<'a> Args<'a> {
    /// Words over `bytes`; every span must lie inside.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { bytes, spans, at: 1, encoded: &[] }
    }

    /// The same words, which `encoded` says in RESP.
    pub fn with_encoded(self, encoded: &'a [u8]) -> Args<'a> {
        Args { encoded, ..self }
    }

    /// The bytes that the words lie in, and where each lies.
    pub fn parts(&self) -> (&'a [u8], &'a [Span]) {
        (self.bytes, self.spans)
    }

    /// The request in RESP as the client sent it; `None` when it came in another form.
    #[inline]
    pub fn encoded(&self) -> Option<&'a [u8]> {
        (!self.encoded.is_empty()).then_some(self.encoded)
    }

    /// The same words with the cursor behind the name again.
    pub fn rewound(&self) -> Args<'a> {
        Args { at: 1, ..*self }
    }

    /// The same words with the cursor at word `at`.
    pub fn from_word(&self, at: usize) -> Args<'a> {
        Args { at, ..*self }
    }

    /// Words, the name included.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// Word `index`, 0 being the command's name; empty when there is none.
    #[inline]
    pub fn word(&self, index: usize) -> &'a [u8] {
        self.spans.get(index).map_or(&[], |span| {
            self.bytes.get(span.at as usize..(span.at + span.len) as usize).unwrap_or(&[])
        })
    }

    /// All words, the name first.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone {
        let this = *self;
        (0..self.spans.len()).map(move |index| this.word(index))
    }

    /// Index of the word the cursor is at.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Words left.
    #[inline]
    pub fn left(&self) -> usize {
        self.spans.len() - self.at.min(self.spans.len())
    }

    /// Whether no word is left.
    pub fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// The next word without taking it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        (self.left() > 0).then(|| self.word(self.at))
    }

    /// Takes the next word; a syntax error when there is none.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], CmdError> {
        if self.left() == 0 {
            return Err(CmdError::Syntax);
        }
        self.at += 1;
        Ok(self.word(self.at - 1))
    }

    /// Takes the next word as an integer.
    pub fn i64(&mut self) -> Result<i64, CmdError> {
        num::parse_i64(self.bytes()?).ok_or(CmdError::NotInteger)
    }

    /// Takes the next word as an integer of a range; `error` is told of every other word.
    pub fn i64_in(
        &mut self,
        range: RangeInclusive<i64>,
        error: &'static str,
    ) -> Result<i64, CmdError> {
        let number = num::parse_i64(self.bytes()?).filter(|number| range.contains(number));
        number.ok_or(CmdError::Const(error))
    }

    /// Takes the next word as an integer that has a negative counterpart, as counts and ranks must
    /// whose sign means something.
    pub fn signed_count(&mut self) -> Result<i64, CmdError> {
        match self.i64()? {
            i64::MIN => Err(CmdError::Const(
                "ERR value is out of range, \
                 value must between -9223372036854775807 and 9223372036854775807",
            )),
            count => Ok(count),
        }
    }

    /// Takes the next word as a float.
    pub fn f64(&mut self) -> Result<f64, CmdError> {
        num::parse_f64(self.bytes()?).ok_or(CmdError::NotFloat)
    }

    /// Takes the next word if it is `keyword` in any case (`keyword` in lower case).
    pub fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|word| is_word(word, keyword));
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes the next word, lower-cased, as the name of an option.
    pub fn option(&mut self) -> Result<String, CmdError> {
        let word = self.bytes()?;
        Ok(String::from_utf8_lossy(word).to_ascii_lowercase())
    }

    /// The words left, without taking them.
    pub fn remaining(
        &self,
    ) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone {
        let this = *self;
        (self.at.min(self.spans.len())..self.spans.len()).map(move |index| this.word(index))
    }

    /// Takes the next `count` words; a syntax error when there are fewer.
    pub fn take(
        &mut self,
        count: usize,
    ) -> Result<impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a>, CmdError> {
        if count > self.left() {
            return Err(CmdError::Syntax);
        }
        let (this, from) = (*self, self.at);
        self.at += count;
        Ok((from..from + count).map(move |index| this.word(index)))
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> OwnedArgs {
        OwnedArgs::new(self.words())
    }
}

/// Whether `word` is `lower` in any case.
pub fn is_word(word: &[u8], lower: &str) -> bool {
    word.eq_ignore_ascii_case(lower.as_bytes())
}

/// A request that outlives the buffer it was read into.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedArgs {
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl OwnedArgs {
    /// Copies the words.
    pub fn new<'w>(words: impl Iterator<Item = &'w [u8]>) -> OwnedArgs {
        let mut bytes = Vec::new();
        let mut spans = Vec::new();
        for word in words {
            spans.push(Span { at: bytes.len() as u32, len: word.len() as u32 });
            bytes.extend_from_slice(word);
        }
        OwnedArgs { bytes: bytes.into(), spans: spans.into() }
    }

    /// A cursor over them.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// Bytes it holds on the heap.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<Span>()
    }
}
