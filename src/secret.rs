//! Types for bytes that must not be seen, copied or kept.
//!
//! None of them has `Clone`, `Debug`, `Display`, `Serialize`, `PartialEq` or `Deref`: a secret can be
//! looked at in one way only, `expose_secret`, which is easy to search for. Each is wiped when it is dropped.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// The length of every symmetric key, in bytes (256 bits).
pub const KEY_LEN: usize = 32;

/// A 256-bit symmetric key. It lives in a heap allocation of its own, so that moving it moves a pointer.
pub struct Key(Box<Zeroizing<[u8; KEY_LEN]>>);

impl Key {
    /// Makes a key by filling it in place, so that no copy of it stays on the stack.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_LEN])));
        fill(&mut key.0)?;
        Ok(key)
    }

    /// The key's 32 bytes.
    pub fn expose_secret(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// Secret bytes of any length: sealed payloads once opened, credential documents, key files.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the buffer over; it is wiped when this value is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// The bytes without a trailing line feed (or carriage return and line feed), as files written by
    /// hand have one.
    #[must_use]
    pub fn without_line_end(mut self) -> Self {
        while matches!(self.0.last(), Some(b'\n' | b'\r')) {
            self.0.pop();
        }
        self
    }

    /// The same bytes as text.
    ///
    /// # Errors
    /// [`NotText`] when they are not UTF-8; the bytes are wiped.
    pub fn into_text(mut self) -> Result<SecretString, NotText> {
        String::from_utf8(std::mem::take(&mut *self.0)).map(SecretString::new).map_err(|error| {
            error.into_bytes().zeroize();
            NotText
        })
    }

    /// Whether both hold the same bytes, in time that depends on their lengths only.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

/// For a connection that owns an answer's body (`Bytes::from_owner`): the buffer is wiped once sent.
impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Secret text: tokens and passphrases.
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes the text over; it is wiped when this value is dropped.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

/// Secret bytes that were expected to be text are not UTF-8.
#[derive(Debug, thiserror::Error)]
#[error("not UTF-8 text")]
pub struct NotText;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_is_not_part_of_a_token() {
        let token = SecretBytes::new(b"tok\r\n".to_vec()).without_line_end();
        assert_eq!(token.expose_secret(), b"tok");
    }

    #[test]
    fn bytes_that_are_not_text_say_only_that() {
        let error = SecretBytes::new(vec![0xff, b's']).into_text().err().expect("not UTF-8");
        assert_eq!(error.to_string(), "not UTF-8 text");
    }

    #[test]
    fn equality_compares_content() {
        let secret = |text: &str| SecretBytes::new(text.as_bytes().to_vec());
        assert!(secret("same").equals(&secret("same")));
        assert!(!secret("same").equals(&secret("sane")));
        assert!(!secret("same").equals(&secret("same ")));
    }
}
