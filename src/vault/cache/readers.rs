//! Connections that read, lent one at a time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::error::CacheError;
use crate::vault::database::open_reader;

/// How many idle connections are kept. Reads run on the runtime's threads and are over in microseconds, so
/// that more than one a core is rarely wanted; one that is, is opened and closed again.
const IDLE: usize = 4;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<Connection>,
    /// Counts the files that were at the path: a connection to an earlier one is of no use.
    file: u64,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, CacheError>) -> Result<T, CacheError> {
        let (lent, file) = {
            let mut idle = self.idle();
            (idle.connections.pop(), idle.file)
        };
        let connection = match lent {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        let result = read(&connection);
        let mut idle = self.idle();
        if idle.file == file && idle.connections.len() < IDLE {
            idle.connections.push(connection);
        }
        result
    }

    /// There is another file at the path.
    pub(super) fn file_changed(&self) {
        let mut idle = self.idle();
        idle.file += 1;
        idle.connections.clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        // A panic can't leave the list half-changed: it is pushed to and popped from, no more.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
