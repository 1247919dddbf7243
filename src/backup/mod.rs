//! `backup` and `restore`: the vault's header, both databases and the audit log in one file.
//!
//! The file is a tar archive (POSIX.1-1988 ustar) of what the state directory has, copied while a daemon may run: the
//! databases by SQLite's backup API. What is sealed there is sealed in it, under the same key slots. `manifest.json` comes
//! last but one and has the SHA-256 of every other member; `manifest.mac`, last, is HMAC-SHA256 of the manifest's bytes
//! under a key of the vault's, so that nothing in it can be changed or exchanged.

mod archive;

use std::{
    io::{self, Read, Seek},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::archive::{FORMAT, Member, SMALL, archive, unpack};
use crate::{
    audit::{self, Action, AuditError, Event, Outcome},
    config::Config,
    ingest::{Journal, JournalError},
    offline::{self, AUDIT_DIRECTORY, OfflineError},
    stores::{CACHE, JOURNAL},
    system::files::{self, FileError},
    vault::{self, Continuity, HEADER, Locked, VaultError},
};

/// How often a copy is begun anew because the keys were rotated meanwhile.
const TRIES: usize = 3;
/// Where a copy is put together, in the state directory.
const BACKUP_PARTIAL: &str = "backup.partial";
/// One copy at a time.
const BACKUP_LOCK: &str = "backup.lock";
const RESTORE_PARTIAL: &str = "restore.partial";

/// What a backup has in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The vault's id.
    pub vault: Uuid,
    /// When it was made.
    pub made_at: Timestamp,
    members: Vec<Member>,
}

/// What a restore put back.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// The vault's id.
    pub vault: Uuid,
    /// When the backup was made.
    pub made_at: Timestamp,
    /// Dropped documents that were not settled then. They are rejected, because they may have been sent since.
    pub rejected: usize,
}

