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
    /// Counts how often all were closed: one that was lent before is not kept.
    closed: u64,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, CacheError>) -> Result<T, CacheError> {
        let (lent, closed) = {
            let mut idle = self.idle();
            (idle.connections.pop(), idle.closed)
        };
        let connection = match lent {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        let result = read(&connection);
        let mut idle = self.idle();
        if idle.closed == closed && idle.connections.len() < IDLE {
            idle.connections.push(connection);
        }
        result
    }

    /// Closes every connection: those that are lent, once they are given back.
    pub(super) fn close(&self) {
        let mut idle = self.idle();
        idle.closed += 1;
        idle.connections.clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        // A panic can't leave the list half-changed: it is pushed to and popped from, no more.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
