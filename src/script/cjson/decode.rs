//! `cjson.decode`

use std::ffi::c_int;

use super::{Setting, setting};
use crate::script::format::read_number;
use crate::script::raw::{Raise, Stack};

#[derive(Clone, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its bytes are in the parser's buffer.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// No token: why.
    Error(&'static str),
}

impl Token {
    /// What an error calls it.
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(why) => why,
        }
    }
}

struct Parser<'j> {
    stack: Stack,
    json: &'j [u8],
    at: usize,
    /// Where the last token began, or what is wrong with it stands.
    token_at: usize,
    string: Vec<u8>,
    depth: i32,
    depth_max: i32,
    takes_invalid: bool,
}

/// decode(text)
pub(super) fn decode(stack: Stack) -> Result<c_int, Raise> {
    if stack.top() != 1 {
        return Err(Raise::Argument(1, "expected 1 argument".to_owned()));
    }
    let json = stack.want_text(1)?;
    if json.len() >= 2 && json[..2].contains(&0) {
        return Err(Raise::Text("JSON parser does not support UTF-16 or UTF-32".to_owned()));
    }
    let mut parser = Parser {
        stack,
        json,
        at: 0,
        token_at: 0,
        string: Vec::new(),
        depth: 0,
        depth_max: setting(stack, Setting::DecodeDepth),
        takes_invalid: setting(stack, Setting::DecodeInvalid) != 0,
    };
    let first = parser.token();
    parser.value(first)?;
    match parser.token() {
        Token::End => Ok(1),
        other => Err(parser.unexpected("the end", &other)),
    }
}

impl Parser<'_> {
    fn unexpected(&self, wanted: &str, found: &Token) -> Raise {
        let (found, at) = (found.name(), self.token_at + 1);
        Raise::Text(format!("Expected {wanted} but found {found} at character {at}"))
    }

    fn peek(&self) -> u8 {
        self.json.get(self.at).copied().unwrap_or(0)
    }

    fn error(&mut self, why: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(why)
    }

    fn token(&mut self) -> Token {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let single = match self.peek() {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b':' => Token::Colon,
            b',' => Token::Comma,
            0 => return Token::End,
            b'"' => return self.string_token(),
            b'-' | b'0'..=b'9' => {
                return match self.takes_invalid || !self.is_invalid_number() {
                    true => self.number_token(),
                    false => self.error("invalid number"),
                };
            }
            _ => return self.word_token(),
        };
        self.at += 1;
        single
    }

    fn word_token(&mut self) -> Token {
        let rest = &self.json[self.at..];
        let words = [
            ("true", Token::Boolean(true)),
            ("false", Token::Boolean(false)),
            ("null", Token::Null),
        ];
        for (word, token) in words {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return token;
            }
        }
        let may_be_number = matches!(rest[0], b'+' | b'i' | b'I' | b'n' | b'N');
        match self.takes_invalid && may_be_number && self.is_invalid_number() {
            true => self.number_token(),
            false => self.error("invalid token"),
        }
    }

    /// Whether what looks like a number here is none of JSON's.
    fn is_invalid_number(&self) -> bool {
        let rest = &self.json[self.at..];
        if rest.first() == Some(&b'+') {
            return true;
        }
        let body = rest.strip_prefix(b"-").unwrap_or(rest);
        match body {
            [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
            [byte, ..] if *byte <= b'9' => false,
            [a, b, c, ..] => {
                let word = [*a, *b, *c].map(|byte| byte.to_ascii_lowercase());
                word == *b"inf" || word == *b"nan"
            }
            _ => false,
        }
    }

    fn number_token(&mut self) -> Token {
        match read_number(&self.json[self.at..]) {
            Some((number, len)) => {
                self.at += len;
                Token::Number(number)
            }
            None => self.error("invalid number"),
        }
    }

    fn string_token(&mut self) -> Token {
        self.string.clear();
        self.at += 1;
        loop {
            let rest = &self.json[self.at.min(self.json.len())..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0));
            let plain = plain.unwrap_or(rest.len());
            self.string.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Token::String;
                }
                b'\\' => {
                    if let Err(why) = self.escape() {
                        return self.error(why);
                    }
                }
                _ => return self.error("unexpected end of string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        let byte = match self.json.get(self.at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 8,
            Some(b't') => 9,
            Some(b'n') => 10,
            Some(b'f') => 12,
            Some(b'r') => 13,
            Some(b'u') => return self.unicode().ok_or("invalid unicode escape code"),
            _ => return Err("invalid escape code"),
        };
        self.string.push(byte);
        self.at += 2;
        Ok(())
    }

    /// The unit of UTF-16 that `\u` names at `at`.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    }

    fn unicode(&mut self) -> Option<()> {
        let unit = self.unit(self.at)?;
        self.at += 6;
        let code = match unit {
            0xd800..=0xdbff => {
                let low = self.unit(self.at).filter(|low| (0xdc00..=0xdfff).contains(low));
                let Some(low) = low else {
                    self.at -= 6;
                    return None;
                };
                self.at += 6;
                0x1_0000 + ((unit & 0x3ff) << 10) + (low & 0x3ff)
            }
            _ => unit,
        };
        let Some(letter) = char::from_u32(code) else {
            self.at -= 6;
            return None;
        };
        self.string.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }

    /// Pushes the value that begins with `token`.
    fn value(&mut self, token: Token) -> Result<(), Raise> {
        match token {
            Token::String => self.stack.push(&self.string),
            Token::Number(number) => self.stack.push_number(number),
            Token::Boolean(yes) => self.stack.push_bool(yes),
            Token::Null => self.stack.push_null(),
            Token::ObjectBegin => self.nested(Parser::object)?,
            Token::ArrayBegin => self.nested(Parser::array)?,
            other => return Err(self.unexpected("value", &other)),
        }
        Ok(())
    }

    fn nested(&mut self, with: fn(&mut Self) -> Result<(), Raise>) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth > self.depth_max || !self.stack.has_room(4) {
            let text = format!(
                "Found too many nested data structures ({}) at character {}",
                self.depth, self.at
            );
            return Err(Raise::Text(text));
        }
        self.stack.push_table(0, 0);
        with(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn object(&mut self) -> Result<(), Raise> {
        let mut token = self.token();
        if token == Token::ObjectEnd {
            return Ok(());
        }
        loop {
            if token != Token::String {
                return Err(self.unexpected("object key string", &token));
            }
            self.stack.push(&self.string);
            match self.token() {
                Token::Colon => {}
                other => return Err(self.unexpected("colon", &other)),
            }
            let first = self.token();
            self.value(first)?;
            self.stack.set_pair(-3);
            match self.token() {
                Token::ObjectEnd => return Ok(()),
                Token::Comma => {}
                other => return Err(self.unexpected("comma or object end", &other)),
            }
            token = self.token();
        }
    }

    fn array(&mut self) -> Result<(), Raise> {
        let mut token = self.token();
        if token == Token::ArrayEnd {
            return Ok(());
        }
        for index in 1.. {
            self.value(token)?;
            self.stack.set_index(-2, index);
            match self.token() {
                Token::ArrayEnd => return Ok(()),
                Token::Comma => {}
                other => return Err(self.unexpected("comma or array end", &other)),
            }
            token = self.token();
        }
        Ok(())
    }
}
