//! What is done without a daemon: making the vault, checking a configuration on this host, verifying the audit log.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::{
    audit::{self, AuditError, AuditLog, Fault, Verdict},
    clauses::clauses,
    config::{Config, ConfigError, Unlock},
    crypto::{CryptoError, random_key},
    source::{Source, SourceError},
    system::{
        files::{self, FileError},
        peer,
    },
    unlock::{self, UnlockError},
    vault::{self, Locked, UnlockKey, Unlocked, VaultError},
};

/// The audit log's directory in the state directory.
pub const AUDIT_DIRECTORY: &str = "audit";

/// How often, and after which pause, a torn last line is looked at again before it is believed.
const TORN_TRIES: usize = 5;
const TORN_PAUSE: Duration = Duration::from_millis(20);

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
    /// The audit log can't be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is an audit log, and no vault that it is of.
    #[error("there is an audit log {} of an earlier vault", .0.display())]
    EarlierLog(PathBuf),
    /// The audit log can't be read.
    #[error("the audit log {} can't be read", path.display())]
    UnreadableLog {
        /// The log's file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
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
            Self::UnreadableLog { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("it is made by: trayvault init".to_owned())
            }
            Self::EarlierLog(_) => Some("move it aside: a new vault begins a log of its own".to_owned()),
            Self::Crypto(_) | Self::UnreadableLog { .. } => None,
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
    pub vault_id: uuid::Uuid,
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
    let earlier = audit.join(audit::FILE_NAME);
    if earlier.symlink_metadata().is_ok() {
        return Err(OfflineError::EarlierLog(earlier));
    }
    let key_file = match &config.vault.unlock {
        Unlock::KeyFile(path) if !path.exists() => {
            files::create_new(path, random_key()?.expose_secret(), 0o600)?;
            Some(path.clone())
        }
        _ => None,
    };
    let unlocked = match &config.vault.unlock {
        Unlock::Prompt => create(config, &UnlockKey::Passphrase(unlock::ask_new()?))?,
        given => create(config, &unlock::key(given)?)?,
    };
    let vault_id = unlocked.vault_id();
    AuditLog::create(&audit, unlocked.audit_key())?;
    Ok(Made { vault_id, state_directory: config.state_directory.clone(), key_file })
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

fn wrong_key(config: &Config, error: VaultError) -> OfflineError {
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
    let directory = audit_directory(config)?;
    let log = AuditLog::open(&directory, unlocked.audit_key())?;
    audit::record_failed_unlocks(&directory, &log)?;
    Ok(log)
}

fn audit_directory(config: &Config) -> Result<PathBuf, FileError> {
    let directory = config.state_directory.join(AUDIT_DIRECTORY);
    files::private_directory(&directory)?;
    Ok(directory)
}

/// Verifies the audit log. The daemon may go on writing meanwhile.
///
/// # Errors
/// [`OfflineError`]; a log that does not verify is a [`Verdict`].
pub fn verify_audit(config: &Config) -> Result<Verdict, OfflineError> {
    let unlocked = unlock(config, Locked::open(&config.state_directory)?)?;
    let path = config.state_directory.join(AUDIT_DIRECTORY).join(audit::FILE_NAME);
    let read = || audit::verify(&unlocked.audit_key(), &mut BufReader::new(File::open(&path)?));
    let mut verdict = read();
    for _ in 0..TORN_TRIES {
        if !matches!(verdict, Ok(Verdict::Broken { fault: Fault::Torn, .. })) {
            break;
        }
        // The daemon may be in the middle of this very line.
        std::thread::sleep(TORN_PAUSE);
        verdict = read();
    }
    verdict.map_err(|source| OfflineError::UnreadableLog { path, source })
}

/// One thing that `check` looked at.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What it is about.
    pub subject: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// As it has to be.
    Good,
    /// Worth knowing, or yet to come.
    Note,
    /// The daemon would not start.
    Bad,
}

