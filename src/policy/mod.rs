//! Pure decisions: which authentications may be pulled in full, and who on this host may see what. Nothing here does
//! I/O; user and group names are numbers by the time they arrive.

mod pull;

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

pub use self::pull::{Effect, PullConfig, PullDecision, PullExplanation, PullRule, Step};
use crate::authentication::{AuthenticationId, Metadata};

/// The rules of `[pull]`, `[access]` and `[workflow_guard]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which authentications are pulled in full.
    pub pull: PullConfig,
    /// Who may ask for what on `api.sock`.
    pub access: AccessConfig,
    /// Who never gets a secret.
    pub workflow_guard: GuardConfig,
}

/// `[access]`: rules that grant; what none grants is refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// The rules; each adds to what the others grant.
    pub rules: Vec<AccessRule>,
}

/// `[workflow_guard]`: through these a workflow could reach a secret, and the secret its logs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// Users, by name or number.
    pub users: Vec<String>,
    /// systemd units, as globs.
    pub units: Vec<String>,
    /// Process names, as globs. Tray's on-prem agent by default.
    pub processes: Vec<String>,
}

impl Default for GuardConfig {
    fn default() -> Self {
        let processes = ["agent-linux-amd64", "agent-linux-arm64"].map(str::to_owned).to_vec();
        Self { users: Vec::new(), units: Vec::new(), processes }
    }
}

/// One rule of `[access]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// What logs call it.
    pub name: String,
    /// Users, by name or number.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, by name or number; supplementary groups count.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What is granted.
    pub grants: Vec<Grant>,
    /// To which authentications it applies.
    #[serde(flatten)]
    pub which: Selector,
}

/// What a caller may be granted. Each is a grant of its own: none includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// See names, owners, services and states.
    Metadata,
    /// Read credentials and user data.
    Read,
    /// Have one pulled anew, and report that its credentials were rejected.
    Refresh,
    /// Ask for a synchronisation.
    Sync,
    /// See and settle what was dropped, and see what a document would do. Only a rule that names no authentications grants
    /// it, by owner or otherwise: whose a dropped document is, is seen once it is read.
    Ingest,
    /// Lock and unlock the vault, rotate its keys, and confirm removals.
    Manage,
}

/// Which authentications. A list that is absent matches every one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Selector {
    /// `externalUserId`s, as globs. A workspace's authentications have none, so a list never matches them.
    pub owners: Option<Vec<String>>,
    /// Service names, as globs.
    pub services: Option<Vec<String>>,
    /// Titles of service environments, as globs.
    pub environments: Option<Vec<String>>,
    /// Ids.
    pub authentications: Option<Vec<AuthenticationId>>,
}

impl Selector {
    /// Whether an authentication is one of those.
    fn matches(&self, metadata: &Metadata) -> bool {
        self.misses(metadata, false).is_none()
    }

    /// Which of the lists an authentication is not on; `None` if it is one of those. `unknown` is whether a service or
    /// an environment that Tray does not name counts as listed. That a workspace has no `externalUserId` is known.
    fn misses(&self, metadata: &Metadata, unknown: bool) -> Option<&'static str> {
        let owner = metadata.owner.external_user_id();
        let service = metadata.service.as_ref().map(|service| service.name.as_str());
        let environment = metadata.environment.as_ref().map(|one| one.title.as_str());
        [
            ("owners", fits(self.owners.as_deref(), owner, false)),
            ("services", fits(self.services.as_deref(), service, unknown)),
            ("environments", fits(self.environments.as_deref(), environment, unknown)),
            ("authentications", self.authentications.as_ref().is_none_or(|ids| ids.contains(&metadata.id))),
        ]
        .into_iter()
        .find_map(|(list, fits)| (!fits).then_some(list))
    }

    /// Whether it names nothing, and so matches everything.
    fn is_everything(&self) -> bool {
        let Self { owners, services, environments, authentications } = self;
        owners.is_none() && services.is_none() && environments.is_none() && authentications.is_none()
    }
}

