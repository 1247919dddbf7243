//! Types for bytes that must not be seen, copied or kept.
//!
//! None of them has `Clone`, `Debug`, `Display`, `Serialize`, `PartialEq` or `Deref`: a secret can be
//! looked at in one way only, `expose_secret`, which is easy to search for. Each is wiped when it is dropped.
//! Keys, tokens and passphrases live in [secret memory](crate::system::secret_memory), documents on the heap.
//!
//! What must not compile, beside what does:
//!
//! ```
//! # use trayvault::secret::{Key, SecretBytes, SecretString};
//! # let (key, bytes) = (Key::try_fill(|_| Ok::<_, ()>(())).unwrap(), SecretBytes::new(vec![1]));
//! # let text = SecretString::new("t".to_owned());
//! let moved = (key, bytes, text);
//! assert!(moved.1.equals(&moved.1));
//! assert_eq!(moved.2.expose_secret(), "t");
//! ```
//!
//! ```compile_fail,E0599
//! # use trayvault::secret::Key;
//! # let key = Key::try_fill(|_| Ok::<_, ()>(())).unwrap();
//! let copy = key.clone();
//! ```
//!
//! ```compile_fail,E0599
//! # use trayvault::secret::SecretBytes;
//! # let bytes = SecretBytes::new(vec![1]);
//! let copy = bytes.clone();
//! ```
//!
//! ```compile_fail,E0277
//! # use trayvault::secret::SecretString;
//! # let text = SecretString::new("t".to_owned());
//! println!("{text}");
//! ```
//!
//! ```compile_fail,E0277
//! # use trayvault::secret::SecretBytes;
//! # let bytes = SecretBytes::new(vec![1]);
//! println!("{bytes:?}");
//! ```
//!
//! ```compile_fail,E0277
//! # use trayvault::secret::SecretString;
//! # let text = SecretString::new("t".to_owned());
//! let json = serde_json::to_string(&text);
//! ```
//!
//! ```compile_fail,E0369
//! # use trayvault::secret::SecretBytes;
//! # let bytes = SecretBytes::new(vec![1]);
//! let same = bytes == bytes;
//! ```
//!
//! ```compile_fail,E0614
//! # use trayvault::secret::Key;
//! # let key = Key::try_fill(|_| Ok::<_, ()>(())).unwrap();
//! let bytes = *key;
//! ```

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::system::secret_memory::SecretMemory;

/// The length of every symmetric key, in bytes (256 bits).
pub const KEY_LEN: usize = 32;

/// A 256-bit symmetric key, in secret memory.
pub struct Key(SecretMemory);

impl Key {
    /// Makes a key by filling it in place, so that no copy of it stays on the stack.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(SecretMemory::zeroed(KEY_LEN));
        #[expect(clippy::expect_used, reason = "the length is fixed")]
        fill(key.0.bytes_mut().first_chunk_mut().expect("a key has the length of one"))?;
        Ok(key)
    }

    /// The same key once more, for a holder that outlives this one.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let Ok(copy) = Self::try_fill(|key| {
            key.copy_from_slice(self.expose_secret());
            Ok::<_, std::convert::Infallible>(())
        });
        copy
    }

    /// The key's 32 bytes.
    pub fn expose_secret(&self) -> &[u8; KEY_LEN] {
        #[expect(clippy::expect_used, reason = "the length is fixed")]
        self.0.bytes().first_chunk().expect("a key has the length of one")
    }
}

/// Secret bytes of any length, on the heap: sealed payloads once opened, credential documents, key files.
pub struct SecretBytes(Vec<u8>);

/// `Zeroizing<Vec<u8>>` would do, but wipes byte by byte, which takes eight times as long.
impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.spare_capacity_mut().zeroize();
        self.0.as_mut_slice().zeroize();
    }
}

impl SecretBytes {
    /// Takes the buffer over; it is wiped when this value is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
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
    pub fn into_text(self) -> Result<SecretString, NotText> {
        std::str::from_utf8(&self.0).map(SecretString::copy_of).map_err(|_| NotText)
    }

    /// The same bytes with others in front and behind, in the same buffer if there is room in it.
    #[must_use]
    pub fn between(mut self, front: &[u8], back: &[u8]) -> Self {
        let len = self.0.len();
        // Where it moves to a larger buffer, the allocator wipes the one that it leaves.
        self.0.resize(front.len() + len, 0);
        self.0.copy_within(..len, front.len());
        self.0[..front.len()].copy_from_slice(front);
        self.0.extend_from_slice(back);
        self
    }

    /// Whether both hold the same bytes, in time that depends on their lengths only.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(std::mem::take(&mut *bytes))
    }
}

/// For a connection that owns an answer's body (`Bytes::from_owner`): the buffer is wiped once sent.
impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Secret text, in secret memory: tokens.
pub struct SecretString(SecretMemory);

impl SecretString {
    /// Takes the text over; the buffer that it came in is wiped.
    pub fn new(mut text: String) -> Self {
        let secret = Self::copy_of(&text);
        text.zeroize();
        secret
    }

    fn copy_of(text: &str) -> Self {
        let mut memory = SecretMemory::zeroed(text.len());
        memory.bytes_mut().copy_from_slice(text.as_bytes());
        Self(memory)
    }

    /// The same text once more, for a holder that outlives this one.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::copy_of(self.expose_secret())
    }

    /// Whether both are the same text; how long that takes says nothing of where they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.bytes().ct_eq(other.0.bytes()).into()
    }

    /// The text itself.
    pub fn expose_secret(&self) -> &str {
        #[expect(clippy::expect_used, reason = "it was copied from text")]
        std::str::from_utf8(self.0.bytes()).expect("what was text is text")
    }
}

/// Secret bytes that were expected to be text are not UTF-8.
#[derive(Debug, thiserror::Error)]
#[error("not UTF-8 text")]
pub struct NotText;

#[cfg(test)]
mod tests {
    use std::{fmt, hash::Hash, ops::Deref};

    use serde::{Serialize, de::DeserializeOwned};
    use static_assertions::assert_not_impl_any;

    use super::*;

    /// The whole list, for every type; the examples above show the compiler's own refusals.
    #[test]
    fn a_secret_can_not_be_cloned_printed_serialised_compared_or_reached_through() {
        macro_rules! none_of_it {
            ($($secret:ty),*) => {$(
                assert_not_impl_any!(
                    $secret: Clone, fmt::Debug, fmt::Display, fmt::LowerHex, Serialize, DeserializeOwned,
                    PartialEq, PartialOrd, Hash, Deref, Default, std::borrow::Borrow<[u8]>
                );
            )*};
        }
        none_of_it!(Key, SecretBytes, SecretString);
    }

    #[test]
    fn a_line_end_is_not_part_of_a_token() {
        let token = SecretBytes::new(b"tok\r\n".to_vec()).without_line_end();
        assert_eq!(token.expose_secret(), b"tok");
    }

    #[test]
    fn bytes_are_put_between_others_in_the_same_buffer_if_it_has_room() {
        for room in [0, 100] {
            let mut buffer = Vec::with_capacity(6 + room);
            buffer.extend_from_slice(b"secret");
            let place = buffer.as_ptr();
            let bytes = SecretBytes::new(buffer).between(b"in front ", b" behind");
            assert_eq!(bytes.expose_secret(), b"in front secret behind");
            assert_eq!(bytes.expose_secret().as_ptr() == place, room > 0);
        }
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
