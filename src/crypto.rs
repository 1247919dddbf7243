//! Authenticated encryption, key derivation and MACs: bytes to bytes.
//!
//! Nothing here does I/O, save for randomness, which the kernel gives. Every primitive is RustCrypto's; what
//! this module adds is one way of calling each, and the published vectors that hold it to the standard.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::array::Array;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use argon2::{Algorithm, Argon2, Block, Version};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use xaes_256_gcm::Xaes256Gcm;
use zeroize::Zeroizing;

use crate::secret::{KEY_LEN, Key, SecretBytes};
use crate::system::stack::{DEEP, SHALLOW, on_wiped_stack};

/// The length of an authentication tag, in bytes: AES-GCM's full 128 bits.
pub const TAG_LEN: usize = 16;
/// The length of XAES-256-GCM's nonce, in bytes: 192 bits, so that random ones don't meet.
pub const NONCE_LEN: usize = 24;
/// The length of a wrapped key, in bytes: a 96-bit nonce, the key, the tag.
pub const WRAPPED_LEN: usize = WRAP_NONCE_LEN + KEY_LEN + TAG_LEN;

const WRAP_NONCE_LEN: usize = 12;

/// How many bytes more the buffer has room for in which something is opened: what is put around it takes no other then.
const ROOM: usize = 512;

/// A key or nonce couldn't be made, or bytes were not what they were said to be.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The kernel gave no randomness.
    #[error("no randomness from the kernel")]
    Random(#[source] getrandom::Error),
    /// Argon2 was asked for work outside [`Argon2Params`]' bounds; nothing was computed.
    #[error("argon2 parameters out of bounds: {0}")]
    Argon2Bounds(&'static str),
    /// Argon2's work area couldn't be allocated, or its inputs don't fit the algorithm.
    #[error("argon2 can't run with these parameters here")]
    Argon2,
    /// Wrong key, or the bytes or what they were bound to were changed: an AEAD can't tell which.
    #[error("authentication failed")]
    Rejected,
    /// More than AES-GCM can encrypt under one nonce (64 GiB).
    #[error("too long to be sealed")]
    TooLong,
}

/// A new key from the kernel's random number generator.
pub fn random_key() -> Result<Key, CryptoError> {
    Key::try_fill(|key| getrandom::fill(key)).map_err(CryptoError::Random)
}

/// `N` random bytes, for salts and nonces; a key comes from [`random_key`].
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(CryptoError::Random)?;
    Ok(bytes)
}

/// HKDF-SHA256 (RFC 5869): the key that `root` gives for `salt` (public) and `label` (which purpose).
#[must_use]
pub fn hkdf_sha256(root: &Key, salt: &[u8], label: &str) -> Key {
    hkdf(root.expose_secret(), salt, label.as_bytes())
}

fn hkdf(input: &[u8], salt: &[u8], info: &[u8]) -> Key {
    let expanded =
        on_wiped_stack::<DEEP, _>(|| Key::try_fill(|key| Hkdf::<Sha256>::new(Some(salt), input).expand(info, key)));
    #[expect(clippy::expect_used, reason = "the length is fixed")]
    expanded.expect("32 bytes are less than HKDF's limit of 255 times 32")
}

/// HMAC-SHA256 (RFC 4231) over the parts as if they were one message.
///
/// Nothing marks where one part ends: a caller with parts of varying length puts their lengths in front.
#[must_use]
pub fn hmac_sha256(key: &Key, parts: &[&[u8]]) -> [u8; 32] {
    on_wiped_stack::<SHALLOW, _>(|| {
        let mut mac = hmac(key);
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    })
}

/// Whether `expected` is the [`hmac_sha256`] of the parts, compared in constant time.
#[must_use]
pub fn hmac_sha256_matches(key: &Key, parts: &[&[u8]], expected: &[u8; 32]) -> bool {
    hmac_sha256(key, parts).ct_eq(expected).into()
}

