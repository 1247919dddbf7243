//! Why a dropped document is not accepted: for the person who dropped it, and for the audit log.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// A reason to reject, without any value of the document.
///
/// INVARIANT: `reason` and `pointer` are made of words of this program's, of names of keys (escaped and cut, see
/// [`shown`]) and of what Tray says of its services; never of a document's values, of Tray's error messages or of a
/// parser's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// Which kind it is.
    pub(super) kind: Kind,
    /// One clause.
    pub(super) reason: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) hint: Option<String>,
    /// Where in the document (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) pointer: Option<String>,
    /// Where in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) line: Option<usize>,
    /// Likewise, in bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) column: Option<usize>,
}

/// The kinds of reason, for machines and the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// What was dropped is not a file that may be read.
    File,
    /// What was read is not a document.
    Document,
    /// It names something that Tray does not have, or that several things match.
    Unresolved,
    /// It breaks its service environment's schema.
    Schema,
    /// It would take a full read that is not permitted.
    Policy,
    /// Tray said no.
    Tray,
    /// It comes out of a backup, and may have been sent since.
    Restored,
    /// A person did not want it done.
    Discarded,
}

impl Kind {
    /// Its name, as reasons have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Document => "document",
            Self::Unresolved => "unresolved",
            Self::Schema => "schema",
            Self::Policy => "policy",
            Self::Tray => "tray",
            Self::Restored => "restored",
            Self::Discarded => "discarded",
        }
    }

    /// The clause for the audit log.
    pub(super) fn clause(self) -> &'static str {
        match self {
            Self::File => "the file may not be read",
            Self::Document => "the document is not valid",
            Self::Unresolved => "what the document names could not be resolved",
            Self::Schema => "the document breaks its service's schema",
            Self::Policy => "the update needs a full read that is not permitted",
            Self::Tray => "Tray refused it",
            Self::Discarded => "a person discarded it",
            Self::Restored => "it comes out of a backup and may have been sent since",
        }
    }
}

impl Refusal {
    /// A reason without more.
    pub(super) fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), hint: None, pointer: None, line: None, column: None }
    }

    /// With what to do about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With where in the document it is.
    #[must_use]
    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// With where in the file it is.
    #[must_use]
    pub(super) fn position(mut self, line: usize, column: usize) -> Self {
        (self.line, self.column) = (Some(line), Some(column));
        self
    }
}

/// The longest piece of a name that a message shows, in characters.
const SHOWN: usize = 64;

/// A name that came from outside, fit to be shown: control characters escaped, cut after [`SHOWN`] characters.
pub(super) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

/// A JSON pointer's token for a key (RFC 6901, 3), fit to be shown.
pub(super) fn token(key: &str) -> String {
    let mut token = String::from("/");
    // Writing to a String can't fail.
    let _ = write!(token, "{}", shown(key).replace('~', "~0").replace('/', "~1"));
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name() {
        for kind in
            [Kind::File, Kind::Document, Kind::Unresolved, Kind::Schema, Kind::Policy, Kind::Tray, Kind::Restored]
        {
            assert_eq!(serde_json::json!(kind), kind.as_str());
        }
    }

    #[test]
    fn a_name_is_escaped_and_cut() {
        assert_eq!(shown("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(shown(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
        assert_eq!(token("a/b~c"), "/a~1b~0c");
    }
}
