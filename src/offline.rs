//! What is done without a daemon, or beside one: making the vault, its key slots, verifying the audit log.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use uuid::Uuid;

use crate::{
    audit::{self, Action, Anchor, AuditError, AuditLog, Event, Fault, Outcome, Place, Record, Verdict, VerifyError},
    clauses::clauses,
    config::{Config, ConfigError, Unlock},
    crypto::{CryptoError, random_key},
    system::files::{self, FileError},
    unlock::{self, UnlockError},
    vault::{self, Locked, UnlockKey, Unlocked, VaultError},
};

pub use crate::vault::{SlotKind, SlotSummary};

/// The audit log's directory in the state directory.
pub const AUDIT_DIRECTORY: &str = "audit";

/// The lock of the state directory: one daemon works there at a time.
pub const LOCK: &str = "lock";

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no key.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The vault can't be made or unlocked.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A file or directory is not as it has to be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel gave no random bytes.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// What should name a key's source does not.
    #[error("that does not name a file or a credential")]
    NotASource,
    /// The audit log can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is an audit log, and no vault that it is of.
    #[error("there is an audit log {} of an earlier vault", .0.display())]
    EarlierLog(PathBuf),
    /// The audit log can't be read.
    #[error(transparent)]
    UnreadableLog(#[from] VerifyError),
}

impl OfflineError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => Some(error.hint()),
            Self::Unlock(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Audit(error) => error.hint(),
            Self::Vault(error) => vault_hint(error),
            Self::UnreadableLog(VerifyError::Io(source)) if source.kind() == io::ErrorKind::NotFound => {
                Some("it is made by: trayvault init".to_owned())
            }
            Self::NotASource => Some(
                "a credential is named by letters, digits, dots, dashes and underscores, at most 40 of them".to_owned(),
            ),
            Self::EarlierLog(_) => Some("move it aside: a new vault begins a log of its own".to_owned()),
            Self::Crypto(_) | Self::UnreadableLog(_) => None,
        }
    }
}

/// What to do about a vault that can't be opened.
pub fn vault_hint(error: &VaultError) -> Option<String> {
    match error {
        VaultError::Missing(_) => Some("make it with: trayvault init".to_owned()),
        VaultError::Exists(_) => Some("it is left as it is: go on with trayvault check, then trayvault run".to_owned()),
        VaultError::WrongKey => Some("vault.unlock must name the key that the vault was made with".to_owned()),
        VaultError::File(error) => error.hint(),
        VaultError::LastSlot => Some("add another first: trayvault key add".to_owned()),
        VaultError::NoSuchSlot(_) => Some("trayvault key list shows which there are".to_owned()),
        VaultError::InUse(_) => Some("let vault.unlock name the key of another slot first".to_owned()),
        VaultError::Rotating => Some("trayvault status shows how far it is".to_owned()),
        VaultError::Altered => Some("put the vault.json back that was there before".to_owned()),
        VaultError::Format { .. } => Some("a later version wrote it: run that".to_owned()),
        _ => None,
    }
}

/// What `init` made.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The vault's id.
    pub vault_id: Uuid,
    /// Where it is.
    pub state_directory: PathBuf,
    /// The key file that was made, if there was none.
    pub key_file: Option<PathBuf>,
}

