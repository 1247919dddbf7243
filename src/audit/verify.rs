//! Checks the chain, line by line.

use std::io::{self, BufRead};

use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::{crypto::hmac_sha256, secret::Key};

/// HMAC-SHA256's length in bytes.
pub(super) const MAC_LEN: usize = 32;

/// What verification found.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Every entry is as it was written, in its place.
    Intact {
        /// How many there are.
        entries: u64,
    },
    /// The first line that is not.
    Broken {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is not even the first entry.
    #[error("the log is empty: it was cut, or replaced")]
    Empty,
    /// It has no line end: a write was torn, or the file was cut.
    #[error("the line is torn")]
    Torn,
    /// It is not an entry at all.
    #[error("not an entry")]
    NotAnEntry,
    /// Its sequence number does not follow its predecessor's.
    #[error("an entry is missing, repeated or out of order here")]
    OutOfOrder,
    /// Its MAC does not fit: it, or what stood before it, was changed, or another vault's key wrote it.
    #[error("the entry does not fit the chain: it was changed, or written under another key")]
    Changed,
}

/// Reads a whole log and checks each entry's MAC and sequence number.
///
/// # Errors
/// What reading failed with.
pub fn verify(key: &Key, log: &mut impl BufRead) -> io::Result<Verdict> {
    let mut previous = [0; MAC_LEN];
    let mut entries = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line)? == 0 {
            // The vault's creation is the first entry of every log.
            let empty = Verdict::Broken { line: 1, fault: Fault::Empty };
            return Ok(if entries == 0 { empty } else { Verdict::Intact { entries } });
        }
        match check(key, &previous, entries + 1, &line) {
            Ok(mac) => previous = mac,
            Err(fault) => return Ok(Verdict::Broken { line: entries + 1, fault }),
        }
        entries += 1;
    }
}

fn check(key: &Key, previous: &[u8; MAC_LEN], expected: u64, line: &[u8]) -> Result<[u8; MAC_LEN], Fault> {
    #[derive(Deserialize)]
    struct Sequence {
        seq: u64,
    }
    let line = line.strip_suffix(b"\n").ok_or(Fault::Torn)?;
    let (entry, mac) = split_mac(line).ok_or(Fault::NotAnEntry)?;
    let Sequence { seq } = serde_json::from_slice(line).map_err(|_| Fault::NotAnEntry)?;
    if seq != expected {
        return Err(Fault::OutOfOrder);
    }
    if entry_mac(key, previous, &entry).ct_eq(&mac).into() { Ok(mac) } else { Err(Fault::Changed) }
}

/// The MAC of an entry: over its predecessor's, then the line without its own.
pub(super) fn entry_mac(key: &Key, previous: &[u8; MAC_LEN], entry: &[u8]) -> [u8; MAC_LEN] {
    hmac_sha256(key, &[previous, entry])
}

/// Takes a line apart into the entry as it was before the MAC went in, and the MAC.
pub(super) fn split_mac(line: &[u8]) -> Option<(Vec<u8>, [u8; MAC_LEN])> {
    const SUFFIX_LEN: usize = ",\"mac\":\"".len() + 2 * MAC_LEN + "\"}".len();
    let (entry, suffix) = line.split_at_checked(line.len().checked_sub(SUFFIX_LEN)?)?;
    let digits = suffix.strip_prefix(b",\"mac\":\"")?.strip_suffix(b"\"}")?;
    let mut mac = [0; MAC_LEN];
    for (byte, pair) in mac.iter_mut().zip(digits.chunks_exact(2)) {
        // Lower case digits only (`from_str_radix` takes a sign as well): one entry has one spelling.
        if !pair.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(([entry, b"}"].concat(), mac))
}
