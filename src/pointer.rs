//! JSON pointers (RFC 6901) into JSON text. What is found is a part of the text itself: nothing is copied.

use std::{borrow::Cow, collections::HashMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

/// A JSON pointer. The empty one names the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a text is no pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON pointer: it begins with a slash, and ~ stands only in ~0 and ~1")]
pub struct Malformed;

impl FromStr for Pointer {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let tokens = text.strip_prefix('/').ok_or(Malformed)?;
        tokens.split('/').map(unescape).collect::<Result<_, _>>().map(Self)
    }
}

fn unescape(token: &str) -> Result<String, Malformed> {
    let mut parts = token.split('~');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.try_fold(first, |text, part| {
        let (escaped, rest) = match part.as_bytes().first() {
            Some(b'0') => ("~", &part[1..]),
            Some(b'1') => ("/", &part[1..]),
            _ => return Err(Malformed),
        };
        Ok(text + escaped + rest)
    })
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Pointer {
    /// Whether it names the whole.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what it names is what another names, or a part of that.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The value that it names in a text, which is a part of that text; `None` if nothing is there.
    pub fn find<'a>(&self, text: &'a RawValue) -> Option<&'a RawValue> {
        self.0.iter().try_fold(text, |value, token| member(value, token).or_else(|| element(value, token)))
    }
}

fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object.get()).ok()?;
    members.remove(name)
}

fn element<'a>(array: &'a RawValue, index: &str) -> Option<&'a RawValue> {
    let canonical = index == "0" || (!index.starts_with('0') && index.bytes().all(|byte| byte.is_ascii_digit()));
    let elements: Vec<&RawValue> = serde_json::from_str(array.get()).ok()?;
    if canonical { elements.get(index.parse::<usize>().ok()?).copied() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6901, section 5.
    const EXAMPLE: &str =
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;

    fn at(pointer: &str) -> Option<&'static str> {
        let text: &'static RawValue = serde_json::from_str(EXAMPLE).expect("JSON");
        pointer.parse::<Pointer>().expect("a pointer").find(text).map(RawValue::get)
    }

    #[test]
    fn the_examples_of_the_standard_are_found() {
        for (pointer, value) in [
            ("", EXAMPLE),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", "\"bar\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(at(pointer), Some(value), "{pointer}");
            assert_eq!(pointer.parse::<Pointer>().expect("a pointer").to_string(), pointer);
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_no_pointer_are_told_apart() {
        for pointer in ["/foo/2", "/foo/00", "/foo/-", "/nothing", "/foo/0/deeper"] {
            assert_eq!(at(pointer), None, "{pointer}");
        }
        for pointer in ["foo", "/m~n", "/m~2n", "/~", "/~~01", "/~0~~10"] {
            assert_eq!(pointer.parse::<Pointer>(), Err(Malformed), "{pointer}");
        }
    }

    #[test]
    fn a_part_is_within_the_whole_and_a_longer_name_is_not() {
        let within = |inner: &str, outer: &str| {
            inner.parse::<Pointer>().expect("a pointer").is_within(&outer.parse().expect("a pointer"))
        };
        assert!(within("/a/b", "/a") && within("/a", "/a") && within("/a", ""));
        assert!(!within("/a", "/a/b") && !within("/ab", "/a") && !within("", "/a"));
    }
}
