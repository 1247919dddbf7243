//! The log's files: `audit.jsonl`, which grows; the segments before it, each named by its first sequence number; and the
//! stub of those that were removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::verify::MAC_LEN;
use crate::{
    crypto::{hex, hkdf_sha256, hmac_sha256, hmac_sha256_matches, unhex},
    secret::Key,
    system::files::{self, FileError},
};

/// The segment that grows, in the audit directory.
pub const FILE_NAME: &str = "audit.jsonl";
/// The next one, while the log moves on to it.
pub(super) const NEXT_NAME: &str = "audit.jsonl.next";
/// What is left of the segments that were removed.
const STUB_NAME: &str = "audit-removed.json";

/// The largest stub that is read, in bytes.
const STUB_LIMIT: u64 = 4096;

/// A closed segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Closed {
    /// The sequence number of its first entry.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

/// The name of a closed segment.
pub(super) fn closed_name(first: u64) -> String {
    format!("audit-{first:020}.jsonl")
}

/// Whether a file of this name in the audit directory belongs to the log.
pub fn is_of_the_log(name: &str) -> bool {
    name == FILE_NAME || name == STUB_NAME || first_of(name).is_some()
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    digits.parse().ok().filter(|first| closed_name(*first) == name)
}

/// The closed segments, the oldest first.
pub(super) fn closed(directory: &Path) -> io::Result<Vec<Closed>> {
    let mut closed = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(first) = entry.file_name().to_str().and_then(first_of) {
            closed.push(Closed { first, path: entry.path() });
        }
    }
    closed.sort();
    Ok(closed)
}

/// The paths of the closed segments, the oldest first.
///
/// # Errors
/// The directory can't be read.
pub fn closed_segments(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(closed(directory)?.into_iter().map(|closed| closed.path).collect())
}

/// The names of the log's files in a directory, that of the segment that grows last.
///
/// # Errors
/// The directory can't be read.
pub fn files_of_the_log(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string().ok().filter(|name| is_of_the_log(name)));
    }
    names.sort_by_key(|name| (name == FILE_NAME, name.clone()));
    Ok(names)
}

/// What is left of the segments that were removed, which tells that from a cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stub {
    v: u8,
    /// The sequence number of the last entry that is gone.
    pub(super) last: u64,
    /// Its MAC, from which the chain goes on, in hexadecimal.
    mac: String,
    /// How many segments are gone.
    pub(super) segments: u64,
    /// The time of the first entry that is gone.
    pub(super) from: Timestamp,
    /// The time of the last one.
    pub(super) to: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    removed: Stub,
    /// HMAC-SHA256 over the text of `removed`.
    mac: String,
}

impl Stub {
    pub(super) fn new(last: u64, mac: &[u8; MAC_LEN], segments: u64, from: Timestamp, to: Timestamp) -> Self {
        Self { v: 1, last, mac: hex(mac), segments, from, to }
    }

    pub(super) fn mac(&self) -> Option<[u8; MAC_LEN]> {
        unhex(self.mac.as_bytes())
    }

    /// The stub in a directory, `None` where there is none; an error of the kind [`io::ErrorKind::InvalidData`] for one that
    /// was not written under this key.
    pub(super) fn read(directory: &Path, audit_key: &Key) -> Result<Option<Self>, StubError> {
        let text = match files::read_private(&directory.join(STUB_NAME), STUB_LIMIT) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Signed { removed, mac } = serde_json::from_slice(&text).map_err(|_| StubError::Foreign)?;
        let mac = unhex(mac.as_bytes()).ok_or(StubError::Foreign)?;
        if removed.mac().is_some() && hmac_sha256_matches(&key(audit_key), &[&removed.text()], &mac) {
            Ok(Some(removed))
        } else {
            Err(StubError::Foreign)
        }
    }

    /// Puts it in the place of the one before.
    pub(super) fn write(self, directory: &Path, audit_key: &Key) -> Result<(), FileError> {
        let mac = hex(&hmac_sha256(&key(audit_key), &[&self.text()]));
        let text = serde_json::to_vec(&Signed { removed: self, mac });
        files::replace(&directory.join(STUB_NAME), &text.unwrap_or_else(|_| unreachable!("plain values")), 0o600)
    }

    fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| unreachable!("plain values"))
    }
}

fn key(audit_key: &Key) -> Key {
    hkdf_sha256(audit_key, b"", "trayvault audit removed segments v1")
}

/// The stub can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StubError {
    /// It can't be read.
    #[error("the stub of removed segments can't be read")]
    File(#[from] FileError),
    /// Another key wrote it, or it was changed.
    #[error("the stub of removed segments is not this vault's")]
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random_key;

    #[test]
    fn a_stub_is_read_under_its_own_key_and_only_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let audit_key = random_key().unwrap();
        assert_eq!(Stub::read(directory.path(), &audit_key).unwrap(), None);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let stub = Stub::new(7, &[3; MAC_LEN], 2, at(1), at(2));
        stub.clone().write(directory.path(), &audit_key).unwrap();
        assert_eq!(Stub::read(directory.path(), &audit_key).unwrap(), Some(stub));
        assert!(matches!(Stub::read(directory.path(), &random_key().unwrap()), Err(StubError::Foreign)));
        let path = directory.path().join(STUB_NAME);
        let text = fs::read_to_string(&path).unwrap().replace("\"last\":7", "\"last\":8");
        fs::write(&path, text).unwrap();
        assert!(matches!(Stub::read(directory.path(), &audit_key), Err(StubError::Foreign)));
    }

    #[test]
    fn segments_come_in_the_order_of_their_entries_and_nothing_else_is_one() {
        let directory = tempfile::tempdir().unwrap();
        for name in
            ["audit-00000000000000000120.jsonl", "audit-00000000000000000007.jsonl", "audit.jsonl", "audit-7.jsonl"]
        {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let firsts: Vec<_> = closed(directory.path()).unwrap().into_iter().map(|closed| closed.first).collect();
        assert_eq!(firsts, [7, 120]);
    }
}
