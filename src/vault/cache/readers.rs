//! Connections that read, lent one at a time, each with the last commit before its eyes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::CacheError;
use super::rows::Rows;
use super::stored::Stored;
use crate::authentication::AuthenticationId;
use crate::vault::database::open_reader;

/// How many idle connections are kept. Reads run on the runtime's threads and are over in microseconds, so
/// that more than one a core is rarely wanted; one that is, is opened and closed again.
const IDLE: usize = 4;

/// What a connection keeps of the file at most: in KiB, which SQLite writes as a negative number.
const PAGES: i64 = -8 * 1024;
/// How long a read transaction is kept.
const KEPT: Duration = Duration::from_secs(1);

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    readers: Vec<Reader>,
    /// Counts how often all were closed: one that was lent before is not kept.
    closed: u64,
    /// Whether the file is being changed.
    changing: bool,
    /// Counts the changes.
    changes: u64,
}

impl Idle {
    /// The one that this thread had last, or any.
    fn take(&mut self, thread: ThreadId) -> Option<Reader> {
        let own = self.readers.iter().position(|reader| reader.last == thread);
        own.map(|at| self.readers.swap_remove(at)).or_else(|| self.readers.pop())
    }
}

/// A connection, and the read transaction that is open on it.
///
/// The transaction is what costs: for each, SQLite takes and gives back locks, which are system calls, and finds out whether
/// the file has changed. So it is kept from one read to the next until the file is changed, which this process alone does,
/// but not for long: what anybody else does to the file is to be seen too.
struct Reader {
    connection: Connection,
    /// Who had it last: what it has in memory is near that one's core.
    last: ThreadId,
    /// What its transaction sees, if one is open.
    snapshot: Option<Snapshot>,
    /// What its last transaction saw.
    rows: Rows,
}

struct Snapshot {
    /// How many changes there had been.
    changes: u64,
    taken: Instant,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    /// Reads at least what was committed before this is called.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, CacheError>) -> Result<T, CacheError> {
        self.lend(|reader| read(&reader.connection))
    }

    /// The same for one row: from the file, unless it was read before and the file is as it was then.
    pub(super) fn row(
        &self,
        id: AuthenticationId,
        read: impl FnOnce(&Connection) -> Result<Option<Stored>, CacheError>,
    ) -> Result<Option<Arc<Stored>>, CacheError> {
        self.lend(|reader| {
            let known = reader.rows.get(id);
            if known.is_some() {
                return Ok(known);
            }
            let found = read(&reader.connection)?.map(Arc::new);
            if let Some(row) = &found {
                reader.rows.keep(Arc::clone(row));
            }
            Ok(found)
        })
    }

    fn lend<T>(&self, read: impl FnOnce(&mut Reader) -> Result<T, CacheError>) -> Result<T, CacheError> {
        let thread = thread::current().id();
        let (lent, changes, closed) = {
            let mut idle = self.idle();
            (idle.take(thread), idle.changes, idle.closed)
        };
        let mut reader = match lent {
            Some(reader) => reader,
            None => Reader::open(&self.path)?,
        };
        reader.last = thread;
        reader.begin(changes)?;
        let result = read(&mut reader);
        let mut idle = self.idle();
        // INVARIANT: a snapshot that is kept is of the last commit, and in the way of no change.
        let stays = result.is_ok() && !idle.changing && reader.has_seen(idle.changes);
        if (stays || reader.end().is_ok()) && idle.closed == closed && idle.readers.len() < IDLE {
            idle.readers.push(reader);
        }
        result
    }

    /// Lets the writer at the file: until this is dropped no snapshot is kept, and what was read before is none afterwards.
    pub(super) fn change(&self) -> Change<'_> {
        let mut idle = self.idle();
        idle.changing = true;
        idle.readers.retain_mut(|reader| reader.end().is_ok());
        Change(self)
    }

    /// Closes every connection: those that are lent, once they are given back.
    pub(super) fn close(&self) {
        let mut idle = self.idle();
        idle.closed += 1;
        idle.readers.clear();
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // A panic can't leave the list half-changed: readers are added to it and taken from it, one at a time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file is being changed. There is one at a time: the writer's thread has it.
#[must_use]
pub(super) struct Change<'a>(&'a Readers);

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut idle = self.0.idle();
        idle.changing = false;
        idle.changes += 1;
    }
}

impl Reader {
    fn open(path: &Path) -> Result<Self, CacheError> {
        let connection = open_reader(path)?;
        connection.pragma_update(None, "cache_size", PAGES)?;
        Ok(Self { connection, last: thread::current().id(), snapshot: None, rows: Rows::default() })
    }

    /// Has a transaction open that began after so many changes.
    fn begin(&mut self, changes: u64) -> rusqlite::Result<()> {
        if self.has_seen(changes) && self.snapshot.as_ref().is_some_and(|seen| seen.taken.elapsed() < KEPT) {
            return Ok(());
        }
        self.end()?;
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        // INVARIANT: the first look at the file in the transaction, so that what it sees is of this version.
        let version = self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        self.rows.are_of(version);
        self.snapshot = Some(Snapshot { changes, taken: Instant::now() });
        Ok(())
    }

