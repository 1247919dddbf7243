//! Gets the key that unlocks the vault from where the configuration says it is.

use crate::{
    config::Unlock,
    secret::{KEY_LEN, Key, SecretBytes},
    source::{Source, SourceError},
    vault::UnlockKey,
};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Its source can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A raw key of another length.
    #[error("the vault's key must be exactly {KEY_LEN} bytes")]
    Length,
    /// No terminal to ask on, or it was closed.
    #[error("the passphrase can't be asked for: there is no terminal")]
    NoTerminal(#[source] std::io::Error),
    /// The two passphrases differ.
    #[error("the passphrases differ")]
    Differ,
    /// Nothing was typed.
    #[error("an empty passphrase protects nothing")]
    Empty,
}

impl UnlockError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Length => Some("make one with: trayvault init, or: head -c 32 /dev/urandom > FILE".to_owned()),
            Self::NoTerminal(_) => {
                Some("set vault.unlock to a file or a credential for an unattended start".to_owned())
            }
            Self::Differ | Self::Empty => None,
        }
    }
}

/// Where a key is read from; `None` if it is asked for.
pub fn source(unlock: &Unlock) -> Option<Source> {
    match unlock {
        Unlock::KeyFile(path) | Unlock::PassphraseFile(path) => Some(Source::File(path.clone())),
        Unlock::KeyCredential(name) | Unlock::PassphraseCredential(name) => Some(Source::Credential(name.clone())),
        Unlock::Prompt => None,
    }
}

/// Reads the key, or asks for the passphrase.
///
/// # Errors
/// [`UnlockError`].
pub fn key(unlock: &Unlock) -> Result<UnlockKey, UnlockError> {
    let Some(source) = source(unlock) else { return ask_passphrase().map(UnlockKey::Passphrase) };
    let secret = source.read()?;
    match unlock {
        Unlock::KeyFile(_) | Unlock::KeyCredential(_) => raw(&secret).map(UnlockKey::Raw),
        _ => Ok(UnlockKey::Passphrase(secret.without_line_end())),
    }
}

/// Asks for the vault's passphrase on the terminal, without echo.
///
/// # Errors
/// [`UnlockError`].
pub fn ask_passphrase() -> Result<SecretBytes, UnlockError> {
    ask("Passphrase of the vault: ")
}

/// Asks for a new passphrase, twice.
///
/// # Errors
/// [`UnlockError`].
pub fn ask_new() -> Result<SecretBytes, UnlockError> {
    let first = ask("New passphrase: ")?;
    if !first.equals(&ask("The same again: ")?) {
        return Err(UnlockError::Differ);
    }
    Ok(first)
}

fn raw(secret: &SecretBytes) -> Result<Key, UnlockError> {
    Key::try_fill(|key| {
        let bytes = secret.expose_secret();
        if bytes.len() != KEY_LEN {
            return Err(UnlockError::Length);
        }
        key.copy_from_slice(bytes);
        Ok(())
    })
}

fn ask(prompt: &str) -> Result<SecretBytes, UnlockError> {
    let typed = rpassword::prompt_password(prompt).map_err(UnlockError::NoTerminal)?;
    if typed.is_empty() { Err(UnlockError::Empty) } else { Ok(SecretBytes::new(typed.into_bytes())) }
}
