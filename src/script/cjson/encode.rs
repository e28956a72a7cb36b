//! `cjson.encode`

use std::ffi::c_int;

use super::{Setting, setting};
use crate::script::format::format_g;
use crate::script::raw::{Kind, Raise, Stack};

struct Encoder {
    stack: Stack,
    out: Vec<u8>,
    depth_max: i32,
    invalid: i32,
    precision: usize,
}

/// encode(value)
pub(super) fn encode(stack: Stack) -> Result<c_int, Raise> {
    if stack.top() != 1 {
        return Err(Raise::Argument(1, "expected 1 argument".to_owned()));
    }
    let mut encoder = Encoder {
        stack,
        out: Vec::new(),
        depth_max: setting(stack, Setting::EncodeDepth),
        invalid: setting(stack, Setting::EncodeInvalid),
        precision: setting(stack, Setting::Precision) as usize,
    };
    encoder.value(0)?;
    stack.push(&encoder.out);
    Ok(1)
}

impl Encoder {
    fn refuse(&self, at: c_int, reason: &str) -> Raise {
        Raise::Text(format!("Cannot serialise {}: {reason}", self.stack.type_name(at)))
    }

    /// The value on top, which stays.
    fn value(&mut self, depth: i32) -> Result<(), Raise> {
        match self.stack.kind(-1) {
            Kind::String => self.string(-1),
            Kind::Number => self.number(-1)?,
            Kind::Boolean => {
                let word: &[u8] = if self.stack.truth(-1) { b"true" } else { b"false" };
                self.out.extend_from_slice(word);
            }
            Kind::Table => self.table(depth + 1)?,
            Kind::Nil => self.out.extend_from_slice(b"null"),
            Kind::Light if self.stack.is_null(-1) => self.out.extend_from_slice(b"null"),
            _ => return Err(self.refuse(-1, "type not supported")),
        }
        Ok(())
    }

    fn string(&mut self, at: c_int) {
        let bytes = self.stack.text(at).unwrap_or_default();
        self.out.push(b'"');
        for byte in bytes {
            let short = match *byte {
                b'"' | b'\\' | b'/' => *byte,
                8 => b'b',
                9 => b't',
                10 => b'n',
                12 => b'f',
                13 => b'r',
                0..=31 | 127 => {
                    self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                    continue;
                }
                _ => {
                    self.out.push(*byte);
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', short]);
        }
        self.out.push(b'"');
    }

    fn number(&mut self, at: c_int) -> Result<(), Raise> {
        let number = self.stack.number(at).unwrap_or_default();
        match self.invalid {
            0 if !number.is_finite() => Err(self.refuse(at, "must not be NaN or Inf")),
            1 if number.is_nan() => {
                self.out.extend_from_slice(b"nan");
                Ok(())
            }
            2 if !number.is_finite() => {
                self.out.extend_from_slice(b"null");
                Ok(())
            }
            _ => {
                format_g(number, self.precision, &mut self.out);
                Ok(())
            }
        }
    }

    fn table(&mut self, depth: i32) -> Result<(), Raise> {
        if depth > self.depth_max || !self.stack.has_room(4) {
            return Err(Raise::Text(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len()? {
            Some(len) if len > 0 => self.array(len, depth),
            _ => self.object(depth),
        }
    }

    /// The highest index, if all keys of the table on top are indices and there are enough.
    fn array_len(&self) -> Result<Option<c_int>, Raise> {
        let stack = self.stack;
        let (mut last, mut count) = (0.0f64, 0.0f64);
        stack.push_nil();
        while stack.next(-2) {
            let key = if stack.kind(-2) == Kind::Number { stack.number(-2) } else { None };
            let Some(index) = key.filter(|key| *key >= 1.0 && key.fract() == 0.0) else {
                stack.pop(2);
                return Ok(None);
            };
            last = last.max(index);
            count += 1.0;
            stack.pop(1);
        }
        let ratio = f64::from(setting(stack, Setting::SparseRatio));
        let safe = f64::from(setting(stack, Setting::SparseSafe));
        if ratio > 0.0 && last > count * ratio && last > safe {
            return match setting(stack, Setting::SparseConvert) {
                0 => Err(self.refuse(-1, "excessively sparse array")),
                _ => Ok(None),
            };
        }
        Ok((last <= f64::from(c_int::MAX)).then_some(last as c_int))
    }

    fn array(&mut self, len: c_int, depth: i32) -> Result<(), Raise> {
        self.out.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.out.push(b',');
            }
            self.stack.get_index(-1, index);
            self.value(depth)?;
            self.stack.pop(1);
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: i32) -> Result<(), Raise> {
        self.out.push(b'{');
        let mut is_first = true;
        self.stack.push_nil();
        while self.stack.next(-2) {
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            match self.stack.kind(-2) {
                Kind::Number => {
                    self.out.push(b'"');
                    self.number(-2)?;
                    self.out.push(b'"');
                }
                Kind::String => self.string(-2),
                _ => return Err(self.refuse(-2, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(depth)?;
            self.stack.pop(1);
        }
        self.out.push(b'}');
        Ok(())
    }
}