    fn has_seen(&self, changes: u64) -> bool {
        self.snapshot.as_ref().is_some_and(|seen| seen.changes == changes)
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        if self.snapshot.take().is_some() {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::vault::database::{Durability, open_database};

    const ID: AuthenticationId = AuthenticationId(uuid::Uuid::nil());

    struct Fixture {
        readers: Readers,
        writer: Connection,
        _directory: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("db");
            let writer = open_database(&path, Durability::Rebuildable, &["CREATE TABLE t (n INTEGER) STRICT"]).unwrap();
            Self { readers: Readers::new(&path), writer, _directory: directory }
        }

        fn insert(&self) {
            self.writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
        }

        fn rows(&self) -> i64 {
            self.readers.with(rows).unwrap()
        }

        /// How many connections wait, and how many of them see a snapshot.
        fn idle(&self) -> (usize, usize) {
            let idle = self.readers.idle();
            let seeing = idle.readers.iter().filter(|reader| !reader.connection.is_autocommit());
            (idle.readers.len(), seeing.count())
        }

        /// Whether the write-ahead log could be emptied.
        fn empties(&self) -> bool {
            self.writer.busy_timeout(Duration::ZERO).unwrap();
            self.writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0)).unwrap()
        }
    }

    fn rows(db: &Connection) -> Result<i64, CacheError> {
        Ok(db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    #[test]
    fn a_snapshot_is_kept_until_the_file_is_changed() {
        let fixture = Fixture::new();
        assert_eq!((fixture.rows(), fixture.idle()), (0, (1, 1)));
        // What somebody else does is not seen for a while.
        fixture.insert();
        assert_eq!((fixture.rows(), fixture.empties()), (0, false));
        let change = fixture.readers.change();
        assert_eq!((fixture.idle(), fixture.empties()), ((1, 0), true));
        fixture.insert();
        drop(change);
        assert_eq!((fixture.rows(), fixture.idle()), (2, (1, 1)));
    }

    #[test]
    fn while_the_file_is_changed_no_snapshot_is_kept() {
        let fixture = Fixture::new();
        let change = fixture.readers.change();
        assert_eq!((fixture.rows(), fixture.idle()), (0, (1, 0)));
        drop(change);
    }

    #[test]
    fn a_read_that_lasts_longer_than_a_change_keeps_nothing_from_before_it() {
        let fixture = Fixture::new();
        let seen = fixture.readers.with(|db| {
            let before = rows(db)?;
            let change = fixture.readers.change();
            fixture.insert();
            drop(change);
            Ok((before, rows(db)?))
        });
        assert_eq!(seen.unwrap(), (0, 0));
        assert_eq!(fixture.idle(), (1, 0));
        assert_eq!(fixture.rows(), 1);
    }

    #[test]
    fn what_failed_keeps_no_snapshot() {
        let fixture = Fixture::new();
        let failed =
            fixture.readers.with(|db| Ok(db.query_row("SELECT nothing FROM t", [], |row| row.get::<_, i64>(0))?));
        assert!(failed.is_err());
        assert_eq!((fixture.idle(), fixture.rows()), ((1, 0), 0));
    }

    #[test]
    fn a_snapshot_is_kept_for_a_second_at_most() {
        let fixture = Fixture::new();
        assert_eq!(fixture.rows(), 0);
        fixture.insert();
        if let Some(snapshot) = &mut fixture.readers.idle().readers[0].snapshot {
            snapshot.taken -= KEPT;
        }
        assert_eq!(fixture.rows(), 1);
    }

    #[test]
    fn a_row_is_read_once_until_the_file_changes() {
        let fixture = Fixture::new();
        let read = Cell::new(0);
        let look = || {
            let row = fixture.readers.row(ID, |_| {
                read.set(read.get() + 1);
                Ok(Some(Stored::of_size(ID, 0)))
            });
            assert!(row.unwrap().is_some());
            read.get()
        };
        let wait = || {
            if let Some(snapshot) = &mut fixture.readers.idle().readers[0].snapshot {
                snapshot.taken -= KEPT;
            }
        };
        assert_eq!([look(), look()], [1, 1]);
        // For as long as nobody changes the file.
        wait();
        assert_eq!(look(), 1);
        // What somebody else does is not seen for a while.
        fixture.insert();
        assert_eq!(look(), 1);
        wait();
        assert_eq!([look(), look()], [2, 2]);
        // What the writer does is seen at once.
        let change = fixture.readers.change();
        assert_eq!(look(), 2);
        fixture.insert();
        assert_eq!([look(), look()], [3, 3]);
        drop(change);
        assert_eq!(look(), 3);
    }

    #[test]
    fn a_row_that_is_not_there_is_looked_for_again() {
        let fixture = Fixture::new();
        assert!(fixture.readers.row(ID, |_| Ok(None)).unwrap().is_none());
        assert!(fixture.readers.row(ID, |_| Ok(Some(Stored::of_size(ID, 0)))).unwrap().is_some());
    }
}