/// Makes the vault, its key file if that is named and not there, and the audit log's first entry.
///
/// # Errors
/// [`OfflineError`]; an existing vault or key is never touched.
pub fn init(config: &Config) -> Result<Made, OfflineError> {
    files::private_directory(&config.state_directory)?;
    // Before a key is made that nothing would be sealed with.
    match Locked::open(&config.state_directory) {
        Err(VaultError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(VaultError::Exists(config.state_directory.clone()).into()),
    }
    let audit = audit_directory(config)?;
    if let Some(earlier) = earlier_log(&audit) {
        return Err(OfflineError::EarlierLog(earlier));
    }
    let key_file = make_key_file(&config.vault.unlock)?;
    let unlocked = match &config.vault.unlock {
        Unlock::Prompt => create(config, &UnlockKey::Passphrase(unlock::ask_new()?))?,
        given => create(config, &unlock::key(given)?)?,
    };
    let vault_id = unlocked.vault_id();
    AuditLog::create(&audit, unlocked.audit_key())?;
    Ok(Made { vault_id, state_directory: config.state_directory.clone(), key_file })
}

/// What is there of a log in an audit directory, where there should be none.
pub(crate) fn earlier_log(directory: &Path) -> Option<PathBuf> {
    audit::files_of_the_log(directory).ok()?.pop().map(|name| directory.join(name))
}

fn create(config: &Config, key: &UnlockKey) -> Result<Unlocked, VaultError> {
    vault::create(&config.state_directory, &[key.as_new_slot()])
}

/// Unlocks the vault with the key that the configuration names. One that does not fit is counted: see
/// [`audit::count_failed_unlock`].
///
/// # Errors
/// [`OfflineError`].
pub fn unlock(config: &Config, locked: Locked) -> Result<Unlocked, OfflineError> {
    locked.unlock(&unlock::key(&config.vault.unlock)?).map_err(|error| wrong_key(config, error))
}

pub(crate) fn wrong_key(config: &Config, error: VaultError) -> OfflineError {
    if matches!(error, VaultError::WrongKey)
        && let Err(error) = audit::count_failed_unlock(&config.state_directory.join(AUDIT_DIRECTORY))
    {
        tracing::warn!(error = clauses(&error), "a key that did not fit could not be counted");
    }
    error.into()
}

/// Opens the audit log of an unlocked vault, and records there which keys did not fit before.
///
/// # Errors
/// [`OfflineError`].
pub fn audit_log(config: &Config, unlocked: &Unlocked) -> Result<AuditLog, OfflineError> {
    let log = AuditLog::open(&audit_directory(config)?, unlocked.audit_key(), config.audit.clone())?;
    with_failed_unlocks(config, log)
}

/// The same; where the log is lost, a new one begins.
///
/// # Errors
/// [`OfflineError`].
pub fn audit_log_or_new(config: &Config, unlocked: &Unlocked) -> Result<AuditLog, OfflineError> {
    let log = AuditLog::open_or_begin(&audit_directory(config)?, unlocked.audit_key(), config.audit.clone())?;
    with_failed_unlocks(config, log)
}

fn with_failed_unlocks(config: &Config, log: AuditLog) -> Result<AuditLog, OfflineError> {
    let directory = audit_directory(config)?;
    audit::record_failed_unlocks(&directory, &log)?;
    Ok(log)
}

fn audit_directory(config: &Config) -> Result<PathBuf, FileError> {
    let directory = config.state_directory.join(AUDIT_DIRECTORY);
    files::private_directory(&directory)?;
    Ok(directory)
}

/// Verifies the audit log, and that these entries are in it: see [`audit::verify`].
///
/// # Errors
/// [`OfflineError`]; a log that does not verify is a [`Verdict`].
pub fn verify_audit(
    config: &Config,
    anchors: &[Anchor],
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Verdict, OfflineError> {
    let unlocked = unlock(config, Locked::open(&config.state_directory)?)?;
    Ok(audit::verify(&unlocked.audit_key(), &config.state_directory.join(AUDIT_DIRECTORY), anchors, progress)?)
}

/// Reads the audit log's entries, each once it is checked: see [`audit::read`].
///
/// # Errors
/// [`OfflineError`], or what `each` gives.
pub fn read_audit<E: From<OfflineError> + From<VerifyError>>(
    config: &Config,
    each: impl FnMut(Record) -> Result<(), E>,
) -> Result<Option<(Place, Fault)>, E> {
    let locked = Locked::open(&config.state_directory).map_err(OfflineError::from)?;
    let unlocked = unlock(config, locked)?;
    audit::read(&unlocked.audit_key(), &config.state_directory.join(AUDIT_DIRECTORY), each)
}

/// The vault's key slots, as its header has them. Needs no key, so nothing vouches for them.
///
/// # Errors
/// [`OfflineError::Vault`].
pub fn slots(config: &Config) -> Result<Vec<SlotSummary>, OfflineError> {
    Ok(Locked::open(&config.state_directory)?.slots())
}

/// What `key add` made.
#[derive(Debug, Serialize)]
pub struct Added {
    /// The new slot.
    pub slot: Uuid,
    /// The key file that was made, if there was none.
    pub key_file: Option<PathBuf>,
}

/// Adds a key slot for the key that `new` names. A key file that is not there is made. A daemon may run meanwhile.
///
/// # Errors
/// [`OfflineError`]; the slots are as they were.
pub fn add_key(config: &Config, new: &Unlock) -> Result<Added, OfflineError> {
    // Before it is named anywhere: it may be the key itself, in the wrong place.
    if unlock::source(new).is_some_and(|source| !source.is_well_formed()) {
        return Err(OfflineError::NotASource);
    }
    let unlocked = unlock(config, Locked::open(&config.state_directory)?)?;
    let audit = audit_log(config, &unlocked)?;
    let key_file = make_key_file(new)?;
    let key = match new {
        Unlock::Prompt => UnlockKey::Passphrase(unlock::ask_new()?),
        given => unlock::key(given)?,
    };
    audit.record_synced(&Event::new(Action::AddSlot, Outcome::Begun))?;
    let slot = unlocked.add_slot(&config.state_directory, &key.as_new_slot())?;
    audit.record_synced(&Event::new(Action::AddSlot, Outcome::Done).slot(slot))?;
    Ok(Added { slot, key_file })
}

/// Removes a key slot: its key unlocks the vault no more. A daemon may run meanwhile, and stays unlocked.
///
/// # Errors
/// [`OfflineError`]; the slots are as they were.
pub fn remove_key(config: &Config, slot: Uuid) -> Result<(), OfflineError> {
    let unlocked = unlock(config, Locked::open(&config.state_directory)?)?;
    let audit = audit_log(config, &unlocked)?;
    audit.record_synced(&Event::new(Action::RemoveSlot, Outcome::Begun).slot(slot))?;
    let removed = unlocked.remove_slot(&config.state_directory, slot);
    let outcome = if removed.is_ok() { Outcome::Done } else { Outcome::Failed };
    audit.record_synced(&Event::new(Action::RemoveSlot, outcome).slot(slot))?;
    Ok(removed?)
}

fn make_key_file(unlock: &Unlock) -> Result<Option<PathBuf>, OfflineError> {
    match unlock {
        Unlock::KeyFile(path) if !path.exists() => {
            files::create_new(path, random_key()?.expose_secret(), 0o600)?;
            Ok(Some(path.clone()))
        }
        _ => Ok(None),
    }
}
