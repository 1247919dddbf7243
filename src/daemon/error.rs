//! Why the daemon did not start, or stopped, and what to do about it.

use std::{io, path::PathBuf};

use super::HandoverError;
use crate::{
    audit::AuditError, config::ConfigError, custody::TokenError, ingest::IngestError, offline, socket::BindError,
    stores::StoresError, system::files::FileError, tray::SetUpError, unlock::UnlockError, vault::VaultError,
};

/// Why the daemon did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no key.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The vault can't be unlocked.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A file or directory is not as it has to be.
    #[error(transparent)]
    File(#[from] FileError),
    /// A token can't be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What only a vault's owner needs.
    #[error(transparent)]
    Offline(#[from] offline::OfflineError),
    /// The audit log can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The cache or the journal can't be opened.
    #[error(transparent)]
    Stores(#[from] StoresError),
    /// The drop directory can't be made.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The socket can't be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The sockets from systemd can't be told apart.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The client can't be set up.
    #[error(transparent)]
    Client(#[from] SetUpError),
    /// Another daemon works on the same state.
    #[error("another daemon works in {}", .0.display())]
    Running(PathBuf),
    /// The operating system refused something.
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// A task died.
    #[error("the task {name:?} died: {reason}")]
    Died {
        /// Its name.
        name: &'static str,
        /// Its error.
        reason: String,
    },
    /// Tasks were cut off at the deadline.
    #[error("not everything had ended after {} s: {}", super::DRAIN_DEADLINE.as_secs(), .0.join(", "))]
    CutOff(Vec<&'static str>),
}

impl DaemonError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => Some(error.hint()),
            Self::Unlock(error) => error.hint(),
            Self::Vault(error) => offline::vault_hint(error),
            Self::File(error) => error.hint(),
            Self::Token(error) => error.hint(),
            Self::Audit(error) => error.hint(),
            Self::Stores(error) => error.hint(),
            Self::Offline(error) => error.hint(),
            Self::Ingest(error) => error.hint(),
            Self::Client(error) => error.hint(),
            Self::Handover(error) => Some(error.hint().to_owned()),
            Self::Bind(BindError::Live(_)) | Self::Running(_) => {
                Some("stop it first, or give this one a state_directory and a socket.directory of its own".to_owned())
            }
            _ => None,
        }
    }
}
