//! `[workflow_guard]`: through these a workflow could reach a secret, and the secret its logs.

use serde::{Deserialize, Serialize};

use super::{
    PolicyError,
    access::Refusal,
    caller::{Caller, Process},
    glob::{Glob, any_matches},
    resolve,
};

/// `[workflow_guard]`: who never gets a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// Users, by name or number.
    pub users: Vec<String>,
    /// systemd units.
    pub units: Vec<Glob>,
    /// Process names. Tray's on-prem agent by default.
    pub processes: Vec<Glob>,
}

impl Default for GuardConfig {
    fn default() -> Self {
        let processes = AGENTS.map(|name| Glob::from(name.to_owned())).to_vec();
        Self { users: Vec::new(), units: Vec::new(), processes }
    }
}

/// What Tray's on-prem agent is called (`tray-api.md`, "On-prem agent"); each host wraps it in a unit of its own.
const AGENTS: [&str; 2] = ["agent-linux-amd64", "agent-linux-arm64"];

/// Whether one of the names of a process is that of Tray's on-prem agent.
pub fn is_agent(names: &[String]) -> bool {
    names.iter().any(|name| AGENTS.iter().any(|agent| name == agent || (is_cut(name) && agent.starts_with(name))))
}

/// The kernel cuts a command name to this many bytes (`TASK_COMM_LEN` less its terminator, `proc_pid_comm(5)`).
const COMMAND_LEN: usize = 15;

fn is_cut(name: &str) -> bool {
    name.len() == COMMAND_LEN
}

/// The guard in force.
#[derive(Clone, Debug)]
pub struct Guard {
    uids: Vec<u32>,
    config: GuardConfig,
}

impl Guard {
    pub(super) fn new(config: &GuardConfig, uid: impl Fn(&str) -> Option<u32>) -> Result<Self, PolicyError> {
        let uids = resolve(&config.users, "user", "workflow_guard", &uid)?;
        Ok(Self { uids, config: config.clone() })
    }

    /// Whom it names, as the configuration does.
    pub fn config(&self) -> &GuardConfig {
        &self.config
    }

    /// Why a caller never gets a secret; `None` if nothing here is in the way.
    pub(super) fn refuses(&self, caller: &Caller) -> Option<Refusal> {
        if self.uids.contains(&caller.uid) {
            return Some(Refusal::WorkflowGuard);
        }
        match &caller.process {
            Process::Vanished if self.looks_at_processes() => Some(Refusal::Vanished),
            Process::Vanished | Process::Unsupported => None,
            Process::Known { units, names, .. } if self.names_process(units, names) => Some(Refusal::WorkflowGuard),
            Process::Known { beside_guarded, .. } => beside_guarded.then_some(Refusal::BesideGuarded),
        }
    }

    /// Whether it has to know what processes are, and not only whose.
    pub fn looks_at_processes(&self) -> bool {
        !self.config.units.is_empty() || !self.config.processes.is_empty()
    }

    /// Whether it names a unit.
    pub fn names_unit(&self, unit: &str) -> bool {
        any_matches(&self.config.units, unit)
    }

    /// Whether it names a process, by one of its units or names.
    pub fn names_process(&self, units: &[String], names: &[String]) -> bool {
        units.iter().any(|unit| self.names_unit(unit)) || names.iter().any(|name| self.names_program(name, names))
    }

    /// Whether it names a process in either of these ways, or its user.
    pub fn covers(&self, uid: u32, units: &[String], names: &[String]) -> bool {
        self.uids.contains(&uid) || self.names_process(units, names)
    }

    /// A name that is cut may be the beginning of any that a glob matches, unless the whole of it is known.
    fn names_program(&self, name: &str, all: &[String]) -> bool {
        let is_cut = is_cut(name) && !all.iter().any(|other| other.len() > name.len() && other.starts_with(name));
        any_matches(&self.config.processes, name)
            || (is_cut && self.config.processes.iter().any(|glob| glob.begins_with(name)))
    }
}