/// How hard a passphrase is to guess: Argon2id's costs.
///
/// The default is the second recommended option of RFC 9106, section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argon2Params {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Lanes that could be computed in parallel.
    pub lanes: u32,
}

impl Default for Argon2Params {
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl Argon2Params {
    /// Whether the parameters are within what this program will run: 8 MiB to 1 GiB, 1 to 16 passes, 1 to 16
    /// lanes. They come from a file, and must neither exhaust the host nor make guessing cheap.
    ///
    /// # Errors
    /// [`CryptoError::Argon2Bounds`], naming the first one that is outside.
    pub fn check(&self) -> Result<(), CryptoError> {
        let bounds = [
            (self.memory_kib, 8 * 1024..=1024 * 1024, "memory must be 8 MiB to 1 GiB"),
            (self.passes, 1..=16, "passes must be 1 to 16"),
            (self.lanes, 1..=16, "lanes must be 1 to 16"),
        ];
        match bounds.into_iter().find(|(value, range, _)| !range.contains(value)) {
            Some((_, _, reason)) => Err(CryptoError::Argon2Bounds(reason)),
            None => Ok(()),
        }
    }
}

/// Argon2id (RFC 9106, version 0x13): the key that a passphrase gives. Slow and large, as it is meant to be:
/// never call it on a thread that others wait for. The work area is wiped.
///
/// # Errors
/// [`CryptoError::Argon2Bounds`] before anything runs; [`CryptoError::Argon2`] when memory is short or the
/// salt is under 8 bytes.
pub fn argon2id(passphrase: &[u8], salt: &[u8], params: Argon2Params) -> Result<Key, CryptoError> {
    params.check()?;
    let costs = argon2::Params::new(params.memory_kib, params.passes, params.lanes, Some(KEY_LEN))
        .map_err(|_| CryptoError::Argon2)?;
    run_argon2(&Argon2::new(Algorithm::Argon2id, Version::V0x13, costs), passphrase, salt)
}

fn run_argon2(argon2: &Argon2<'_>, passphrase: &[u8], salt: &[u8]) -> Result<Key, CryptoError> {
    let blocks = argon2.params().block_count();
    let mut work = Zeroizing::new(Vec::new());
    work.try_reserve_exact(blocks).map_err(|_| CryptoError::Argon2)?;
    work.resize(blocks, Block::new());
    on_wiped_stack::<DEEP, _>(|| {
        Key::try_fill(|key| argon2.hash_password_into_with_memory(passphrase, salt, key, work.as_mut_slice()))
    })
    .map_err(|_| CryptoError::Argon2)
}

/// Wraps one key by another with AES-256-GCM and a random nonce.
///
/// 96 random bits are enough only because a wrapping key wraps a handful of times in its life; records,
/// which are many, go through [`seal`].
pub fn wrap(wrapping: &Key, associated: &[u8], key: &Key) -> Result<[u8; WRAPPED_LEN], CryptoError> {
    let nonce = random::<WRAP_NONCE_LEN>()?;
    let mut wrapped = [0; WRAPPED_LEN];
    let (head, rest) = wrapped.split_at_mut(WRAP_NONCE_LEN);
    let (body, tail) = rest.split_at_mut(KEY_LEN);
    head.copy_from_slice(&nonce);
    body.copy_from_slice(key.expose_secret());
    let tag = gcm_encrypt(wrapping, &nonce, associated, body)?;
    tail.copy_from_slice(&tag);
    Ok(wrapped)
}

/// The key that [`wrap`] wrapped with the same wrapping key and associated data.
///
/// # Errors
/// [`CryptoError::Rejected`] for any other.
pub fn unwrap(wrapping: &Key, associated: &[u8], wrapped: &[u8; WRAPPED_LEN]) -> Result<Key, CryptoError> {
    let (nonce, rest) = wrapped.split_at(WRAP_NONCE_LEN);
    let (body, tag) = rest.split_at(KEY_LEN);
    let (Ok(nonce), Ok(tag)) = (Array::try_from(nonce), Array::try_from(tag)) else {
        return Err(CryptoError::Rejected);
    };
    on_wiped_stack::<DEEP, _>(|| {
        Key::try_fill(|key| {
            key.copy_from_slice(body);
            Aes256Gcm::new(wrapping.expose_secret().into())
                .decrypt_inout_detached(&nonce, associated, InOutBuf::from(key.as_mut_slice()), &tag)
                .map_err(|_| CryptoError::Rejected)
        })
    })
}

fn gcm_encrypt(
    key: &Key,
    nonce: &[u8; WRAP_NONCE_LEN],
    associated: &[u8],
    buffer: &mut [u8],
) -> Result<[u8; TAG_LEN], CryptoError> {
    on_wiped_stack::<DEEP, _>(|| {
        Aes256Gcm::new(key.expose_secret().into()).encrypt_inout_detached(nonce.into(), associated, buffer.into())
    })
    .map(Into::into)
    .map_err(|_| CryptoError::TooLong)
}

/// Seals `plaintext` with XAES-256-GCM (C2SP) under a random 192-bit nonce, and appends nonce, ciphertext
/// and tag to `out`.
pub fn seal(key: &Key, associated: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), CryptoError> {
    let nonce = random::<NONCE_LEN>()?;
    // All at once: a vector that grew would leave plaintext behind in the allocation that it left.
    out.reserve_exact(NONCE_LEN + plaintext.len() + TAG_LEN);
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let tag = xaes_encrypt(key, &nonce, associated, &mut out[start..])?;
    out.extend_from_slice(&tag);
    Ok(())
}

fn xaes_encrypt(
    key: &Key,
    nonce: &[u8; NONCE_LEN],
    associated: &[u8],
    buffer: &mut [u8],
) -> Result<[u8; TAG_LEN], CryptoError> {
    on_wiped_stack::<SHALLOW, _>(|| {
        Xaes256Gcm::new(key.expose_secret().into()).encrypt_inout_detached(nonce.into(), associated, buffer.into())
    })
    .map(Into::into)
    .map_err(|_| CryptoError::TooLong)
}

/// Opens what [`seal`] appended (nonce, ciphertext, tag) for the same key and associated data, in a buffer of
/// its own that is wiped.
///
/// # Errors
/// [`CryptoError::Rejected`] when anything differs, or when it is too short to be sealed at all.
pub fn open(key: &Key, associated: &[u8], sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CryptoError::Rejected)?;
    let (body, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(CryptoError::Rejected)?;
    let mut buffer = Vec::with_capacity(body.len() + ROOM);
    buffer.extend_from_slice(body);
    // The tag is checked before anything is decrypted, so that a rejected buffer holds ciphertext only.
    on_wiped_stack::<SHALLOW, _>(|| {
        let cipher = Xaes256Gcm::new(key.expose_secret().into());
        cipher.decrypt_inout_detached(nonce.into(), associated, buffer.as_mut_slice().into(), tag.into())
    })
    .map_err(|_| CryptoError::Rejected)?;
    Ok(SecretBytes::new(buffer))
}

/// SHA-256 (FIPS 180-4) of what is no secret.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    <Sha256 as sha2::Digest>::digest(bytes).into()
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits_of(*byte)).map(char::from).collect()
}

