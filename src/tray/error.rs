//! Errors by the class that the rest of the program decides by. None carries text of an answer: it may quote what
//! was sent.

use std::fmt;

/// What an error means for what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Tray is slow, down or over its limit, and nothing was done: try again later.
    RetryLater,
    /// The token is missing, malformed, expired or revoked (401).
    TokenRejected,
    /// The token is valid, but not for this (403).
    NotPermitted,
    /// The full read answers 403 where a metadata read does not: Tray has not switched it on.
    NotEnabled,
    /// No such thing, or no access to it (404).
    Gone,
    /// Tray refuses what was sent (400, 413).
    BadInput,
    /// The request was, or may have been, carried out, and its answer is not known. Never send it again blindly.
    UnknownOutcome,
}

/// A call to Tray that failed.
#[derive(Debug)]
pub struct TrayError {
    /// What it means.
    pub class: Class,
    /// Which call it was, as the contract names it.
    pub call: &'static str,
    /// A clause of this program's.
    pub reason: &'static str,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
}

/// The reason of a call that makes a thing which is there.
pub(super) const EXISTS: &str = "it exists already";

impl TrayError {
    /// Whether Tray refuses to make a thing because it is there.
    pub fn says_it_exists(&self) -> bool {
        self.class == Class::BadInput && self.reason == EXISTS
    }
}

impl fmt::Display for TrayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.reason)?;
        self.status.map_or(Ok(()), |status| write!(f, " (HTTP {status})"))
    }
}

impl std::error::Error for TrayError {}

/// Whether a call can be told apart from itself sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Sending it again does no harm, and changes nothing: reads, and the minting of tokens. It is tried a few times.
    Harmless,
    /// Sending it again does no harm, but it changes something: forced refreshes. It is sent once, and whoever called
    /// decides on the next time, by what there is then.
    Deliberate,
    /// Sending it again at once does no harm, but one that is late may undo what came after, or be done already where it
    /// is looked for: replacements and deletes.
    Overwrites,
    /// Sending it again makes a second thing: the contract has no idempotency keys.
    MakesAnother,
}

impl Repeat {
    /// The class of a failure after which it is not known whether the request was carried out.
    pub(super) fn unanswered(self) -> Class {
        match self {
            Self::Harmless | Self::Deliberate => Class::RetryLater,
            Self::Overwrites | Self::MakesAnother => Class::UnknownOutcome,
        }
    }
}

/// The class and the reason of a status other than success; `None` for a success.
pub(super) fn of_status(status: u16, repeat: Repeat) -> Option<(Class, &'static str)> {
    Some(match status {
        200..=299 => return None,
        400 | 413 | 422 => (Class::BadInput, "Tray refuses what was sent"),
        401 => (Class::TokenRejected, "Tray does not accept the token"),
        403 => (Class::NotPermitted, "the token is not allowed to do this"),
        404 => (Class::Gone, "no such thing, or no access to it"),
        409 => (Class::RetryLater, "Tray asks to try again later"),
        429 => (Class::RetryLater, "over Tray's request limit"),
        408 | 500..=599 => (repeat.unanswered(), "Tray failed"),
        _ => (repeat.unanswered(), "an unexpected status"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_leaves_something_behind_has_an_unknown_outcome() {
        for status in [408, 500, 502, 504, 302] {
            let class = |repeat| of_status(status, repeat).map(|(class, _)| class);
            assert_eq!(class(Repeat::MakesAnother), Some(Class::UnknownOutcome), "{status}");
            assert_eq!(class(Repeat::Overwrites), Some(Class::UnknownOutcome), "{status}");
            assert_eq!(class(Repeat::Harmless), Some(Class::RetryLater), "{status}");
            assert_eq!(class(Repeat::Deliberate), Some(Class::RetryLater), "{status}");
        }
        assert_eq!(of_status(204, Repeat::Harmless), None);
        assert_eq!(of_status(429, Repeat::MakesAnother).map(|(class, _)| class), Some(Class::RetryLater));
    }
}
