//! Keys that did not fit, while there is no key to write the log with. They are counted beside the log, and the count
//! goes into it once the vault is unlocked.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    event::{Action, Event, Outcome},
    log::{AuditError, AuditLog},
};
use crate::system::files::{self, FileError};

/// The count's file in the audit directory.
const FILE_NAME: &str = "failed-unlocks.json";
/// Held while it is changed.
const LOCK_NAME: &str = "failed-unlocks.lock";
/// The largest count's file that is read, in bytes.
const LIMIT: u64 = 1024;

#[derive(Default, Serialize, Deserialize)]
struct Count {
    count: u64,
}

/// Counts one more key that did not fit, in the audit `directory`.
///
/// # Errors
/// The count can't be kept there.
pub fn count_failed_unlock(directory: &Path) -> Result<(), FileError> {
    files::private_directory(directory)?;
    let _alone = files::lock(&directory.join(LOCK_NAME))?;
    let path = directory.join(FILE_NAME);
    let count = Count { count: read(&path)?.count.saturating_add(1) };
    let json = serde_json::to_vec(&count).unwrap_or_else(|_| unreachable!("a number has a form in JSON"));
    files::replace(&path, &json, 0o600)
}

/// Records what was counted, if anything was, and begins anew. A crash between the two records it twice.
///
/// # Errors
/// [`AuditError`].
pub fn record_failed_unlocks(directory: &Path, log: &AuditLog) -> Result<(), AuditError> {
    let _alone = files::lock(&directory.join(LOCK_NAME))?;
    let path = directory.join(FILE_NAME);
    let Count { count } = read(&path)?;
    if count == 0 {
        return Ok(());
    }
    let because = "keys that did not fit were tried since the vault was last unlocked";
    log.record_synced(&Event::new(Action::Unlock, Outcome::Failed).because(because).count(count))?;
    Ok(files::remove_if_there(&path)?)
}

/// A count that can't be read as one is one that somebody changed: what is in it then is worth an entry too.
fn read(path: &Path) -> Result<Count, FileError> {
    match files::read_private(path, LIMIT) {
        Ok(json) => Ok(serde_json::from_slice(&json).unwrap_or(Count { count: 1 })),
        Err(error) if error.is_missing() => Ok(Count::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random_key;

    #[test]
    fn what_was_counted_is_recorded_once() {
        let directory = tempfile::tempdir().expect("a directory");
        for _ in 0..3 {
            count_failed_unlock(directory.path()).expect("counted");
        }
        let log = AuditLog::create(directory.path(), random_key().expect("a key")).expect("a log");
        for _ in 0..2 {
            record_failed_unlocks(directory.path(), &log).expect("recorded");
        }
        let text = std::fs::read_to_string(directory.path().join(super::super::FILE_NAME)).expect("a log");
        let failed: Vec<_> = text.lines().filter(|line| line.contains("\"outcome\":\"failed\"")).collect();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].contains("\"count\":3"), "{}", failed[0]);
    }
}