/// The same at the end of a text.
pub(crate) fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    let start = text.len();
    text.resize(start + 2 * bytes.len(), 0);
    let (pairs, _) = text[start..].as_chunks_mut::<2>();
    pairs.iter_mut().zip(bytes).for_each(|(pair, byte)| *pair = digits_of(*byte));
}

fn digits_of(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf].map(|half| b"0123456789abcdef"[usize::from(half)])
}

/// What [`hex`] wrote: lower case digits only, so that there is one spelling.
pub(crate) fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let half = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = half(*high)? << 4 | half(*low)?;
    }
    Some(bytes)
}

/// Computes many [`hmac_sha256`] under one key, which is scheduled once.
pub(crate) struct Macs(Hmac<Sha256>);

impl Macs {
    pub(crate) fn of(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Does a piece of work that takes many MACs, and wipes the stack that it used, of which it names a depth.
pub(crate) fn with_macs<const DEPTH: usize, const N: usize, T>(
    keys: [&Key; N],
    work: impl FnOnce(&[Macs; N]) -> T,
) -> T {
    on_wiped_stack::<DEPTH, _>(|| work(&keys.map(|key| Macs(hmac(key)))))
}

fn hmac(key: &Key) -> Hmac<Sha256> {
    let Ok(mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose_secret()) else {
        unreachable!("HMAC takes a key of any length")
    };
    mac
}

#[cfg(test)]
pub(crate) mod tests {
    use std::convert::Infallible;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// The key of these bytes, with zeros behind them where there are fewer than 32.
    pub(crate) fn key(bytes: &[u8]) -> Key {
        let Ok(key) = Key::try_fill(|key| {
            key[..bytes.len()].copy_from_slice(bytes);
            Ok::<_, Infallible>(())
        });
        key
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13, 14 and 16 (AES-256).
    #[test]
    fn aes_256_gcm_agrees_with_its_specification() {
        let feffe9 = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        let cases = [
            (&"00".repeat(32)[..], "00".repeat(12), "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
            (
                &"00".repeat(32)[..],
                "00".repeat(12),
                "",
                "00000000000000000000000000000000",
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (
                feffe9,
                "cafebabefacedbaddecaf888".into(),
                "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ];
        for (k, nonce, associated, plaintext, ciphertext, tag) in cases {
            let mut buffer = hex(plaintext);
            let nonce = hex(&nonce).try_into().unwrap();
            let got = gcm_encrypt(&key(&hex(k)), &nonce, &hex(associated), &mut buffer).unwrap();
            assert_eq!((buffer, got.to_vec()), (hex(ciphertext), hex(tag)));
        }
    }

    /// The two vectors of c2sp.org/XAES-256-GCM: one for each value of the bit that K1 depends on.
    #[test]
    fn xaes_256_gcm_agrees_with_c2sp() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let cases = [
            (1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ];
        for (byte, associated, sealed) in cases {
            let (key, associated) = (key(&[byte; 32]), associated.as_bytes());
            let mut buffer = b"XAES-256-GCM".to_vec();
            let tag = xaes_encrypt(&key, nonce, associated, &mut buffer).unwrap();
            assert_eq!([&buffer[..], &tag].concat(), hex(sealed));

            let sealed = [&nonce[..], &hex(sealed)].concat();
            let opened = open(&key, associated, &sealed).unwrap();
            assert_eq!(opened.expose_secret(), b"XAES-256-GCM");
        }
    }

    /// RFC 5869, appendices A.1 to A.3. An expansion's first 32 bytes don't depend on how many were asked for.
    #[test]
    fn hkdf_agrees_with_rfc_5869() {
        let bytes = |range: std::ops::RangeInclusive<u8>| range.collect::<Vec<u8>>();
        let cases = [
            (
                vec![0x0b; 22],
                bytes(0..=0x0c),
                bytes(0xf0..=0xf9),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
            ),
            (
                bytes(0..=0x4f),
                bytes(0x60..=0xaf),
                bytes(0xb0..=0xff),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c",
            ),
            (vec![0x0b; 22], vec![], vec![], "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"),
        ];
        for (input, salt, info, expected) in cases {
            assert_eq!(hkdf(&input, &salt, &info).expose_secret()[..], hex(expected));
        }
    }

    /// RFC 4231, cases 1 to 4. HMAC pads a short key with zeros (RFC 2104), and so does `key`.
    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let cases = [
            (vec![0x0b; 20], b"Hi There".to_vec(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (vec![0xaa; 20], vec![0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            ((1..=25).collect(), vec![0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
        ];
        for (k, message, expected) in cases {
            let (k, (left, right)) = (key(&k), message.split_at(message.len() / 2));
            let mac = hmac_sha256(&k, &[left, right]);
            assert_eq!(mac[..], hex(expected));
            assert!(hmac_sha256_matches(&k, &[&message], &mac));
            assert!(!hmac_sha256_matches(&k, &[&message, b"!"], &mac));
        }
    }

    /// RFC 9106, section 5.3: with the secret and the associated data, which this program doesn't use.
    #[test]
    fn argon2id_agrees_with_rfc_9106() {
        let params = argon2::ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .output_len(32)
            .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
            .build()
            .unwrap();
        let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let key = run_argon2(&argon2, &[1; 32], &[2; 16]).unwrap();
        assert_eq!(key.expose_secret()[..], hex("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"));
    }

    #[test]
    fn argon2_defaults_are_the_second_option_of_rfc_9106() {
        let Argon2Params { memory_kib, passes, lanes } = Argon2Params::default();
        assert_eq!((memory_kib, passes, lanes), (65_536, 3, 4));
        assert!(Argon2Params::default().check().is_ok());
    }

    #[test]
    fn argon2_refuses_absurd_costs_before_it_runs() {
        let sane = Argon2Params { memory_kib: 8 * 1024, passes: 1, lanes: 1 };
        for absurd in [
            Argon2Params { memory_kib: 8 * 1024 - 1, ..sane },
            Argon2Params { memory_kib: u32::MAX, ..sane },
            Argon2Params { passes: 0, ..sane },
            Argon2Params { passes: u32::MAX, ..sane },
            Argon2Params { lanes: 0, ..sane },
            Argon2Params { lanes: 17, ..sane },
        ] {
            let refused = argon2id(b"passphrase", &[0; 16], absurd);
            assert!(matches!(refused, Err(CryptoError::Argon2Bounds(_))));
        }
        assert!(argon2id(b"passphrase", &[0; 16], sane).is_ok());
    }

    #[test]
    fn a_wrapped_key_unwraps_only_as_it_was_wrapped() {
        let (wrapping, root) = (random_key().unwrap(), random_key().unwrap());
        let wrapped = wrap(&wrapping, b"slot 1", &root).unwrap();
        assert_eq!(unwrap(&wrapping, b"slot 1", &wrapped).unwrap().expose_secret(), root.expose_secret());
        assert!(unwrap(&wrapping, b"slot 2", &wrapped).is_err());
        assert!(unwrap(&root, b"slot 1", &wrapped).is_err());
        for at in 0..WRAPPED_LEN {
            let mut flipped = wrapped;
            flipped[at] ^= 1;
            assert!(unwrap(&wrapping, b"slot 1", &flipped).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_was_sealed_opens_and_any_flipped_or_missing_byte_is_refused() {
        let key = random_key().unwrap();
        let mut sealed = Vec::new();
        seal(&key, b"place", b"plaintext", &mut sealed).unwrap();
        assert_eq!(open(&key, b"place", &sealed).unwrap().expose_secret(), b"plaintext");
        for at in 0..sealed.len() {
            assert!(open(&key, b"place", &sealed[..at]).is_err(), "cut at {at}");
            sealed[at] ^= 1;
            assert!(open(&key, b"place", &sealed).is_err(), "byte {at}");
            sealed[at] ^= 1;
        }
    }

    #[test]
    fn nothing_sealed_twice_looks_the_same() {
        let key = random_key().unwrap();
        let [mut one, mut two] = [Vec::new(), Vec::new()];
        seal(&key, b"", b"same", &mut one).unwrap();
        seal(&key, b"", b"same", &mut two).unwrap();
        assert_ne!(one, two);
    }
}
