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
        if self.read.contains_key(&row.id()) {
            return;
        }
        let size = row.size();
        if self.size + size > MOST {
            *self = Self { version: self.version, ..Self::default() };
        }
        if size <= MOST {
            self.size += size;
            self.read.insert(row.id(), row);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn they_take_so_much_memory_and_no_more() {
        let mut rows = Rows::default();
        let ids = [1, 2, 3].map(|number| AuthenticationId(Uuid::from_u128(number)));
        let mut keep = |id, size| {
            rows.keep(Arc::new(Stored::of_size(id, size)));
            ids.map(|id| rows.get(id).is_some())
        };
        assert_eq!(keep(ids[0], MOST / 2), [true, false, false]);
        assert_eq!(keep(ids[0], MOST / 2), [true, false, false], "it takes its place once");
        assert_eq!(keep(ids[1], MOST / 4), [true, true, false]);
        assert_eq!(keep(ids[2], MOST / 2), [false, false, true], "all that were there make room");
        assert_eq!(keep(ids[0], MOST), [false, false, false], "there is no room for it");
        assert_eq!(keep(ids[1], MOST / 2), [false, true, false]);
    }
}
