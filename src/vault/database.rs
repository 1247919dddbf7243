//! SQLite as every database of the daemon is set up: private files, a write-ahead log, defences on, and a
//! schema that migrates forward.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::StepResult;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::system::files::{self, FileError};

/// How long a statement waits for another process's lock: `backup` and the command line are brief.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// In bytes. Rows of the cache are of one or two kilobytes, and what is left of a page that the next one doesn't fit in is
/// lost: of SQLite's own 4 KiB that is up to a third, and above 8 KiB reads take longer than the file gets shorter.
const PAGE_SIZE: i64 = 8192;

/// What a loss of power may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The last commits, never the file: it can be rebuilt (`synchronous=NORMAL`).
    Rebuildable,
    /// Nothing that was committed (`synchronous=FULL`).
    Durable,
}

/// What is known of a database from outside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuity {
    /// The generation that it had reached.
    pub anchored: u64,
    /// Whether to go on with one that has not.
    pub accept_rollback: bool,
}

/// A database is in an earlier generation than it was: somebody put an older file in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is in generation {found}, and the audit log knows of {anchored}")]
pub struct RolledBack {
    /// Its generation.
    pub found: u64,
    /// The one that it had reached.
    pub anchored: u64,
}

impl Continuity {
    /// Compares; the generation that it has to go on after, if an earlier one is accepted.
    ///
    /// # Errors
    /// [`RolledBack`].
    pub fn check(self, found: u64) -> Result<Option<u64>, RolledBack> {
        let Self { anchored, accept_rollback } = self;
        match (found < anchored, accept_rollback) {
            (false, _) => Ok(None),
            (true, true) => Ok(Some(anchored)),
            (true, false) => Err(RolledBack { found, anchored }),
        }
    }
}

/// A database can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file can't be used or trusted.
    #[error("can't use the database file")]
    File(#[from] FileError),
    /// A later program wrote it; it wasn't touched.
    #[error("{} has schema {found}, and this program knows up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The latest version that this program knows.
        known: i64,
    },
    /// It is no database, or a broken one.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says of it.
        source: rusqlite::Error,
    },
    /// Its tables are not those that this program makes.
    #[error("{} is damaged: its tables are not as they were made", .0.display())]
    Schema(PathBuf),
    /// Its generation is none.
    #[error("{} is damaged: its generation is none", .0.display())]
    Generation(PathBuf),
    /// SQLite failed for another reason: a full disk, a lock held too long.
    #[error("can't open {}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// Opens the database at `path` for writing; it is created with mode 0600 (its `-wal` and `-shm` take the same
/// from it) or must be ours and nobody else's.
///
/// `migrations` holds one script for each version of the schema, from 1 up, never changed once released. Those
/// that the file lacks run in a transaction each.
pub fn open_database(path: &Path, durability: Durability, migrations: &[&str]) -> Result<Connection, DatabaseError> {
    // SQLite's own NOFOLLOW would refuse a link anywhere in the path, such as systemd's `DynamicUser=` makes;
    // the last component is what counts, the directory being private.
    files::private_file(path)?;
    let failed = |source| DatabaseError::from_sqlite(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    defend(&connection).map_err(failed)?;
    // INVARIANT: the version is looked at before anything is written, the journal mode included.
    let found = version(&connection).map_err(failed)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if !(0..=known).contains(&found) {
        return Err(DatabaseError::Newer { path: path.to_owned(), found, known });
    }
    configure(&connection, durability).map_err(failed)?;
    migrate(&mut connection, migrations).map_err(failed)?;
    if schema(&connection).map_err(failed)? != expected_schema(migrations).map_err(failed)? {
        return Err(DatabaseError::Schema(path.to_owned()));
    }
    Ok(connection)
}

/// Everything that is in the schema.
fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let mut select = connection.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?;
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn expected_schema(migrations: &[&str]) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let scratch = Connection::open_in_memory()?;
    migrations.iter().try_for_each(|script| scratch.execute_batch(script))?;
    schema(&scratch)
}

