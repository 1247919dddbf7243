//! Looks at what a configuration names on this host, and says what would stop the daemon.

use std::path::Path;

use serde::Serialize;

use crate::{
    clauses::clauses,
    config::{Config, ConfigError, Unlock},
    custody::{self, TokenError},
    offline::{vault_hint, wrong_key},
    policy::{Guard, is_agent},
    source::{Source, SourceError},
    system::{
        files, peer,
        process::{self, Process},
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
    pub(crate) fn new(subject: &'static str, standing: Standing, detail: impl Into<String>) -> Self {
        Self { subject, standing, detail: detail.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
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
    let credentials = Some(config.credential.len()).filter(|count| *count > 0);
    findings.extend(credentials.map(|count| Finding::new("credential rules", Standing::Good, count.to_string())));
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
            .hint(
                "units in [access] and in [workflow_guard], and its processes, match nobody here: name users instead"
                    .to_owned(),
            ),
    });
    findings.push(workflow_guard(config.policy(path)?.guard(), process::all().map_err(|_| ())));
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

/// Tray's on-prem agent is the door through which a workflow reaches this host (the contract).
fn workflow_guard(guard: &Guard, running: Result<Vec<Process>, ()>) -> Finding {
    let subject = "workflow guard";
    let Ok(running) = running else {
        return Finding::new(subject, Standing::Note, "whether Tray's on-prem agent runs here can't be seen in /proc");
    };
    let agents: Vec<_> = running.iter().filter(|process| is_agent(&process.names)).collect();
    let open = agents.iter().find(|agent| !agent.uid.is_some_and(|uid| guard.covers(uid, &agent.units, &agent.names)));
    match open {
        Some(agent) => {
            let place = agent.units.first().map_or_else(|| "in no unit".to_owned(), |unit| format!("in {unit}"));
            let detail = format!("Tray's on-prem agent runs {place}, and no rule of it covers that");
            let hint = agent.units.first().map_or_else(
                || "name its process in workflow_guard.processes, as it is by default".to_owned(),
                |unit| format!("add {unit:?} to workflow_guard.units"),
            );
            Finding::new(subject, Standing::Note, detail).hint(hint)
        }
        None if agents.is_empty() => Finding::new(subject, Standing::Good, "no on-prem agent of Tray's runs here"),
        None => Finding::new(subject, Standing::Good, "covers Tray's on-prem agent, which runs here"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{self, Policy};

    fn process(name: &str, unit: &str, uid: u32) -> Process {
        Process {
            unit: Some(unit.to_owned()),
            units: vec![unit.to_owned()],
            control_group: Some(format!("/system.slice/{unit}")),
            names: vec![name.to_owned()],
            uid: Some(uid),
            gids: Vec::new(),
        }
    }

    fn found(rules: &str, running: Vec<Process>) -> (Standing, String) {
        let rules: policy::Config = toml::from_str(rules).expect("rules");
        let policy = Policy::new(&rules, |name| name.parse().ok(), |_| None, 0).expect("a policy");
        let Finding { standing, detail, hint, .. } = workflow_guard(policy.guard(), Ok(running));
        (standing, format!("{detail}\n{}", hint.unwrap_or_default()))
    }

    #[test]
    fn an_agent_that_no_rule_of_the_guard_covers_is_worth_a_note() {
        let running = || vec![process("sh", "sh.service", 0), process("agent-linux-amd64", "tray.service", 7)];
        assert_eq!(found("", running()), (Standing::Good, "covers Tray's on-prem agent, which runs here\n".to_owned()));
        let none = "[workflow_guard]\nprocesses = []\n";
        let open = "Tray's on-prem agent runs in tray.service, and no rule of it covers that\n\
                    add \"tray.service\" to workflow_guard.units";
        assert_eq!(found(none, running()), (Standing::Note, open.to_owned()));
        for covered in ["units = [\"tray*\"]", "users = [\"7\"]"] {
            assert_eq!(found(&format!("{none}{covered}"), running()).0, Standing::Good, "{covered}");
        }
        // The kernel cuts a command name, and an executable's can be unreadable.
        assert_eq!(found(none, vec![process("agent-linux-arm", "x.service", 7)]).0, Standing::Note);
        assert_eq!(found(none, Vec::new()).1, "no on-prem agent of Tray's runs here\n");
    }
}