/// Whether a list of globs, if there is one, has one that matches a value; `unknown` if there is no value.
fn fits(globs: Option<&[String]>, value: Option<&str>, unknown: bool) -> bool {
    globs.is_none_or(|globs| value.map_or(unknown, |value| any_matches(globs, value)))
}

fn any_matches(globs: &[String], value: &str) -> bool {
    globs.iter().any(|glob| WildMatch::new(glob).matches(value))
}

/// Who calls: only what the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group ids, the primary one first.
    pub gids: Vec<u32>,
    /// What it is, besides whose.
    pub process: Process,
}

/// What the kernel could tell of a caller's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// Nothing: this kernel can't name a peer's process.
    Unsupported,
    /// Nothing any more: it has ended, or could not be looked at.
    Vanished,
    /// This.
    Known {
        /// Its systemd units, the innermost last.
        units: Vec<String>,
        /// The names of its program: its command name and, where readable, its executable's file name.
        names: Vec<String>,
    },
}

impl Caller {
    /// The innermost systemd unit.
    pub fn unit(&self) -> Option<&str> {
        match &self.process {
            Process::Known { units, .. } => units.last().map(String::as_str),
            _ => None,
        }
    }
}

/// Whether a caller gets what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum AccessDecision {
    /// It does, by this rule.
    Granted {
        /// The rule's name.
        rule: String,
    },
    /// It does not.
    Refused(Refusal),
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The workflow guard names it.
    WorkflowGuard,
    /// The workflow guard names units or processes, and the caller's are not known any more.
    Vanished,
    /// No rule grants it.
    NoRule,
}

impl Refusal {
    /// The clause, for the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowGuard => "the caller is on the workflow guard's list",
            Self::Vanished => "the workflow guard can't look at the caller: it ended, or /proc hides it",
            Self::NoRule => "no access rule grants it",
        }
    }
}

/// A user or group that a rule names and the system does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} names the {kind} {}, which this system does not know", shown_name(.name))]
pub struct UnknownAccount {
    place: String,
    kind: &'static str,
    name: String,
}

/// A name as it may be shown: one that is longer than any account's could be a secret in the wrong place.
fn shown_name(name: &str) -> String {
    const LONGEST: usize = 32;
    if name.len() <= LONGEST { format!("{name:?}") } else { "(too long for a name)".to_owned() }
}

/// The policy in force: rules whose names are resolved.
#[derive(Clone, Debug)]
pub struct Policy {
    pull: Vec<PullRule>,
    access: Vec<ResolvedRule>,
    guard: Guard,
}

