//! Rows that a connection has read, as they are stored, for as long as nobody has changed the file.

use std::{collections::HashMap, sync::Arc};

use super::stored::Stored;
use crate::authentication::AuthenticationId;

/// How much memory they take at most, in bytes. Beyond, all are let go: those that are asked for come back.
const MOST: usize = 8 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Rows {
    read: HashMap<AuthenticationId, Arc<Stored>>,
    size: usize,
    /// Which state of the file they are of (SQLite's `PRAGMA data_version`).
    version: i64,
}

impl Rows {
    /// Those that were read stay if the file is in the same state still.
    pub(super) fn are_of(&mut self, version: i64) {
        if self.version != version {
            *self = Self { version, ..Self::default() };
        }
    }

    pub(super) fn get(&self, id: AuthenticationId) -> Option<Arc<Stored>> {
        self.read.get(&id).cloned()
    }

    pub(super) fn keep(&mut self, row: Arc<Stored>) {
        let size = row.size();
        if self.size + size > MOST {
            *self = Self { version: self.version, ..Self::default() };
        }
        if size <= MOST && self.read.insert(row.id(), row).is_none() {
            self.size += size;
        }
    }
}
