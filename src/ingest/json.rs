//! Reads a document's JSON member by member, so that an error can say where it is and never what is there: the
//! messages of a general parser quote values.

use std::collections::HashSet;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

use super::{
    refusal::{Kind, Refusal, shown, token},
    strict,
};

/// A whole text, to tell positions in it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a>(&'a str);

/// An object whose members are taken one by one.
pub(super) struct Object<'a> {
    source: Source<'a>,
    pointer: String,
    text: &'a str,
    members: Vec<(String, &'a RawValue)>,
}

/// A member of an object, with where it is.
pub(super) struct Member<'a> {
    source: Source<'a>,
    pointer: String,
    raw: &'a RawValue,
}

impl<'a> Source<'a> {
    /// The object that the text is.
    pub(super) fn object(text: &'a [u8]) -> Result<Object<'a>, Refusal> {
        let text = std::str::from_utf8(text).map_err(|error| {
            let whole = text.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok());
            let (line, column) = position(whole.unwrap_or_default());
            Refusal::new(Kind::Document, "the document is not UTF-8 text").position(line, column)
        })?;
        if text.starts_with('\u{feff}') {
            let refusal = Refusal::new(Kind::Document, "the document begins with a byte order mark").position(1, 1);
            return Err(refusal.hint("save it as UTF-8 without one"));
        }
        // A raw value is read without recursion, however deep it is.
        let mut reader = serde_json::Deserializer::from_str(text);
        let raw = <&RawValue>::deserialize(&mut reader).map_err(|error| {
            let reason = match error.classify() {
                Category::Eof => "the document ends early",
                _ => "the document is not JSON",
            };
            // The parser counts columns by what it has read, so it may say 0.
            Refusal::new(Kind::Document, reason).position(error.line().max(1), error.column().max(1))
        })?;
        let source = Self(text);
        if reader.end().is_err() {
            let after = raw.get().as_ptr() as usize - text.as_ptr() as usize + raw.get().len();
            let rest = text.get(after..).unwrap_or_default().trim_start();
            let refusal = source.refusal(rest, "", "something follows the document");
            return Err(refusal.hint("many documents go one a line into a file named *.ndjson"));
        }
        strict::check(source, text)?;
        Member { source, pointer: String::new(), raw }.object()
    }

    /// A refusal at a piece of the text.
    pub(super) fn refusal(self, piece: &str, pointer: &str, reason: impl Into<String>) -> Refusal {
        // `piece` was borrowed from the text, so its address is in it.
        let offset = (piece.as_ptr() as usize).saturating_sub(self.0.as_ptr() as usize);
        let (line, column) = position(self.0.get(..offset).unwrap_or_default());
        let refusal = Refusal::new(Kind::Document, reason).position(line, column);
        if pointer.is_empty() { refusal } else { refusal.at(pointer) }
    }
}

/// The line and column of what follows `before`, from 1.
fn position(before: &str) -> (usize, usize) {
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
    (line, column)
}

impl<'a> Object<'a> {
    /// Takes a member out.
    pub(super) fn take(&mut self, key: &str) -> Option<Member<'a>> {
        let index = self.members.iter().position(|(name, _)| name == key)?;
        let (_, raw) = self.members.remove(index);
        Some(Member { source: self.source, pointer: format!("{}{}", self.pointer, token(key)), raw })
    }

    /// Takes a member out that must be there.
    pub(super) fn require(&mut self, key: &'static str) -> Result<Member<'a>, Refusal> {
        self.take(key).ok_or_else(|| self.missing(key))
    }

    /// The refusal of an object that lacks a member.
    pub(super) fn missing(&self, key: &str) -> Refusal {
        let reason = format!("{key:?} is missing");
        self.source.refusal(self.text, &format!("{}{}", self.pointer, token(key)), reason)
    }

    /// Every member must have been taken.
    pub(super) fn finish(self, known_for: &str) -> Result<(), Refusal> {
        self.members.first().map_or(Ok(()), |(name, raw)| {
            let pointer = format!("{}{}", self.pointer, token(name));
            let reason = format!("the key \"{}\" is not one that {known_for} has", shown(name));
            Err(self.source.refusal(raw.get(), &pointer, reason))
        })
    }
}

