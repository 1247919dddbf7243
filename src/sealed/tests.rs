use std::convert::Infallible;

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use static_assertions::assert_not_impl_any;

use super::*;
use crate::crypto::{self, hex};

fn identity() -> Identity {
    Identity::new(crypto::random_key().unwrap())
}

fn open(identity: &Identity, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    identity.open(sealed, 1 << 20).map(|content| content.expose_secret().to_vec())
}

#[test]
fn an_identity_can_not_be_copied_printed_or_compared() {
    assert_not_impl_any!(Identity: Clone, fmt::Debug, fmt::Display, serde::Serialize, PartialEq);
}

#[test]
fn what_was_sealed_opens_for_its_identity_alone() {
    let (ours, other) = (identity(), identity());
    let sealed = ours.recipient().seal(b"plaintext").unwrap();
    assert!(is_sealed(&sealed));
    assert!(!String::from_utf8_lossy(&sealed).contains("plaintext"));
    assert_eq!(open(&ours, &sealed).unwrap(), b"plaintext");
    assert_eq!(open(&other, &sealed), Err(OpenError::NotForUs));
    assert_ne!(sealed, ours.recipient().seal(b"plaintext").unwrap());
}

#[test]
fn every_truncation_every_flipped_byte_and_anything_behind_is_refused() {
    let identity = identity();
    let mut sealed = identity.recipient().seal(b"plaintext").unwrap();
    for at in 0..sealed.len() {
        assert!(open(&identity, &sealed[..at]).is_err(), "cut at {at}");
        sealed[at] ^= 1;
        assert!(open(&identity, &sealed).is_err(), "byte {at}");
        sealed[at] ^= 1;
    }
    sealed.push(b'\n');
    assert_eq!(open(&identity, &sealed), Err(OpenError::Damaged));
}

#[test]
fn as_much_as_the_limit_opens_and_a_byte_more_does_not() {
    let identity = identity();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let content = vec![7; length];
        let sealed = identity.recipient().seal(&content).unwrap();
        let limit = u64::try_from(length).unwrap();
        assert_eq!(identity.open(&sealed, limit).map(|opened| opened.expose_secret() == content), Ok(true));
        assert_eq!(identity.open(&sealed, u64::MAX).map(|opened| opened.expose_secret() == content), Ok(true));
        if let Some(less) = limit.checked_sub(1) {
            assert_eq!(identity.open(&sealed, less).err(), Some(OpenError::TooLarge(less)), "{length}");
        }
    }
}

#[test]
fn a_file_that_ends_between_two_chunks_is_cut_off() {
    let identity = identity();
    let whole = identity.recipient().seal(&vec![7; 2 * CHUNK]).unwrap();
    let tag = 16;
    assert_eq!(open(&identity, &whole[..whole.len() - CHUNK - tag]), Err(OpenError::Damaged));
}

#[test]
fn what_can_not_be_read_is_told_from_what_can_not_be_written() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::NotConnected.into())
        }
    }
    let recipient = identity().recipient();
    assert!(matches!(recipient.seal_from(Broken, io::sink()), Err(SealError::Read(_))));
    let full: &mut [u8] = &mut [0; 300];
    assert!(matches!(recipient.seal_from(&[7; 100][..], full), Err(SealError::Write(_))));
}

#[test]
fn a_recipient_is_read_as_it_is_shown_and_nothing_else_is_repeated() {
    let recipient = identity().recipient();
    assert_eq!(recipient.to_string().parse(), Ok(recipient));
    let secret = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    for wrong in ["", "age1", secret, "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pb"] {
        let error = wrong.parse::<Recipient>().unwrap_err().to_string();
        assert_eq!(error, "not a recipient: one is age1 and 58 more characters");
    }
}

#[test]
fn what_is_sealed_is_known_by_its_beginning() {
    assert!(is_sealed(b"age-encryption.org/v1\n-> X25519 "));
    assert!(is_sealed(b"-----BEGIN AGE ENCRYPTED FILE-----\r\n"));
    assert!(!is_sealed(b"age-encryption.org/v2\n") && !is_sealed(b"{\"version\":1}") && !is_sealed(b""));
    assert!(BINARY.len().max(ARMORED.len()) <= HEAD_LEN);
}

/// The C2SP's vectors (github.com/C2SP/CCTV, age): what another implementation made, and what it must refuse.
#[test]
fn age_files_agree_with_c2sp() {
    macro_rules! vectors {
        ($($name:literal => $expected:expr),* $(,)?) => {
            [$(($name, &include_bytes!(concat!("../../tests/data/age/", $name))[..], $expected)),*]
        };
    }
    let vectors = vectors! {
        "x25519" => Ok(()),
        "x25519_grease" => Ok(()),
        "x25519_multiple_recipients" => Ok(()),
        "armor" => Ok(()),
        "stream_empty_payload" => Ok(()),
        "x25519_no_match" => Err(OpenError::NotForUs),
        "x25519_low_order" => Err(OpenError::Format),
        "scrypt" => Err(OpenError::NotForUs),
        "scrypt_and_x25519" => Err(OpenError::Format),
        "hmac_bad" => Err(OpenError::Damaged),
        "stream_no_final" => Err(OpenError::Damaged),
        "stream_bad_tag" => Err(OpenError::Damaged),
        "armor_no_end_line" => Err(OpenError::Damaged),
        "version_unsupported" => Err(OpenError::Format),
    };
    for (name, vector, expected) in vectors {
        let end = vector.windows(2).position(|two| two == b"\n\n").unwrap();
        let (fields, sealed) = (std::str::from_utf8(&vector[..end]).unwrap(), &vector[end + 2..]);
        let field = |key: &str| fields.lines().find_map(|line| line.strip_prefix(key));
        let identity = field("identity: ").map_or_else(identity, parsed);
        let opened = open(&identity, sealed);
        assert_eq!(opened.as_ref().map(|_| ()).map_err(|error| *error), expected, "{name}");
        if let Ok(content) = opened {
            let hash = hex(&Sha256::digest(content));
            assert_eq!(Some(&hash[..]), field("payload: "), "{name}");
        }
    }
}

fn parsed(text: &str) -> Identity {
    let (_, bytes) = bech32::decode(text).unwrap();
    let Ok(key) = Key::try_fill(|key| {
        key.copy_from_slice(&bytes);
        Ok::<_, Infallible>(())
    });
    Identity::new(key)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_open_as_they_were_sealed(content: Vec<u8>) {
        let identity = identity();
        prop_assert_eq!(open(&identity, &identity.recipient().seal(&content).unwrap()), Ok(content));
    }

    #[test]
    fn any_other_bytes_are_refused(content: Vec<u8>) {
        prop_assert!(open(&identity(), &content).is_err());
    }
}

/// What is sealed to a point of low order anybody can open; age panics.
#[test]
fn a_recipient_of_low_order_is_none() {
    let hrp = Hrp::parse("age").expect("a prefix");
    for first in [0_u8, 1] {
        let mut point = [0_u8; 32];
        point[0] = first;
        let text = bech32::encode::<Bech32>(hrp, &point).expect("encoded");
        assert_eq!(text.parse::<Recipient>(), Err(NotARecipient), "{text}");
    }
}
