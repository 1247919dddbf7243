//! Reads answers: capped, as they are, wiped, and never quoted.

use reqwest::{Response, header::CONTENT_ENCODING};
use serde::de::IgnoredAny;

use super::error::Class;
use crate::secret::SecretBytes;

/// The largest answer that is read, in bytes.
const LIMIT: usize = 16 * 1024 * 1024;

/// Why an answer could not be read.
pub(super) enum Unread {
    /// The connection broke.
    Broken,
    /// It is larger than [`LIMIT`].
    TooLarge,
    /// It is compressed, which was not asked for: what it would become has no cap.
    Encoded,
}

/// Why an answer that was read is not the one that was asked for.
pub(super) enum Unfit {
    /// It is no JSON: not Tray's, or broken off.
    NotJson,
    /// It is JSON that the contract does not know.
    Misshapen,
    /// An operation of GraphQL that is over the limit.
    OverLimit,
    /// An operation of GraphQL that Tray refuses, with a clause of this program's.
    Refused(Class, &'static str),
}

/// Reads a whole answer.
pub(super) async fn read(mut response: Response) -> Result<SecretBytes, Unread> {
    if response.headers().get_all(CONTENT_ENCODING).iter().any(|encoding| !encoding.as_bytes().eq(b"identity")) {
        return Err(Unread::Encoded);
    }
    let expected = response.content_length().unwrap_or(0);
    if expected > LIMIT as u64 {
        return Err(Unread::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(|_| Unread::Broken)? {
        if bytes.len() + chunk.len() > LIMIT {
            return Err(Unread::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(SecretBytes::new(bytes))
}

/// Whether a refusal is in a form of Tray's: `{"message": …}`, or GraphQL's `{"errors": […]}`.
pub(super) fn is_trays_error(bytes: &SecretBytes) -> bool {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: Option<IgnoredAny>,
        errors: Option<IgnoredAny>,
    }
    parse::<Refusal>(bytes).is_ok_and(|refusal| refusal.message.is_some() || refusal.errors.is_some())
}

/// An answer that is not what the contract says.
pub(super) const MALFORMED: &str = "the answer is not what the contract says";

/// Parses an answer. The parser's message is dropped: it may quote the text.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(bytes: &'a SecretBytes) -> Result<T, Unfit> {
    serde_json::from_slice(bytes.expose_secret())
        .map_err(|error| if error.is_data() { Unfit::Misshapen } else { Unfit::NotJson })
}