impl<'a> Member<'a> {
    /// The member as an object.
    pub(super) fn object(self) -> Result<Object<'a>, Refusal> {
        let text = self.raw.get();
        if !text.starts_with('{') {
            return Err(self.refusal("must be an object"));
        }
        let Members(members) = serde_json::from_str(text).map_err(|_| self.refusal("must be an object"))?;
        Ok(Object { source: self.source, pointer: self.pointer, text, members })
    }

    /// The member as it is written, which must be an object.
    pub(super) fn raw_object(self) -> Result<&'a RawValue, Refusal> {
        let raw = self.raw;
        self.object().map(|_| raw)
    }

    /// The member as text that is not empty.
    pub(super) fn text(self) -> Result<String, Refusal> {
        let text: String = self.read("must be text")?;
        if text.trim().is_empty() { Err(self.refusal("must not be empty")) } else { Ok(text) }
    }

    /// The member as what `read` makes of text.
    pub(super) fn parsed<T: std::str::FromStr>(self, must: &'static str) -> Result<T, Refusal> {
        let text: String = self.read(must)?;
        text.parse().map_err(|_| self.refusal(must))
    }

    /// The member as yes or no.
    pub(super) fn flag(self) -> Result<bool, Refusal> {
        self.read("must be true or false")
    }

    /// The member as a whole number.
    pub(super) fn number(self) -> Result<u32, Refusal> {
        self.read("must be a whole number")
    }

    /// The member as a list of texts without repeats.
    pub(super) fn texts(self) -> Result<Vec<String>, Refusal> {
        let texts: Vec<String> = self.read("must be a list of texts")?;
        let mut seen = HashSet::new();
        let is_set = texts.iter().all(|text| seen.insert(text));
        if is_set { Ok(texts) } else { Err(self.refusal("must not name anything twice")) }
    }

    /// The member as the one of several words that it is.
    pub(super) fn word<T: Copy>(self, words: &[(&str, T)], must: &'static str) -> Result<T, Refusal> {
        let word: String = self.read(must)?;
        words.iter().find(|(known, _)| *known == word).map(|(_, one)| *one).ok_or_else(|| self.refusal(must))
    }

    /// The refusal of this member.
    pub(super) fn refusal(&self, reason: &str) -> Refusal {
        let reason = match self.pointer.as_str() {
            "" => format!("the document {reason}"),
            pointer => format!("{pointer} {reason}"),
        };
        self.source.refusal(self.raw.get(), &self.pointer, reason)
    }

    fn read<T: DeserializeOwned>(&self, must: &'static str) -> Result<T, Refusal> {
        serde_json::from_str(self.raw.get()).map_err(|_| self.refusal(must))
    }
}

/// The members of an object in their order, repeats too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// An object's text with the top-level members of another put over its own: members given replace, others stay.
pub(super) fn merged(held: &RawValue, given: &RawValue) -> Option<Box<RawValue>> {
    let Members(held) = serde_json::from_str(held.get()).ok()?;
    let Members(given) = serde_json::from_str(given.get()).ok()?;
    let replaced: HashSet<_> = given.iter().map(|(name, _)| name).collect();
    let kept = held.into_iter().filter(|(name, _)| !replaced.contains(name));
    let mut text = String::from("{");
    for (name, raw) in kept.chain(given.iter().map(|(name, raw)| (name.clone(), *raw))) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(&name).ok()?);
        text.push(':');
        text.push_str(raw.get());
    }
    text.push('}');
    RawValue::from_string(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    #[test]
    fn members_given_replace_and_others_stay_as_they_were_written() {
        let both = merged(&raw(r#"{"a": 1.50, "b":{"x":1}}"#), &raw(r#"{"b":2,"\"c":"\u00e9"}"#)).expect("objects");
        assert_eq!(both.get(), r#"{"a":1.50,"b":2,"\"c":"\u00e9"}"#);
        assert!(merged(&raw("[]"), &raw("{}")).is_none());
        assert_eq!(merged(&raw("{}"), &raw("{}")).expect("objects").get(), "{}");
    }

    #[test]
    fn positions_count_lines_and_bytes_from_one() {
        assert_eq!(position(""), (1, 1));
        assert_eq!(position("{\n  "), (2, 3));
    }
}