#[derive(Clone, Debug)]
struct ResolvedRule {
    rule: AccessRule,
    uids: Vec<u32>,
    gids: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Guard {
    uids: Vec<u32>,
    units: Vec<String>,
    processes: Vec<String>,
}

impl Policy {
    /// Resolves the names in the rules by the given look-ups.
    ///
    /// # Errors
    /// [`UnknownAccount`]: a name that would silently match nobody is a mistake.
    pub fn new(
        config: &Config,
        uid: impl Fn(&str) -> Option<u32>,
        gid: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, UnknownAccount> {
        let access = config.access.rules.iter().map(|rule| {
            let place = format!("access rule {:?}", rule.name);
            Ok(ResolvedRule {
                uids: resolve(&rule.users, "user", &place, &uid)?,
                gids: resolve(&rule.groups, "group", &place, &gid)?,
                rule: rule.clone(),
            })
        });
        Ok(Self {
            pull: config.pull.rules.clone(),
            access: access.collect::<Result<_, _>>()?,
            guard: Guard {
                uids: resolve(&config.workflow_guard.users, "user", "workflow_guard", &uid)?,
                units: config.workflow_guard.units.clone(),
                processes: config.workflow_guard.processes.clone(),
            },
        })
    }

    /// Whether a caller gets `grant` on one authentication. The guard comes first, whatever rule matches.
    pub fn access(&self, caller: &Caller, grant: Grant, metadata: &Metadata) -> AccessDecision {
        self.decide(caller, grant, |rule| rule.which.matches(metadata))
    }

    /// Whether a caller gets `grant` on every authentication there is or may be: only such a one is told whether one
    /// exists that it names.
    pub fn access_everything(&self, caller: &Caller, grant: Grant) -> AccessDecision {
        self.decide(caller, grant, |rule| rule.which.is_everything())
    }

    /// Whether a caller gets `grant` at all, on whichever authentications.
    pub fn access_any(&self, caller: &Caller, grant: Grant) -> AccessDecision {
        self.decide(caller, grant, |_| true)
    }

    fn decide(&self, caller: &Caller, grant: Grant, applies: impl Fn(&AccessRule) -> bool) -> AccessDecision {
        if grant == Grant::Read
            && let Some(refusal) = self.guard.refuses(caller)
        {
            return AccessDecision::Refused(refusal);
        }
        self.access
            .iter()
            .find(|resolved| resolved.names(caller) && resolved.rule.grants.contains(&grant) && applies(&resolved.rule))
            .map_or(AccessDecision::Refused(Refusal::NoRule), |resolved| AccessDecision::Granted {
                rule: resolved.rule.name.clone(),
            })
    }
}

impl ResolvedRule {
    fn names(&self, caller: &Caller) -> bool {
        self.uids.contains(&caller.uid) || self.gids.iter().any(|gid| caller.gids.contains(gid))
    }
}

impl Guard {
    /// The kernel cuts a command name to this many bytes (`TASK_COMM_LEN` less its terminator, `proc_pid_comm(5)`).
    const COMMAND_LEN: usize = 15;

    fn refuses(&self, caller: &Caller) -> Option<Refusal> {
        let looks_at_processes = !self.units.is_empty() || !self.processes.is_empty();
        let covered = match &caller.process {
            _ if self.uids.contains(&caller.uid) => true,
            Process::Vanished if looks_at_processes => return Some(Refusal::Vanished),
            Process::Vanished | Process::Unsupported => false,
            Process::Known { units, names } => {
                units.iter().any(|unit| any_matches(&self.units, unit)) || names.iter().any(|name| self.names(name))
            }
        };
        covered.then_some(Refusal::WorkflowGuard)
    }

