//! Looks at what a configuration names on this host, and says what would stop the daemon.

use std::path::Path;

use serde::Serialize;

use crate::{
    clauses::clauses,
    config::{Config, ConfigError, Unlock},
    custody::{self, TokenError},
    offline::{vault_hint, wrong_key},
    source::{Source, SourceError},
    system::{
        files, peer,
        secret_memory::{self, Protection},
    },
    tray::Tray,
    unlock::{self, UnlockError},
    vault::{Locked, VaultError},
};

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
    if let Err(error @ TokenError::Same) = custody::read_tokens(&config.tokens) {
        findings.push(Finding::new("tokens", Standing::Bad, error.to_string()).hint(error.hint()));
    }
    findings.push(match Tray::new(&config.tray) {
        Ok(_) => {
            let hosts = format!("{}, {}", config.tray.api_url(), config.tray.graphql_url());
            Finding::new("Tray", Standing::Good, hosts)
        }
        Err(error) => Finding::new("Tray", Standing::Bad, clauses(&error)).hint(error.hint()),
    });
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
    findings.push(match secret_memory::protection() {
        Protection::Secret => Finding::new("memory", Standing::Good, "keys are kept in memfd_secret memory"),
        Protection::Locked => {
            Finding::new("memory", Standing::Good, "keys are kept in locked memory (no memfd_secret here)")
        }
        Protection::Unlocked => Finding::new("memory", Standing::Note, "no memory can be locked: keys may be swapped")
            .hint("raise LimitMEMLOCK= in the unit, or ulimit -l".to_owned()),
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
