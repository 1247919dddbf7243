//! What can go wrong with the cache.

use rusqlite::ErrorCode;

use crate::authentication::AuthenticationId;
use crate::crypto::CryptoError;
use crate::system::files::FileError;
use crate::vault::database::{DatabaseError, RolledBack};
use crate::vault::keyring::{Fingerprint, IsLocked};

/// The cache can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file can't be opened.
    #[error("can't open the cache")]
    Database(#[from] DatabaseError),
    /// SQLite failed on a statement: a full disk, an I/O error, a damaged page.
    #[error("the cache's database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A record doesn't open: bytes were changed, or moved from another row, column or revision.
    #[error("the cached record of authentication {id} is damaged")]
    Damaged {
        /// Whose record it is.
        id: AuthenticationId,
    },
    /// An end user's row doesn't open.
    #[error("the cached record of end user {user} is damaged")]
    DamagedUser {
        /// The keyed fingerprint of the user's id.
        user: Fingerprint,
    },
    /// Two authentications share an integer key; the first one stays.
    #[error("authentication {id} can't be told from another in the cache")]
    Collision {
        /// The one that wasn't found or written.
        id: AuthenticationId,
    },
    /// A secret was pulled for an authentication that was never listed.
    #[error("authentication {id} isn't in the cache")]
    Unknown {
        /// Its id.
        id: AuthenticationId,
    },
    /// A token was minted for an end user who was never listed.
    #[error("the token's end user isn't in the cache")]
    UnknownUser,
    /// `Write::Mark` was given a state that another write leads to (`Full`, `Gone`).
    #[error("authentication {id} can't be marked with a state that only a pull or a tombstone gives")]
    NotAMark {
        /// Which one was to be marked.
        id: AuthenticationId,
    },
    /// The cache was sealed under another vault's keys.
    #[error("the cache belongs to another vault")]
    ForeignVault,
    /// The file is from before what the audit log knows of.
    #[error("the cache was rolled back")]
    RolledBack(#[from] RolledBack),
    /// What is damaged could not be set aside.
    #[error("the damaged cache can't be set aside")]
    SetAside(#[from] FileError),
    /// The vault is locked.
    #[error(transparent)]
    IsLocked(#[from] IsLocked),
    /// A value couldn't be sealed.
    #[error("can't seal a value for the cache")]
    Crypto(#[from] CryptoError),
    /// A reader kept the write-ahead log from being checked in.
    #[error("the cache's write-ahead log is in use")]
    Busy,
    /// The writer's thread couldn't be started.
    #[error("can't start the cache's writer")]
    Thread(#[source] std::io::Error),
    /// The writer's thread is gone; whether the batch was committed isn't known.
    #[error("the cache's writer has stopped")]
    WriterGone,
}

impl CacheError {
    /// Whether only the vault's lock stands in the way.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::IsLocked(_))
    }

    /// Whether the file itself is damaged: it, and not a record in it, has to be replaced.
    pub fn is_file_damaged(&self) -> bool {
        match self {
            Self::Database(error) => error.is_damage(),
            Self::Sqlite(error) => {
                let code = error.sqlite_error_code();
                matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            }
            _ => false,
        }
    }
}