    fn names(&self, name: &str) -> bool {
        let is_cut = name.len() == Self::COMMAND_LEN;
        any_matches(&self.processes, name) || (is_cut && self.processes.iter().any(|glob| glob.starts_with(name)))
    }
}

fn resolve(
    names: &[String],
    kind: &'static str,
    place: &str,
    look_up: &impl Fn(&str) -> Option<u32>,
) -> Result<Vec<u32>, UnknownAccount> {
    let one = |name: &String| {
        look_up(name).ok_or_else(|| UnknownAccount { place: place.to_owned(), kind, name: name.clone() })
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::authentication::{ExternalUserId, Owner, Service, UserId};

    pub(super) fn of(owner: &str, service: &str) -> Metadata {
        Metadata {
            id: AuthenticationId(Uuid::from_u128(7)),
            name: "any".to_owned(),
            owner: Owner::EndUser {
                user_id: UserId(format!("id of {owner}")),
                external_user_id: ExternalUserId(owner.to_owned()),
            },
            service: Some(Service { name: service.to_owned(), version: "1".to_owned() }),
            environment: None,
            scopes: None,
        }
    }

    pub(super) fn policy(text: &str) -> Policy {
        let config: Config = toml::from_str(text).expect("a valid policy");
        Policy::new(&config, |name| name.parse().ok(), |name| name.parse().ok()).expect("known accounts")
    }

    fn caller(uid: u32) -> Caller {
        Caller { uid, gids: vec![uid], process: named("billing") }
    }

    fn named(name: &str) -> Process {
        let units = vec!["outer.service".to_owned(), "inner.scope".to_owned()];
        Process::Known { units, names: vec![name.to_owned()] }
    }

    const BILLING: &str = r#"
        [[access.rules]]
        name = "billing"
        users = ["1000"]
        grants = ["read"]
        services = ["sales*"]
    "#;

    #[test]
    fn without_a_rule_nothing_is_pulled_and_nobody_reads() {
        let policy = policy("");
        assert_eq!(policy.pull(&of("acme-1", "slack")), PullDecision::Refused { rule: None });
        assert_eq!(
            policy.access(&caller(0), Grant::Read, &of("acme-1", "slack")),
            AccessDecision::Refused(Refusal::NoRule)
        );
    }

    #[test]
    fn a_rule_grants_only_what_it_names_to_whom_it_names() {
        let policy = policy(BILLING);
        let granted = AccessDecision::Granted { rule: "billing".to_owned() };
        assert_eq!(policy.access(&caller(1000), Grant::Read, &of("acme-1", "salesforce")), granted);
        let refused = AccessDecision::Refused(Refusal::NoRule);
        assert_eq!(policy.access(&caller(1000), Grant::Read, &of("acme-1", "slack")), refused);
        assert_eq!(policy.access(&caller(1000), Grant::Metadata, &of("acme-1", "salesforce")), refused);
        assert_eq!(policy.access(&caller(1001), Grant::Read, &of("acme-1", "salesforce")), refused);
        assert_eq!(policy.access_any(&caller(1000), Grant::Sync), refused);
    }

    #[test]
    fn the_workflow_guard_comes_before_every_rule() {
        let policy = policy(BILLING);
        for name in ["agent-linux-amd64", "agent-linux-arm64", "agent-linux-amd"] {
            let agent = Caller { process: named(name), ..caller(1000) };
            assert_eq!(
                policy.access(&agent, Grant::Read, &of("acme-1", "salesforce")),
                AccessDecision::Refused(Refusal::WorkflowGuard),
                "{name}"
            );
        }
    }

    #[test]
    fn a_guarded_unit_covers_what_runs_inside_it() {
        let policy = policy(&format!("{BILLING}\n[workflow_guard]\nunits = [\"outer.*\"]\nprocesses = []"));
        assert_eq!(
            policy.access(&caller(1000), Grant::Read, &of("acme-1", "salesforce")),
            AccessDecision::Refused(Refusal::WorkflowGuard)
        );
    }

    #[test]
    fn a_caller_that_can_not_be_looked_at_any_more_gets_no_secret() {
        let vanished = Caller { process: Process::Vanished, ..caller(1000) };
        let of_salesforce = of("acme-1", "salesforce");
        assert_eq!(
            policy(BILLING).access(&vanished, Grant::Read, &of_salesforce),
            AccessDecision::Refused(Refusal::Vanished)
        );
        let by_users_alone = policy(&format!("{BILLING}\n[workflow_guard]\nprocesses = []"));
        let granted = AccessDecision::Granted { rule: "billing".to_owned() };
        assert_eq!(by_users_alone.access(&vanished, Grant::Read, &of_salesforce), granted);
    }

    #[test]
    fn only_a_rule_for_everything_grants_everything() {
        let everything = "[[access.rules]]\nname = \"all\"\nusers = [\"1000\"]\ngrants = [\"read\"]";
        let granted = AccessDecision::Granted { rule: "all".to_owned() };
        assert_eq!(policy(everything).access_everything(&caller(1000), Grant::Read), granted);
        let refused = AccessDecision::Refused(Refusal::NoRule);
        assert_eq!(policy(BILLING).access_everything(&caller(1000), Grant::Read), refused);
    }

    #[test]
    fn an_unknown_account_is_an_error_that_names_it() {
        let config: Config = toml::from_str(&BILLING.replace("1000", "nobody-here")).expect("a valid policy");
        let error = Policy::new(&config, |_| None, |_| None).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "access rule \"billing\" names the user \"nobody-here\", which this system does not know"
        );
    }
}
