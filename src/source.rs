//! Where a secret comes from: a private file, or a credential that systemd hands over. The configuration names the
//! source; the secret itself is never in it.

use std::{env, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    secret::SecretBytes,
    system::files::{FileError, read_credential, read_private},
};

/// The largest secret that is read from a source, in bytes.
const LIMIT: u64 = 64 * 1024;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file of the daemon's user or root, with no access for group and others.
    File(PathBuf),
    /// The name of a credential in `$CREDENTIALS_DIRECTORY` (`LoadCredential=` in the unit).
    Credential(String),
}

/// Why a secret can't be had from its source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file can't be read, or others could read it.
    #[error(transparent)]
    File(#[from] FileError),
    /// The process has no credentials: systemd did not start it.
    #[error("the credential {0:?} is given by systemd, which did not start this process")]
    NoCredentials(String),
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
}

impl SourceError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) if error.is_missing() => {
                Some("put it there, readable by the daemon's user alone (mode 600)".to_owned())
            }
            Self::File(error) => error.hint(),
            Self::NoCredentials(name) => {
                Some(format!("run it by its unit, with LoadCredential={name}:… there, or set $CREDENTIALS_DIRECTORY"))
            }
            Self::Empty(_) => None,
        }
    }
}

/// The longest name of a credential; a token in its place is longer.
const NAME_LEN: usize = 40;

impl Source {
    /// Whether it names a file, by an absolute path, or a credential, by a name.
    pub fn is_well_formed(&self) -> bool {
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        match self {
            Self::File(path) => path.is_absolute(),
            Self::Credential(name) => {
                (1..=NAME_LEN).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(in_name)
            }
        }
    }

    /// Where the secret is read from.
    ///
    /// # Errors
    /// [`SourceError::NoCredentials`].
    pub fn path(&self) -> Result<PathBuf, SourceError> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Credential(name) => env::var_os("CREDENTIALS_DIRECTORY")
                .map(|directory| PathBuf::from(directory).join(name))
                .ok_or_else(|| SourceError::NoCredentials(name.clone())),
        }
    }

    /// Reads the secret as it is.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read(&self) -> Result<SecretBytes, SourceError> {
        let path = self.path()?;
        let secret = SecretBytes::from(match self {
            Self::File(_) => read_private(&path, LIMIT)?,
            Self::Credential(_) => read_credential(&path, LIMIT)?,
        });
        if secret.expose_secret().is_empty() {
            return Err(SourceError::Empty(path.display().to_string()));
        }
        Ok(secret)
    }
}
