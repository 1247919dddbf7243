//! Documents sealed to the vault's recipient, as age files (c2sp.org/age, version 1, X25519): whoever has the recipient can
//! seal, and only an unlocked vault opens.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, BufRead, Read, Write},
    iter,
    str::FromStr,
};

use age::{DecryptError, Decryptor, EncryptError, Encryptor, armor::ArmoredReader, x25519};
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

use crate::{
    secret::{Key, SecretBytes},
    system::stack::{DEEP, on_wiped_stack},
};

/// What a binary age file begins with.
const BINARY: &[u8] = b"age-encryption.org/v1\n";
/// What an armored one begins with.
const ARMORED: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
/// How much of a file [`is_sealed`] looks at, in bytes.
pub const HEAD_LEN: usize = 64;
/// How much is sealed at once, in bytes: age's chunk.
const CHUNK: usize = 64 * 1024;

/// Whether bytes are an age file, binary or armored, by what they begin with ([`HEAD_LEN`] bytes are enough).
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(BINARY) || bytes.starts_with(ARMORED)
}

/// To whom documents are sealed. Public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(x25519::Recipient);

/// Text is not a recipient. It does not say the text, which may be an identity in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a recipient: one is age1 and 58 more characters")]
pub struct NotARecipient;

/// Why something can't be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It can't be read.
    #[error("what is to be sealed can't be read")]
    Read(#[source] io::Error),
    /// What was sealed can't be written.
    #[error("what was sealed can't be written")]
    Write(#[source] io::Error),
    /// The recipient does not take it.
    #[error("it can't be sealed to this recipient")]
    Recipient,
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Recipient {
    type Err = NotARecipient;

    fn from_str(text: &str) -> Result<Self, NotARecipient> {
        let (_, point) = bech32::decode(text).map_err(|_| NotARecipient)?;
        if is_of_low_order(&point) {
            return Err(NotARecipient);
        }
        text.parse().map(Self).map_err(|_| NotARecipient)
    }
}

/// Whether a point of Curve25519 is one of those with which every secret agrees on nothing (RFC 7748, 6.1): what is sealed
/// to it anybody could open, and age panics.
fn is_of_low_order(point: &[u8]) -> bool {
    /// By their u-coordinates, below the field's prime: 0, 1, -1 and the two of order 8.
    const LOW: [&str; 5] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    /// 0 and 1 once more, with the prime added.
    const NOT_REDUCED: [&str; 2] = [
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut point = point.to_vec();
    // The last bit is not looked at.
    point.last_mut().into_iter().for_each(|last| *last &= 0x7f);
    let point = crate::crypto::hex(&point);
    LOW.iter().chain(&NOT_REDUCED).any(|low| *low == point)
}

impl Recipient {
    /// Seals bytes.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = Vec::new();
        self.seal_from(plaintext, &mut sealed)?;
        Ok(sealed)
    }

    /// Seals what is read and writes it, a chunk at a time. Unless this succeeds, what was written is not a whole file.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_from(&self, mut plaintext: impl Read, sealed: impl Write) -> Result<(), SealError> {
        on_wiped_stack::<DEEP, _>(|| {
            let recipients = iter::once::<&dyn age::Recipient>(&self.0);
            let encryptor = Encryptor::with_recipients(recipients).map_err(|error| match error {
                EncryptError::Io(source) => SealError::Write(source),
                _ => SealError::Recipient,
            })?;
            let mut writer = encryptor.wrap_output(sealed).map_err(SealError::Write)?;
            let mut chunk = Zeroizing::new(vec![0; CHUNK]);
            loop {
                match plaintext.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(length) => writer.write_all(&chunk[..length]).map_err(SealError::Write)?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(SealError::Read(error)),
                }
            }
            writer.finish().and_then(|mut sealed| sealed.flush()).map_err(SealError::Write)
        })
    }
}

/// What opens documents that were sealed to its [`Recipient`]. It is kept as the key that it is made from, in secret memory;
/// age's own form of it is on the stack while something is opened, and is wiped with the stack.
pub struct Identity(Key);

/// Why sealed bytes don't open. None says anything of what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// They are sealed to somebody else, or by a passphrase, which is never tried. Where a recipient's part of the header was
    /// damaged, it looks the same.
    #[error("it is not sealed to this vault")]
    NotForUs,
    /// They were changed, or cut off.
    #[error("it is damaged or cut off")]
    Damaged,
    /// There is more in them than is read.
    #[error("what is sealed is larger than {0} bytes")]
    TooLarge(u64),
    /// They are not an age file of a version that is known.
    #[error("it is not an age file of version 1")]
    Format,
}

impl Identity {
    /// The identity that 32 secret bytes are, as X25519 has it.
    pub fn new(key: Key) -> Self {
        Self(key)
    }

    /// To whom to seal, for this to open it.
    pub fn recipient(&self) -> Recipient {
        on_wiped_stack::<DEEP, _>(|| Recipient(self.to_age().to_public()))
    }

    /// Opens an age file, binary or armored, of at most `limit` bytes of content, in one buffer that never grows.
    ///
    /// # Errors
    /// [`OpenError`]; whatever was opened till then is wiped.
    pub fn open(&self, sealed: &[u8], limit: u64) -> Result<SecretBytes, OpenError> {
        on_wiped_stack::<DEEP, _>(|| {
            if sealed.starts_with(ARMORED) {
                // There is less in it than the armor is long, so this bounds the buffer too.
                self.open_from(io::BufReader::new(ArmoredReader::new(sealed)), sealed.len(), limit)
            } else {
                self.open_from(sealed, sealed.len(), limit)
            }
        })
    }

    fn open_from(&self, sealed: impl BufRead, length: usize, limit: u64) -> Result<SecretBytes, OpenError> {
        let identity = self.to_age();
        let mut opened = Decryptor::new_buffered(sealed)
            .and_then(|decryptor| decryptor.decrypt(iter::once::<&dyn age::Identity>(&identity)))
            .map_err(|error| refusal(&error))?;
        // An age file is longer than what is in it. One byte more than may be read shows that there is more.
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1).min(length);
        let mut content = Zeroizing::new(vec![0; room]);
        let mut filled = 0;
        while filled < content.len() {
            match opened.read(&mut content[filled..]) {
                // Only the end of the last chunk, which says that it is the last, reads as the end.
                Ok(0) => {
                    content.truncate(filled);
                    return Ok(content.into());
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(OpenError::Damaged),
            }
        }
        Err(OpenError::TooLarge(limit))
    }

    /// age takes an identity only as text: `AGE-SECRET-KEY-1…`, the key in Bech32.
    fn to_age(&self) -> x25519::Identity {
        const PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");
        /// The prefix, the separator, 32 bytes by five bits, and the checksum.
        const TEXT_LEN: usize = 15 + 1 + 52 + 6;
        let mut text = Zeroizing::new(String::with_capacity(TEXT_LEN));
        let written = bech32::encode_upper_to_fmt::<Bech32, String>(&mut text, PREFIX, self.0.expose_secret());
        #[expect(clippy::expect_used, reason = "the length is fixed")]
        written.expect("32 bytes are less than Bech32's limit");
        #[expect(clippy::expect_used, reason = "any 32 bytes are an identity")]
        text.parse().expect("what was encoded is an identity")
    }
}

fn refusal(error: &DecryptError) -> OpenError {
    match error {
        DecryptError::NoMatchingKeys => OpenError::NotForUs,
        DecryptError::InvalidHeader | DecryptError::UnknownFormat => OpenError::Format,
        _ => OpenError::Damaged,
    }
}