/// Why there is no backup, or it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The vault can't be unlocked, or the audit log not written.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// A file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A database can't be copied.
    #[error("{0} can't be copied")]
    Copy(&'static str, #[source] vault::CopyError),
    /// The journal can't be made safe.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The keys were rotated again and again meanwhile.
    #[error("the keys are being rotated")]
    Rotating,
    /// Another one is being made.
    #[error("another backup is being made")]
    Underway,
    /// The backup can't be read or written.
    #[error("the backup {} can't be {what}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the kernel or the archive's reader says.
        source: io::Error,
    },
    /// It is not one, or not whole.
    #[error("{} is not a backup of trayvault's: {reason}", path.display())]
    NotABackup {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// Its content is not what the vault's key vouches for.
    #[error("the backup {} was changed: {reason}", path.display())]
    Changed {
        /// Its path.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
    /// A daemon works in the state directory.
    #[error("a daemon works in {}", .0.display())]
    Running(PathBuf),
}

impl BackupError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Offline(OfflineError::Vault(VaultError::Exists(_))) => {
                "a backup is restored into an empty state_directory: move this one aside"
            }
            Self::Offline(error) => return error.hint(),
            Self::File(error) if error.is_already_there() => "a backup is never written over: give another name",
            Self::File(error) => return error.hint(),
            Self::Rotating => "try again once it is through: trayvault status shows how far it is",
            Self::Underway => "try again once it is through",
            Self::Running(_) => "stop it first",
            Self::Changed { .. } => "nothing was restored; take another backup",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<VaultError> for BackupError {
    fn from(error: VaultError) -> Self {
        Self::Offline(error.into())
    }
}

impl From<AuditError> for BackupError {
    fn from(error: AuditError) -> Self {
        Self::Offline(error.into())
    }
}

/// Writes a backup to `path`, which must not be there. A daemon may run meanwhile.
///
/// # Errors
/// [`BackupError`]; there is nothing at `path` then.
pub fn backup(config: &Config, path: &Path) -> Result<Manifest, BackupError> {
    let state = &config.state_directory;
    let unlocked = offline::unlock(config, Locked::open(state)?)?;
    let log = offline::audit_log(config, &unlocked)?;
    let Some(_alone) = files::try_lock(&state.join(BACKUP_LOCK))? else { return Err(BackupError::Underway) };
    log.record_synced(&Event::new(Action::Backup, Outcome::Begun))?;
    let partial = Partial::new(state.join(BACKUP_PARTIAL))?;
    copy_state(state, &partial)?;
    let mut manifest =
        Manifest { format: FORMAT, vault: unlocked.vault_id(), made_at: Timestamp::now(), members: Vec::new() };
    files::create_new_with(path, 0o600, |file| archive(file, &partial, &mut manifest, &unlocked))?;
    log.record_synced(&Event::new(Action::Backup, Outcome::Done))?;
    Ok(manifest)
}

/// INVARIANT: the audit log is copied before the databases, so that they are never from before what it knows of.
fn copy_state(state: &Path, partial: &Partial) -> Result<(), BackupError> {
    for _ in 0..TRIES {
        partial.empty()?;
        let header = files::read_private(&state.join(HEADER), SMALL)?;
        files::create_new(&partial.path(HEADER), &header, 0o600)?;
        if !copy_log(&state.join(AUDIT_DIRECTORY), partial)? {
            continue;
        }
        for name in [CACHE, JOURNAL] {
            vault::copy_database(&state.join(name), &partial.path(name))
                .map_err(|error| BackupError::Copy(name, error))?;
        }
        // With another header, what was copied may be sealed in epochs that this one does not have.
        if files::read_private(&state.join(HEADER), SMALL)? == header {
            return Ok(());
        }
    }
    Err(BackupError::Rotating)
}

/// Copies the whole entries of a log that may be written meanwhile; `false` if it went on in another file.
fn copy_log(directory: &Path, partial: &Partial) -> Result<bool, BackupError> {
    let failed = |source| BackupError::Io { path: directory.to_owned(), what: "read", source };
    let names = audit::files_of_the_log(directory).map_err(failed)?;
    for name in &names {
        let mut log = files::open_private(&directory.join(name))?;
        let length = {
            // An entry that is being written is whole once its writer has given the lock back.
            log.lock().map_err(failed)?;
            let length = log.metadata().map(|metadata| metadata.len());
            log.unlock().and(length).map_err(failed)?
        };
        log.rewind().map_err(failed)?;
        let path = partial.path(name);
        files::create_new_with(&path, 0o600, |file| io::copy(&mut log.take(length), file).map(drop))?;
    }
    Ok(audit::files_of_the_log(directory).map_err(failed)? == names)
}

/// Puts a backup in the place of a vault that is not there any more.
///
/// # Errors
/// [`BackupError`]; there is no vault then, as before.
pub fn restore(config: &Config, path: &Path) -> Result<Restored, BackupError> {
    let state = &config.state_directory;
    files::private_directory(state)?;
    let Some(_lock) = files::try_lock(&state.join(offline::LOCK))? else {
        return Err(BackupError::Running(state.clone()));
    };
    if state.join(HEADER).symlink_metadata().is_ok() {
        return Err(VaultError::Exists(state.clone()).into());
    }
    // One beside what a restore left that was cut off is the backup's.
    let earlier = offline::earlier_log(&state.join(AUDIT_DIRECTORY));
    if let Some(earlier) = earlier.filter(|_| state.join(RESTORE_PARTIAL).symlink_metadata().is_err()) {
        return Err(OfflineError::EarlierLog(earlier).into());
    }

    let partial = Partial::new(state.join(RESTORE_PARTIAL))?;
    let unpacked = unpack(path, &partial)?;
    let unlocked = offline::unlock(config, Locked::open(&partial.0)?)?;
    let manifest = unpacked.verify(path, &unlocked)?;
    let (vault, made_at, audit_key) = (unlocked.vault_id(), manifest.made_at, unlocked.audit_key());
    let journal = Journal::open(
        &partial.path(JOURNAL),
        unlocked.into_keyring(),
        Continuity::default(),
        std::sync::Arc::default(),
    )?;
    let rejected = journal.reject_unsettled()?;
    drop(journal);
    // Closed, it is one file; where that failed, what was rejected would be sent after all.
    if partial.path(&format!("{JOURNAL}-wal")).symlink_metadata().is_ok() {
        return Err(BackupError::Copy(JOURNAL, vault::CopyError::Busy));
    }

    files::private_directory(&state.join(AUDIT_DIRECTORY))?;
    // That of the segment that grows comes last: without it there is no log.
    let unreadable = |source| BackupError::Io { path: partial.0.clone(), what: "read", source };
    for name in audit::files_of_the_log(&partial.0).map_err(unreadable)? {
        files::move_if_there(&partial.path(&name), &state.join(AUDIT_DIRECTORY).join(&name))?;
    }
    for name in [CACHE, JOURNAL] {
        for suffix in ["-wal", "-shm"] {
            files::remove_if_there(&state.join(format!("{name}{suffix}")))?;
        }
        files::move_if_there(&partial.path(name), &state.join(name))?;
    }
    // What makes it a vault comes last: cut off before, it can be begun again.
    files::move_if_there(&partial.path(HEADER), &state.join(HEADER))?;
    let log = audit::AuditLog::open(&state.join(AUDIT_DIRECTORY), audit_key, config.audit.clone())?;
    log.record_synced(&Event::new(Action::Restore, Outcome::Done).count(rejected as u64))?;
    Ok(Restored { vault, made_at, rejected })
}

/// A private directory that goes when this does.
struct Partial(PathBuf);

impl Partial {
    fn new(path: PathBuf) -> Result<Self, FileError> {
        let partial = Self(path);
        partial.empty()?;
        Ok(partial)
    }

    /// Also what a crash left behind.
    fn empty(&self) -> Result<(), FileError> {
        files::remove_directory_if_there(&self.0)?;
        files::private_directory(&self.0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Best effort: what stays is sealed, and goes with the next backup.
        let _ = files::remove_directory_if_there(&self.0);
    }
}
