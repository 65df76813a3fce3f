//! Tokens of JSON out of bytes that may end anywhere.

use crate::read::ReadFault;

/// Names, values and messages longer than this are no honest answer.
const STRING_BYTES: usize = 1 << 20;

/// Why a token can't be read.
#[derive(Debug)]
pub(super) enum Stop {
    /// The bytes end before it does.
    More,
    /// It is wrong, at this byte.
    Wrong(usize, String),
    /// It is right, and breaks a rule of another kind.
    Fault(ReadFault),
}

/// A place in the bytes that came so far.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Wrong(self.at, message.into()))
    }

    /// The next byte that is no white space, not taken.
    pub(super) fn peek(&mut self) -> Result<u8, Stop> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Ok(byte);
            }
            self.at += 1;
        }
        Err(Stop::More)
    }

    /// Takes `byte` if it is next.
    pub(super) fn takes(&mut self, byte: u8) -> Result<bool, Stop> {
        let is = self.peek()? == byte;
        self.at += usize::from(is);
        Ok(is)
    }

    /// Takes `byte`, which must be next; `place` says what it is for.
    pub(super) fn expect(&mut self, byte: u8, place: &str) -> Result<(), Stop> {
        let found = self.peek()?;
        if found == byte {
            self.at += 1;
            return Ok(());
        }
        self.wrong(format!("`{}` expected {place}, found `{}`", byte as char, found.escape_ascii()))
    }

    /// Up to the next element of an array: `false` at its end. `first` says that none came before.
    pub(super) fn element(&mut self, first: bool) -> Result<bool, Stop> {
        if self.takes(b']')? {
            return Ok(false);
        }
        if !first {
            self.expect(b',', "between the elements of an array")?;
            if self.peek()? == b']' {
                return self.wrong("a `,` before the end of an array");
            }
        }
        Ok(true)
    }

    /// The next key of an object into `out`, its colon taken: `false` at the object's end.
    pub(super) fn key(&mut self, first: bool, out: &mut String) -> Result<bool, Stop> {
        if self.takes(b'}')? {
            return Ok(false);
        }
        if !first {
            self.expect(b',', "between the members of an object")?;
        }
        self.string(out)?;
        self.expect(b':', "after a key")?;
        Ok(true)
    }

    /// A string, unescaped, into `out`.
    pub(super) fn string(&mut self, out: &mut String) -> Result<(), Stop> {
        self.expect(b'"', "at the start of a string")?;
        out.clear();
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            let run = &rest[..plain.unwrap_or(rest.len())];
            if out.len() + run.len() > STRING_BYTES {
                return self.wrong(format!("a string of more than {STRING_BYTES} bytes"));
            }
            let Some(length) = plain else { return Err(Stop::More) };
            match std::str::from_utf8(run) {
                Ok(text) => out.push_str(text),
                Err(_) => return self.wrong("a string that is not UTF-8"),
            }
            self.at += length;
            match rest[length] {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => out.push(self.escape()?),
                _ => return self.wrong("a control character in a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Stop> {
        let kind = *self.bytes.get(self.at + 1).ok_or(Stop::More)?;
        let plain = match kind {
            b'"' | b'\\' | b'/' => kind as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return self.wrong(format!("the escape `\\{}`, which JSON doesn't have", kind.escape_ascii())),
        };
        self.at += 2;
        Ok(plain)
    }

    /// `\uXXXX`, or two of them that are a surrogate pair.
    fn unicode(&mut self) -> Result<char, Stop> {
        let high = self.hex(self.at)?;
        if !(0xd800..0xe000).contains(&high) {
            self.at += 6;
            return Ok(char::from_u32(high).expect("it is no surrogate"));
        }
        let pair = self.bytes.get(self.at + 6..self.at + 8);
        let low = match pair {
            None => return Err(Stop::More),
            Some(b"\\u") => self.hex(self.at + 6)?,
            Some(_) => 0,
        };
        if high >= 0xdc00 || !(0xdc00..0xe000).contains(&low) {
            return self.wrong("half of a surrogate pair");
        }
        self.at += 12;
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        Ok(char::from_u32(code).expect("a surrogate pair is a character"))
    }

    /// The four hexadecimal digits of the `\uXXXX` at `at`.
    fn hex(&self, at: usize) -> Result<u32, Stop> {
        let digits = self.bytes.get(at + 2..at + 6).ok_or(Stop::More)?;
        digits.iter().try_fold(0, |code, &byte| match (byte as char).to_digit(16) {
            Some(digit) => Ok(code * 16 + digit),
            None => self.wrong("a `\\u` without four hexadecimal digits"),
        })
    }

    /// A number or a word such as `true`: everything up to what can't belong to it.
    pub(super) fn word(&mut self) -> Result<&'a [u8], Stop> {
        self.peek()?;
        let rest = &self.bytes[self.at..];
        let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let Some(length) = rest.iter().position(|byte| !belongs(byte)) else {
            return if rest.len() > STRING_BYTES { self.wrong("a number without an end") } else { Err(Stop::More) };
        };
        if length == 0 {
            return self.wrong(format!("`{}` where a value is expected", rest[0].escape_ascii()));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// A number, a string or a word, of no interest.
    pub(super) fn skip_scalar(&mut self, scratch: &mut String) -> Result<(), Stop> {
        if self.peek()? == b'"' {
            return self.string(scratch);
        }
        let start = self.at;
        let word = self.word()?;
        if matches!(word, b"true" | b"false" | b"null") || word[0] == b'-' || word[0].is_ascii_digit() {
            return Ok(());
        }
        Err(Stop::Wrong(start, format!("`{}` is no JSON value", word.escape_ascii())))
    }
}
