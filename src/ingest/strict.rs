//! What JSON permits and a document may not have, at any depth: nesting without end, a key twice, NUL, half a surrogate
//! pair, and numbers that a double does not hold. RFC 7493 (I-JSON) asks for the same.
//!
//! One pass without recursion over text that is known to be JSON: it takes time in proportion to the text's length,
//! whatever the text is.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use super::{
    json::Source,
    number::is_exact,
    refusal::{Refusal, shown, token},
};

/// Objects and lists within one another, the document itself counted.
const DEPTH: usize = 64;

/// An object or a list that is being read.
enum Open<'a> {
    Object {
        /// The keys so far, as they read once decoded.
        keys: HashSet<Cow<'a, str>>,
        /// The last of them; `None` before its colon.
        key: Option<Cow<'a, str>>,
    },
    List {
        index: usize,
    },
}

struct Walk<'a> {
    source: Source<'a>,
    text: &'a str,
    at: usize,
    open: Vec<Open<'a>>,
}

/// Checks a text that is known to be JSON.
///
/// # Errors
/// The first thing that is wrong, with where it is and never what.
pub(super) fn check<'a>(source: Source<'a>, text: &'a str) -> Result<(), Refusal> {
    Walk { source, text, at: 0, open: Vec::new() }.run()
}

impl<'a> Walk<'a> {
    fn run(&mut self) -> Result<(), Refusal> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'{' | b'[' => self.enter(*byte)?,
                b'}' | b']' => {
                    self.open.pop();
                    self.at += 1;
                }
                b',' => self.next(),
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                // Space, a colon, or a piece of `true`, `false` or `null`.
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    fn enter(&mut self, bracket: u8) -> Result<(), Refusal> {
        if self.open.len() == DEPTH {
            let refusal = self.refusal(self.at, &self.pointer(), format!("is nested deeper than {DEPTH} levels"));
            return Err(refusal.hint("a service's credentials are flat: give deeper structures as text"));
        }
        self.open.push(match bracket {
            b'{' => Open::Object { keys: HashSet::new(), key: None },
            _ => Open::List { index: 0 },
        });
        self.at += 1;
        Ok(())
    }

    fn next(&mut self) {
        match self.open.last_mut() {
            Some(Open::Object { key, .. }) => *key = None,
            Some(Open::List { index }) => *index += 1,
            None => {}
        }
        self.at += 1;
    }

    fn string(&mut self) -> Result<(), Refusal> {
        let begin = self.at;
        let bytes = self.text.as_bytes();
        let mut end = begin + 1;
        while !matches!(bytes.get(end), Some(b'"') | None) {
            end += if bytes.get(end) == Some(&b'\\') { 2 } else { 1 };
        }
        self.at = end + 1;
        let decoded = decode(self.text.get(begin + 1..end).unwrap_or_default());
        let is_key = matches!(self.open.last(), Some(Open::Object { key: None, .. }));
        match (decoded, is_key) {
            (Some(text), true) => self.key(begin, text),
            (Some(text), false) if text.contains('\0') => {
                Err(self.refusal(begin, &self.pointer(), "has a NUL character"))
            }
            (Some(_), false) => Ok(()),
            // What can't be decoded can't be pointed at either: the object that has it is.
            (None, true) => Err(self.refusal(begin, &self.pointer(), "has a key with half of a surrogate pair")),
            (None, false) => Err(self.refusal(begin, &self.pointer(), "has half of a surrogate pair")),
        }
    }

    fn key(&mut self, at: usize, text: Cow<'a, str>) -> Result<(), Refusal> {
        let pointer = |walk: &Self| format!("{}{}", walk.pointer(), token(&text));
        if text.contains('\0') {
            return Err(self.refusal(at, &pointer(self), "is a key with a NUL character"));
        }
        let is_again = match self.open.last() {
            Some(Open::Object { keys, .. }) => keys.contains(&text),
            _ => false,
        };
        if is_again {
            let reason = format!("the key \"{}\" comes twice", shown(&text));
            return Err(self.source.refusal(self.rest(at), &pointer(self), reason));
        }
        if let Some(Open::Object { keys, key }) = self.open.last_mut() {
            keys.insert(text.clone());
            *key = Some(text);
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Refusal> {
        let Range { start, end } = self.digits();
        self.at = end;
        if is_exact(self.text.get(start..end).unwrap_or_default()) {
            return Ok(());
        }
        let refusal = self.refusal(start, &self.pointer(), "is a number that would lose digits on its way");
        Err(refusal.hint("write it as text, in quotation marks"))
    }

    fn digits(&self) -> Range<usize> {
        let of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest(self.at).bytes().take_while(of_number).count();
        self.at..self.at + length
    }

    fn rest(&self, at: usize) -> &'a str {
        self.text.get(at..).unwrap_or_default()
    }

    fn refusal(&self, at: usize, pointer: &str, what: impl AsRef<str>) -> Refusal {
        let subject = if pointer.is_empty() { "the document" } else { pointer };
        self.source.refusal(self.rest(at), pointer, format!("{subject} {}", what.as_ref()))
    }

    /// Where the walk is.
    fn pointer(&self) -> String {
        let steps = self.open.iter().map(|open| match open {
            Open::Object { key, .. } => key.as_deref().map(token).unwrap_or_default(),
            Open::List { index } => format!("/{index}"),
        });
        steps.collect()
    }
}

/// What is between the quotation marks of a string, decoded; `None` where half of a surrogate pair stands alone.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    let Some(first) = text.find('\\') else { return Some(Cow::Borrowed(text)) };
    let (plain, mut rest) = text.split_at(first);
    let mut decoded = plain.to_owned();
    while let Some(escape) = rest.strip_prefix('\\') {
        let mut characters = escape.chars();
        match characters.next()? {
            'u' => {
                let (character, length) = unicode(escape.get(1..)?)?;
                decoded.push(character);
                characters = escape.get(1 + length..)?.chars();
            }
            'b' => decoded.push('\u{8}'),
            'f' => decoded.push('\u{c}'),
            'n' => decoded.push('\n'),
            'r' => decoded.push('\r'),
            't' => decoded.push('\t'),
            other => decoded.push(other),
        }
        rest = characters.as_str();
        let next = rest.find('\\').unwrap_or(rest.len());
        decoded.push_str(&rest[..next]);
        rest = &rest[next..];
    }
    Some(Cow::Owned(decoded))
}

/// The character of the hexadecimal digits after a `\u`, those of a second one too where it takes a pair, and their
/// length.
fn unicode(digits: &str) -> Option<(char, usize)> {
    let unit = |at: usize| u16::from_str_radix(digits.get(at..at + 4)?, 16).ok();
    let first = unit(0)?;
    if let Some(character) = char::from_u32(first.into()) {
        return Some((character, 4));
    }
    let second = digits.get(4..6).filter(|escape| *escape == "\\u").and_then(|_| unit(6))?;
    let pair = char::decode_utf16([first, second]).next()?.ok()?;
    Some((pair, 10))
}

#[cfg(test)]
mod tests;