/// A database can't be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The one that is to be copied can't be opened, or it is not there.
    #[error(transparent)]
    From(#[from] DatabaseError),
    /// SQLite can't read it, or not write the copy.
    #[error("SQLite can't copy it")]
    Sqlite(#[from] rusqlite::Error),
    /// Somebody holds its lock.
    #[error("it is in use")]
    Busy,
    /// The copy can't be made.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Copies a database as it is at one moment, whoever writes to it meanwhile (sqlite.org/backup.html). There must be
/// nothing at `to`.
pub fn copy_database(from: &Path, to: &Path) -> Result<(), CopyError> {
    let source = open_reader(from)?;
    files::private_file(to)?;
    let mut copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // In one step: a writer that comes between two would have it begin anew.
    match rusqlite::backup::Backup::new(&source, &mut copy)?.step(-1)? {
        StepResult::Done => {}
        // Not only errors, also these mean that nothing was copied.
        _ => return Err(CopyError::Busy),
    }
    // As it is to be found later: one file.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

/// Moves a damaged database out of the way, into the directory `damaged` beside it, with a text that says why. One that
/// was set aside before is replaced. Nothing has the file open.
pub fn set_aside(path: &Path, reason: &str) -> Result<PathBuf, FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let directory = path.with_file_name("damaged");
    files::private_directory(&directory)?;
    files::replace(&directory.join(format!("{name}.reason.txt")), format!("{reason}\n").as_bytes(), 0o600)?;
    // One that is not there was set aside before: what is there of it stays.
    if path.symlink_metadata().is_err() {
        return Ok(directory);
    }
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (path.with_file_name(format!("{name}{suffix}")), directory.join(format!("{name}{suffix}")));
        files::move_if_there(&from, &to)?;
    }
    Ok(directory)
}

/// Opens another connection, for reading only, to a database that [`open_database`] has set up.
pub(super) fn open_reader(path: &Path) -> Result<Connection, DatabaseError> {
    let failed = |source| DatabaseError::from_sqlite(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    defend(&connection).map_err(failed)?;
    Ok(connection)
}

/// A file may have been tampered with: nothing in its schema is trusted to run, and pages are checked as they
/// are read (sqlite.org/security.html, "Untrusted SQLite Database Files").
fn defend(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn configure(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let synchronous = match durability {
        Durability::Rebuildable => "NORMAL",
        Durability::Durable => "FULL",
    };
    // Before the journal mode, which makes the file: in one that is there already it changes nothing.
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    // What is deleted is overwritten with zeros, and nothing is spilt to files that others may see.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    for (from, script) in (0_i64..).zip(migrations) {
        let migration = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&migration)? == from {
            migration.execute_batch(script)?;
            migration.pragma_update(None, "user_version", from + 1)?;
            migration.commit()?;
        }
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

impl DatabaseError {
    /// Whether it is the file's content that is at fault.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Schema(_) | Self::Generation(_))
    }

    pub(super) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        // A file that says of itself that it is for reading only is not one that this program made.
        let claims_read_only = source.sqlite_error_code() == Some(ErrorCode::ReadOnly) && files::is_writable(path);
        let path = path.to_owned();
        if is_of_the_host(&source) && !claims_read_only {
            Self::Sqlite { path, source }
        } else {
            Self::Damaged { path, source }
        }
    }
}

/// Whether an error is the host's: a lock held too long, a disk that is full or fails. Whatever else SQLite may say of a
/// file whose statements were written for it, it is the file's content that is at fault.
fn is_of_the_host(error: &rusqlite::Error) -> bool {
    let of_the_host = [
        ErrorCode::DatabaseBusy,
        ErrorCode::DatabaseLocked,
        ErrorCode::CannotOpen,
        ErrorCode::DiskFull,
        ErrorCode::SystemIoFailure,
        ErrorCode::PermissionDenied,
        ErrorCode::ReadOnly,
        ErrorCode::OutOfMemory,
        ErrorCode::OperationInterrupted,
        ErrorCode::FileLockingProtocolFailed,
    ];
    error.sqlite_error_code().is_some_and(|code| of_the_host.contains(&code))
}

/// A generation as a column holds it.
///
/// # Errors
/// [`DatabaseError::Generation`] for what no count of commits ever comes to: were it believed, nothing could follow it.
pub fn plausible_generation(path: &Path, column: i64) -> Result<u64, DatabaseError> {
    const MOST: u64 = 1 << 48;
    let generation = u64::try_from(column).ok().filter(|generation| *generation < MOST);
    generation.ok_or_else(|| DatabaseError::Generation(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ONE: &str = "CREATE TABLE one (a INTEGER) STRICT";
    const TWO: &str = "CREATE TABLE two (b INTEGER) STRICT";

    fn path(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join("test.db")
    }

    #[test]
    fn every_file_of_a_database_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let db = open_database(&path(&dir), Durability::Durable, &[ONE]).unwrap();
        db.execute("INSERT INTO one VALUES (1)", []).unwrap();
        let modes: Vec<_> = ["test.db", "test.db-wal", "test.db-shm"]
            .map(|name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777)
            .into();
        assert_eq!(modes, [0o600; 3]);
    }

    #[test]
    fn the_settings_are_those_of_the_design() {
        let dir = tempfile::tempdir().unwrap();
        for (durability, synchronous) in [(Durability::Rebuildable, 1), (Durability::Durable, 2)] {
            let db = open_database(&path(&dir), durability, &[]).unwrap();
            let setting = |name| -> i64 { db.pragma_query_value(None, name, |r| r.get(0)).unwrap() };
            assert_eq!(setting("synchronous"), synchronous);
            assert_eq!(setting("secure_delete"), 1);
            assert_eq!(setting("trusted_schema"), 0);
            assert_eq!(setting("foreign_keys"), 1);
            let mode: String = db.pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn migrations_run_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        drop(open_database(&path(&dir), Durability::Durable, &[ONE]).unwrap());
        for _ in 0..2 {
            let db = open_database(&path(&dir), Durability::Durable, &[ONE, TWO]).unwrap();
            assert_eq!(version(&db).unwrap(), 2);
            db.execute("INSERT INTO two VALUES (1)", []).unwrap();
        }
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let broken = "CREATE TABLE three (c INTEGER) STRICT; NOT SQL";
        assert!(open_database(&path(&dir), Durability::Durable, &[ONE, broken]).is_err());
        let db = open_database(&path(&dir), Durability::Durable, &[ONE]).unwrap();
        assert_eq!(version(&db).unwrap(), 1);
        assert!(db.prepare("SELECT c FROM three").is_err());
    }

    #[test]
    fn a_newer_file_is_refused_and_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        drop(open_database(&path(&dir), Durability::Durable, &[ONE, TWO]).unwrap());
        let before = fs::read(path(&dir)).unwrap();
        let refused = open_database(&path(&dir), Durability::Durable, &[ONE]);
        assert!(matches!(refused, Err(DatabaseError::Newer { found: 2, known: 1, .. })));
        assert_eq!(fs::read(path(&dir)).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_database_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        files::create_new(&path(&dir), &[b'x'; 4096], 0o600).unwrap();
        let refused = open_database(&path(&dir), Durability::Durable, &[ONE]);
        assert!(matches!(refused, Err(DatabaseError::Damaged { .. })));
    }

    #[test]
    fn a_copy_of_a_database_that_is_locked_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(path(&dir)).unwrap();
        db.execute_batch("CREATE TABLE one (a INTEGER); BEGIN EXCLUSIVE").unwrap();
        let copied = copy_database(&path(&dir), &dir.path().join("copy.db"));
        assert!(matches!(copied, Err(CopyError::Busy)), "{copied:?}");
    }

    #[test]
    fn what_is_set_aside_twice_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        files::create_new(&path(&dir), b"evidence", 0o600).unwrap();
        for _ in 0..2 {
            let aside = set_aside(&path(&dir), "no reason").unwrap();
            assert_eq!(fs::read(aside.join("test.db")).unwrap(), b"evidence");
        }
        assert!(!path(&dir).exists());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        files::create_new(&path(&dir), b"", 0o644).unwrap();
        let refused = open_database(&path(&dir), Durability::Durable, &[ONE]);
        assert!(matches!(refused, Err(DatabaseError::File(FileError::Mode { .. }))));
    }
}
