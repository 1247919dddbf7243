//! Reads answers: capped, wiped, and never quoted.

use reqwest::Response;

use crate::secret::SecretBytes;

/// The largest answer that is read, in bytes.
pub(super) const LIMIT: usize = 16 * 1024 * 1024;

/// Why an answer could not be read.
pub(super) enum Unread {
    /// The connection broke.
    Broken,
    /// It is larger than [`LIMIT`].
    TooLarge,
}

/// Reads a whole answer.
pub(super) async fn read(mut response: Response) -> Result<SecretBytes, Unread> {
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
pub(super) async fn is_trays_error(response: Response) -> bool {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: Option<serde::de::IgnoredAny>,
        errors: Option<serde::de::IgnoredAny>,
    }
    let Ok(bytes) = read(response).await else { return false };
    parse::<Refusal>(&bytes).is_ok_and(|refusal| refusal.message.is_some() || refusal.errors.is_some())
}

/// An answer that is not what the contract says.
pub(super) const MALFORMED: &str = "the answer is not what the contract says";

/// Parses an answer. The parser's message is dropped: it may quote the text.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(bytes: &'a SecretBytes) -> Result<T, ()> {
    serde_json::from_slice(bytes.expose_secret()).map_err(|_| ())
}
