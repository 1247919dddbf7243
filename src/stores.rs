//! Opens what a daemon keeps: the cache, which can be rebuilt, and the journal, which can't; both compared with what the
//! audit log knows of them.

use std::{path::Path, sync::Arc};

use crate::{
    audit::{Action, Anchored, AuditError, AuditLog, Event, Outcome},
    clauses::clauses,
    ingest::{Journal, JournalError},
    status::{Board, Problem},
    vault::{self, Cache, CacheError, Continuity, DatabaseError, Keyring},
};

/// The cache's file in the state directory.
pub const CACHE: &str = "cache.db";
/// The journal's file in the state directory.
pub const JOURNAL: &str = "journal.db";

/// What a daemon keeps.
pub struct Stores {
    /// Can be rebuilt from Tray.
    pub cache: Cache,
    /// Can't.
    pub journal: Journal,
}

/// Why they can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The vault's header is from before what the audit log knows of.
    #[error("vault.json was rolled back: it is in epoch {found}, and the audit log knows of {anchored}")]
    Header {
        /// Its epoch.
        found: u32,
        /// The one that it had reached.
        anchored: u32,
    },
    /// It can't be recorded what is done about them.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// What to do about a file that was rolled back.
const ROLLBACK_HINT: &str = "put the newest file back; if there is none: trayvault run --accept-rollback, once";

impl StoresError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Cache(CacheError::ForeignVault) => "move cache.db aside: it is rebuilt from Tray",
            Self::Cache(CacheError::RolledBack(_))
            | Self::Journal(JournalError::RolledBack(_))
            | Self::Header { .. } => ROLLBACK_HINT,
            Self::Cache(CacheError::Database(error)) | Self::Journal(JournalError::Open(error)) => match error {
                DatabaseError::Newer { .. } => "a later version wrote it: run that, or restore a backup of this one's",
                DatabaseError::Damaged { .. } | DatabaseError::Schema(_) | DatabaseError::Generation(_) => {
                    "it holds dropped documents that are not settled yet, so it is left as it is: trayvault restore a \
                     backup, or move it aside and start once with --accept-rollback, and they are lost"
                }
                DatabaseError::File(error) => return error.hint(),
                DatabaseError::Sqlite { .. } => return None,
            },
            Self::Audit(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Opens both.
///
/// # Errors
/// [`StoresError`]; nothing was lost.
pub fn open(
    state_directory: &Path,
    keyring: &Arc<Keyring>,
    audit: &AuditLog,
    board: &Board,
    accept_rollback: bool,
) -> Result<Stores, StoresError> {
    let (cache, journal) = (state_directory.join(CACHE), state_directory.join(JOURNAL));
    let opening = Opening { keyring, audit, board, anchored: audit.generations().now(), accept_rollback };
    opening.header(&cache)?;
    Ok(Stores { cache: opening.cache(&cache)?, journal: opening.journal(&journal)? })
}

struct Opening<'a> {
    keyring: &'a Arc<Keyring>,
    audit: &'a AuditLog,
    board: &'a Board,
    anchored: Anchored,
    accept_rollback: bool,
}

impl Opening<'_> {
    /// In an earlier epoch nothing that was sealed since would open.
    fn header(&self, cache: &Path) -> Result<(), StoresError> {
        let (found, anchored) = (self.keyring.keys().map_err(CacheError::from)?.epoch(), self.anchored.epoch);
        if found >= anchored {
            self.audit.generations().reached_epoch(found);
            return Ok(());
        }
        if !self.accept_rollback {
            return Err(StoresError::Header { found, anchored });
        }
        self.audit.generations().set_epoch(found);
        self.record(Action::AcceptRollback, "vault.json is from before what this log knows of")?;
        vault::set_aside(cache, "it is sealed in an epoch that vault.json does not have")
            .map_err(CacheError::SetAside)?;
        Ok(())
    }

    fn cache(&self, path: &Path) -> Result<Cache, StoresError> {
        let open = |accept_rollback| {
            let continuity = Continuity { anchored: self.anchored.cache, accept_rollback };
            Cache::open(path, Arc::clone(self.keyring), continuity, Arc::clone(&self.audit.generations().cache))
        };
        if self.anchored.cache > 0 && path.symlink_metadata().map_or(0, |found| found.len()) == 0 {
            self.record(Action::Rebuild, "the cache was not there")?;
        }
        match open(false) {
            Err(error) if error.is_file_damaged() => {
                let reason = clauses(&error);
                self.record(Action::Rebuild, "the cache was damaged: it is set aside")?;
                let aside = vault::set_aside(path, &reason).map_err(CacheError::SetAside)?;
                tracing::error!(reason, aside = %aside.display(), "the cache is set aside, and rebuilt from Tray");
                let what = format!("the cache was damaged, is in {} and is rebuilt from Tray", aside.display());
                let hint = "its reason.txt says what was wrong; does the disk fail?".to_owned();
                self.board.post(|posted| posted.problems.push(Problem { what, hint: Some(hint) }));
                Ok(open(false)?)
            }
            Err(CacheError::RolledBack(_)) if self.accept_rollback => {
                self.record(Action::AcceptRollback, "the cache is from before what this log knows of")?;
                Ok(open(true)?)
            }
            opened => Ok(opened?),
        }
    }

    fn journal(&self, path: &Path) -> Result<Journal, StoresError> {
        let open = |accept_rollback| {
            let continuity = Continuity { anchored: self.anchored.journal, accept_rollback };
            Journal::open(path, Arc::clone(self.keyring), continuity, Arc::clone(&self.audit.generations().journal))
        };
        match open(false) {
            Err(JournalError::RolledBack(_)) if self.accept_rollback => {
                self.record(Action::AcceptRollback, "the journal is from before what this log knows of")?;
                Ok(open(true)?)
            }
            opened => Ok(opened?),
        }
    }

    fn record(&self, action: Action, because: &'static str) -> Result<(), AuditError> {
        self.audit.record_synced(&Event::new(action, Outcome::Done).because(because))
    }
}
