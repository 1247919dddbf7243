//! Globs of the configuration: `*` is any text, `?` any one character.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wildmatch::WildMatch;

/// A glob, ready to match.
#[derive(Clone)]
pub struct Glob {
    text: String,
    pattern: WildMatch,
}

impl Glob {
    /// Whether it matches all of a text.
    pub fn matches(&self, text: &str) -> bool {
        self.pattern.matches(text)
    }

    /// Whether a text is the beginning of one that it matches.
    pub(super) fn begins_with(&self, text: &str) -> bool {
        // Behind an asterisk comes whatever is left; until then, character by character.
        let mut glob = self.text.chars();
        text.chars()
            .map(|char| (glob.next(), char))
            .find_map(|pair| match pair {
                (Some('*'), _) => Some(true),
                (Some(wanted), char) if wanted == '?' || wanted == char => None,
                _ => Some(false),
            })
            .unwrap_or(true)
    }

    /// As it stands in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Self { pattern: WildMatch::new(&text), text }
    }
}

/// As it stands in the configuration.
impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

/// Whether one of them matches.
pub(super) fn any_matches(globs: &[Glob], text: &str) -> bool {
    globs.iter().any(|glob| glob.matches(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_begins_what_a_beginning_of_the_glob_matches(glob in "[ab*?é]{0,6}", text in "[abé]{1,6}") {
            let ends = glob.char_indices().map(|(at, char)| at + char.len_utf8());
            let expected = ends.into_iter().any(|end| WildMatch::new(&glob[..end]).matches(&text));
            prop_assert_eq!(Glob::from(glob).begins_with(&text), expected);
        }
    }
}