impl Finding {
    fn new(subject: &'static str, standing: Standing, detail: impl Into<String>) -> Self {
        Self { subject, standing, detail: detail.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// Looks at what a configuration names on this host. Nothing is sent, and nothing is changed but
/// the count of keys that did not fit.
///
/// # Errors
/// [`ConfigError`]: the configuration itself is wrong.
pub fn check(path: &Path) -> Result<Vec<Finding>, ConfigError> {
    let config = Config::load(path)?;
    let mut findings = vec![Finding::new("configuration", Standing::Good, path.display().to_string())];
    findings.push(key_and_vault(&config));
    for (subject, source) in [("master token", &config.tokens.master), ("API user's token", &config.tokens.api_user)] {
        findings.extend(source.as_ref().map(|source| token(subject, source)));
    }
    findings.push(Finding::new(
        "Tray",
        Standing::Good,
        format!("{}, {}", config.tray.api_url(), config.tray.graphql_url()),
    ));
    findings.push(match config.pull.rules.len() {
        0 => Finding::new("pull rules", Standing::Note, "none: nothing is pulled in full")
            .hint("add [[pull.rules]]".to_owned()),
        count => Finding::new("pull rules", Standing::Good, count.to_string()),
    });
    findings.push(match config.access.rules.len() {
        0 => Finding::new("access rules", Standing::Note, "none: nobody reads anything")
            .hint("add [[access.rules]]".to_owned()),
        count => Finding::new("access rules", Standing::Good, count.to_string()),
    });
    findings.push(match &config.ingest.directory {
        Some(directory) if directory.exists() => {
            Finding::new("drop directory", Standing::Good, directory.display().to_string())
        }
        Some(directory) => Finding::new(
            "drop directory",
            Standing::Note,
            format!("{}, which the daemon will make", directory.display()),
        ),
        None => Finding::new("drop directory", Standing::Note, "none is configured"),
    });
    findings.push(match peer::has_peer_pidfd() {
        Ok(true) => Finding::new("kernel", Standing::Good, "names the units and processes of callers"),
        _ => Finding::new("kernel", Standing::Note, "can't name the unit or process of a caller (no SO_PEERPIDFD)")
            .hint("workflow_guard.units and .processes match nobody here: name users instead".to_owned()),
    });
    Ok(findings)
}

fn key_and_vault(config: &Config) -> Finding {
    let subject = "vault";
    let found = match Locked::open(&config.state_directory) {
        Err(VaultError::Missing(_)) => {
            return Finding::new(subject, Standing::Note, format!("none in {} yet", config.state_directory.display()))
                .hint("make it with: trayvault init".to_owned());
        }
        Err(error) => return Finding::new(subject, Standing::Bad, clauses(&error)).hint(vault_hint(&error)),
        Ok(locked) => locked,
    };
    // It is there, so this only looks at it.
    if let Err(error) = files::private_directory(&config.state_directory) {
        return Finding::new(subject, Standing::Bad, clauses(&error)).hint(error.hint());
    }
    if config.vault.unlock == Unlock::Prompt {
        return Finding::new(subject, Standing::Good, "its passphrase is asked for at the start");
    }
    match unlock::key(&config.vault.unlock) {
        Err(UnlockError::Source(SourceError::NoCredentials(name))) => given_by_systemd(subject, &name),
        Err(error) => Finding::new(subject, Standing::Bad, clauses(&error)).hint(error.hint()),
        Ok(key) => match found.unlock(&key).map_err(|error| wrong_key(config, error)) {
            Ok(_) => Finding::new(subject, Standing::Good, "its key fits"),
            Err(error) => Finding::new(subject, Standing::Bad, clauses(&error)).hint(error.hint()),
        },
    }
}

fn token(subject: &'static str, source: &Source) -> Finding {
    match source.read() {
        Ok(_) => {
            let place = match source {
                Source::File(path) => path.display().to_string(),
                Source::Credential(name) => format!("credential {name}"),
            };
            Finding::new(subject, Standing::Good, place)
        }
        Err(SourceError::NoCredentials(name)) => given_by_systemd(subject, &name),
        Err(error) => Finding::new(subject, Standing::Bad, clauses(&error)).hint(error.hint()),
    }
}

fn given_by_systemd(subject: &'static str, name: &str) -> Finding {
    Finding::new(subject, Standing::Note, format!("the credential {name:?}, which systemd gives at the start"))
}
