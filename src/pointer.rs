//! JSON pointers (RFC 6901) into JSON text. What is found is a part of the text itself: nothing is copied.

use std::{borrow::Cow, collections::HashMap};

use serde_json::value::RawValue;

/// Why a pointer found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// It is not a pointer.
    #[error("not a JSON pointer: it begins with a slash, and ~ stands only in ~0 and ~1")]
    Malformed,
    /// The text has nothing there.
    #[error("nothing is there")]
    NoSuchValue,
}

/// The value that a pointer names.
pub(crate) fn find<'a>(text: &'a RawValue, pointer: &str) -> Result<&'a RawValue, Error> {
    if pointer.is_empty() {
        return Ok(text);
    }
    let path = pointer.strip_prefix('/').ok_or(Error::Malformed)?;
    path.split('/').try_fold(text, |value, token| {
        let token = unescape(token)?;
        member(value, &token).or_else(|| element(value, &token)).ok_or(Error::NoSuchValue)
    })
}

fn unescape(token: &str) -> Result<Cow<'_, str>, Error> {
    if !token.contains('~') {
        return Ok(Cow::Borrowed(token));
    }
    let stray = token.replace("~0", "").replace("~1", "").contains('~');
    if stray { Err(Error::Malformed) } else { Ok(Cow::Owned(token.replace("~1", "/").replace("~0", "~"))) }
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

    fn at(pointer: &str) -> Result<&'static str, Error> {
        let text: &'static RawValue = serde_json::from_str(EXAMPLE).expect("JSON");
        find(text, pointer).map(RawValue::get)
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
            assert_eq!(at(pointer), Ok(value), "{pointer}");
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_no_pointer_are_told_apart() {
        for pointer in ["/foo/2", "/foo/00", "/foo/-", "/nothing", "/foo/0/deeper"] {
            assert_eq!(at(pointer), Err(Error::NoSuchValue), "{pointer}");
        }
        for pointer in ["foo", "/m~n", "/m~2n"] {
            assert_eq!(at(pointer), Err(Error::Malformed), "{pointer}");
        }
    }
}
