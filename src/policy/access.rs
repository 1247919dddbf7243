//! `[access]`: who may do what on `api.sock`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Policy, PolicyError,
    caller::Caller,
    glob::{Glob, any_matches},
    rate::{Allowance, Rate},
    resolve,
    selector::Selector,
};
use crate::{authentication::Metadata, pointer::Pointer};

/// `[access]`: rules that grant; what none grants is refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// The rules; each adds to what the others grant.
    pub rules: Vec<AccessRule>,
}

/// One rule of `[access]`. It names whoever is one of its users or in one of its groups, and in one of its units; where
/// it has no units, or neither users nor groups, the rest decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// What the audit log and `why` call it.
    pub name: String,
    /// Users, by name or number.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, by name or number; supplementary groups count.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Units of the system's systemd.
    #[serde(default)]
    pub units: Vec<Glob>,
    /// What is granted.
    pub grants: Vec<Grant>,
    /// To which authentications it applies.
    #[serde(flatten)]
    pub which: Selector,
    /// What of them may be read: these values, and what is in them. All of it, if absent.
    pub fields: Option<Vec<Pointer>>,
    /// How often each user gets something by this rule. As often as it asks, if absent.
    pub rate: Option<Rate>,
}

/// What a caller may be granted. Each is a grant of its own: none includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// See how the daemon stands. Root and the daemon's own user always may.
    Status,
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
    /// Lock and unlock the vault, rotate its keys, confirm removals, and have decisions explained.
    Manage,
}

impl Grant {
    /// As the configuration names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Metadata => "metadata",
            Self::Read => "read",
            Self::Refresh => "refresh",
            Self::Sync => "sync",
            Self::Ingest => "ingest",
            Self::Manage => "manage",
        }
    }
}

/// What a grant is asked for on.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// One authentication.
    One(&'a Metadata),
    /// A part of one.
    Part(&'a Metadata, &'a Pointer),
    /// Every authentication there is or may be: only whoever has that is told whether one exists.
    Everything,
    /// Whichever there are.
    Any,
}

/// Whether a caller gets what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum AccessDecision {
    /// It does, by this rule.
    Granted {
        /// The rule's name.
        rule: Arc<str>,
    },
    /// It does not.
    Refused(Refusal),
}

impl AccessDecision {
    /// Whether it grants.
    pub fn is_granted(&self) -> bool {
        matches!(self, Self::Granted { .. })
    }
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// No rule grants it.
    NoRule,
    /// A rule grants it, but of other fields.
    OtherFields,
    /// A rule grants it, but not so often.
    TooOften,
    /// The workflow guard names units or processes, and the caller's are not known any more.
    Vanished,
    /// The workflow guard names a process in the caller's control group.
    BesideGuarded,
    /// The workflow guard names the caller.
    WorkflowGuard,
}

impl Refusal {
    /// The clause, for the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no access rule grants it",
            Self::OtherFields => "the access rules that grant it name other fields",
            Self::TooOften => "the rate of the access rule is used up",
            Self::Vanished => "the workflow guard can't look at the caller: it ended, or /proc hides it",
            Self::BesideGuarded => "a process on the workflow guard's list runs in the caller's control group",
            Self::WorkflowGuard => "the caller is on the workflow guard's list",
        }
    }

    /// Whether it is the workflow guard's.
    pub fn is_guards(self) -> bool {
        matches!(self, Self::Vanished | Self::BesideGuarded | Self::WorkflowGuard)
    }
}

/// A rule whose names are resolved.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    name: Arc<str>,
    pub(super) config: AccessRule,
    uids: Vec<u32>,
    gids: Vec<u32>,
    allowance: Option<Allowance>,
}

/// What about a rule is in the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// It does not name the caller, by this list.
    Who(&'static str),
    /// It does not grant that.
    Grant,
    /// It does not apply to the authentication, by this list.
    Which(&'static str),
    /// It grants other fields.
    Fields,
}

impl Rule {
    pub(super) fn new(
        rule: &AccessRule,
        uid: impl Fn(&str) -> Option<u32>,
        gid: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, PolicyError> {
        let place = format!("access rule {:?}", rule.name);
        let wrong = |what, hint| Err(PolicyError::Rule { place: place.clone(), what, hint });
        if rule.users.is_empty() && rule.groups.is_empty() && rule.units.is_empty() {
            return wrong("names nobody", "add users, groups or units");
        }
        if rule.fields.is_some() && !rule.grants.contains(&Grant::Read) {
            return wrong("names fields and does not grant read", "fields are what of an authentication may be read");
        }
        if rule.which.has_impossible_id() {
            return wrong(
                "has an entry in authentications that no id can match",
                "an id is a UUID in lower case, or a glob of one",
            );
        }
        Ok(Self {
            name: rule.name.as_str().into(),
            uids: resolve(&rule.users, "user", &place, &uid)?,
            gids: resolve(&rule.groups, "group", &place, &gid)?,
            allowance: rule.rate.map(Allowance::new),
            config: rule.clone(),
        })
    }

    /// What is in the way first; `None` if it grants, as far as its rate goes.
    pub(super) fn misses(&self, caller: &Caller, grant: Grant, what: What<'_>) -> Option<Miss> {
        if let Some(list) = self.misses_caller(caller) {
            return Some(Miss::Who(list));
        }
        if !self.config.grants.contains(&grant) {
            return Some(Miss::Grant);
        }
        let which = &self.config.which;
        match what {
            What::Any => None,
            What::Everything if which.is_everything() => None,
            What::Everything => Some(Miss::Which("the rule is not for every authentication")),
            What::One(metadata) | What::Part(metadata, _) => which.misses(metadata, false).map(Miss::Which),
        }
        .or_else(|| (grant == Grant::Read && !self.gives(what)).then_some(Miss::Fields))
    }

    fn misses_caller(&self, caller: &Caller) -> Option<&'static str> {
        let AccessRule { users, groups, units, .. } = &self.config;
        let by_account = self.uids.contains(&caller.uid) || self.gids.iter().any(|gid| caller.gids.contains(gid));
        let accounts = match (users.is_empty(), groups.is_empty()) {
            (true, true) => None,
            (false, true) => Some("users"),
            (true, false) => Some("groups"),
            (false, false) => Some("users and groups"),
        };
        let by_unit = || units.is_empty() || caller.unit().is_some_and(|unit| any_matches(units, unit));
        accounts.filter(|_| !by_account).or_else(|| (!by_unit()).then_some("units"))
    }

    fn gives(&self, what: What<'_>) -> bool {
        let Some(fields) = &self.config.fields else { return true };
        match what {
            What::Part(_, pointer) => fields.iter().any(|field| pointer.is_within(field)),
            // Of whichever: some of it.
            What::Any => true,
            What::One(_) | What::Everything => fields.iter().any(Pointer::is_whole),
        }
    }
}

impl Policy {
    /// Whether a caller gets a grant. The workflow guard comes first, whatever rule matches.
    pub fn access(&self, caller: &Caller, grant: Grant, what: What<'_>) -> AccessDecision {
        self.decide(caller, grant, what, |_| true)
    }

    /// The same for one request, which counts against the rate of the rule that grants it.
    pub fn take(&self, caller: &Caller, grant: Grant, what: What<'_>) -> AccessDecision {
        self.decide(caller, grant, what, |allowance| allowance.take(caller.uid))
    }

    fn decide(
        &self,
        caller: &Caller,
        grant: Grant,
        what: What<'_>,
        has_room: impl Fn(&Allowance) -> bool,
    ) -> AccessDecision {
        if grant == Grant::Read
            && let Some(refusal) = self.guard.refuses(caller)
        {
            return AccessDecision::Refused(refusal);
        }
        if grant == Grant::Status && (caller.uid == 0 || caller.uid == self.own_uid) {
            return AccessDecision::Granted { rule: Arc::clone(&self.own_rule) };
        }
        let mut nearest = Refusal::NoRule;
        for rule in &self.access {
            match rule.misses(caller, grant, what) {
                None if rule.allowance.as_ref().is_none_or(&has_room) => {
                    return AccessDecision::Granted { rule: Arc::clone(&rule.name) };
                }
                None => nearest = nearest.max(Refusal::TooOften),
                Some(Miss::Fields) => nearest = nearest.max(Refusal::OtherFields),
                Some(_) => {}
            }
        }
        AccessDecision::Refused(nearest)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            caller::Process,
            tests::{OWN, of, policy},
        },
        *,
    };

    fn caller(uid: u32) -> Caller {
        Caller { uid, gids: vec![uid], process: running("billing") }
    }

    fn running(name: &str) -> Process {
        let units = vec!["outer.service".to_owned(), "inner.scope".to_owned()];
        Process::Known { unit: first(&units), units, names: vec![name.to_owned()], beside_guarded: false }
    }

    fn first(units: &[String]) -> Option<String> {
        units.first().cloned()
    }

    fn pointer(text: &str) -> Pointer {
        text.parse().expect("a pointer")
    }

    fn granted(rule: &str) -> AccessDecision {
        AccessDecision::Granted { rule: rule.into() }
    }

    const NO_RULE: AccessDecision = AccessDecision::Refused(Refusal::NoRule);

    const BILLING: &str = r#"
        [[access.rules]]
        name = "billing"
        users = ["1000"]
        grants = ["read"]
        services = ["sales*"]
    "#;

    #[test]
    fn without_a_rule_nobody_reads_anything() {
        assert_eq!(policy("").access(&caller(0), Grant::Read, What::One(&of("acme-1", "slack"))), NO_RULE);
    }

    #[test]
    fn a_rule_grants_only_what_it_names_to_whom_it_names() {
        let policy = policy(BILLING);
        let (salesforce, slack) = (of("acme-1", "salesforce"), of("acme-1", "slack"));
        assert_eq!(policy.access(&caller(1000), Grant::Read, What::One(&salesforce)), granted("billing"));
        assert_eq!(policy.access(&caller(1000), Grant::Read, What::One(&slack)), NO_RULE);
        assert_eq!(policy.access(&caller(1000), Grant::Metadata, What::One(&salesforce)), NO_RULE);
        assert_eq!(policy.access(&caller(1001), Grant::Read, What::One(&salesforce)), NO_RULE);
        assert_eq!(policy.access(&caller(1000), Grant::Sync, What::Any), NO_RULE);
    }

    #[test]
    fn status_is_granted_by_a_rule_and_always_to_root_and_the_daemons_own_user() {
        let policy = policy("[[access.rules]]\nname = \"monitor\"\nusers = [\"7\"]\ngrants = [\"status\"]");
        assert_eq!(policy.access(&caller(7), Grant::Status, What::Any), granted("monitor"));
        for uid in [0, OWN] {
            assert!(policy.access(&caller(uid), Grant::Status, What::Any).is_granted(), "{uid}");
        }
        assert_eq!(policy.access(&caller(1000), Grant::Status, What::Any), NO_RULE);
    }

    #[test]
    fn a_rule_for_units_names_those_of_the_system_and_not_those_that_a_user_called_so() {
        let policy = policy("[[access.rules]]\nname = \"unit\"\nunits = [\"bill*.service\"]\ngrants = [\"read\"]");
        let inside = |units: &[&str]| {
            let units: Vec<_> = units.iter().map(|unit| (*unit).to_owned()).collect();
            let process =
                Process::Known { unit: first(&units), units, names: vec!["worker".to_owned()], beside_guarded: false };
            policy.access(&Caller { process, ..caller(1000) }, Grant::Read, What::One(&of("acme-1", "slack")))
        };
        assert_eq!(inside(&["billing.service"]), granted("unit"));
        assert_eq!(inside(&["billing.service", "nested.scope"]), granted("unit"));
        assert_eq!(inside(&["user@1000.service", "billing.service"]), NO_RULE);
        assert_eq!(inside(&[]), NO_RULE);
        for process in [Process::Unsupported, Process::Vanished] {
            let unknown = Caller { process, ..caller(1000) };
            assert!(!policy.access(&unknown, Grant::Read, What::One(&of("acme-1", "slack"))).is_granted());
        }
    }

    #[test]
    fn a_rule_for_a_user_and_a_unit_names_that_user_in_that_unit_alone() {
        let rules = "[[access.rules]]\nname = \"both\"\nusers = [\"1000\"]\nunits = [\"outer.*\"]\ngrants = [\"read\"]";
        let read = |caller: &Caller| policy(rules).access(caller, Grant::Read, What::One(&of("acme-1", "slack")));
        assert_eq!(read(&caller(1000)), granted("both"));
        assert_eq!(read(&caller(1001)), NO_RULE);
        let elsewhere =
            Process::Known { unit: None, units: Vec::new(), names: vec!["sh".to_owned()], beside_guarded: false };
        assert_eq!(read(&Caller { process: elsewhere, ..caller(1000) }), NO_RULE);
    }

    #[test]
    fn a_rule_with_fields_gives_those_and_what_is_in_them_and_never_the_whole() {
        let rules = format!("{BILLING}\nfields = [\"/credentials\", \"/userData/region\"]");
        let policy = policy(&rules);
        let salesforce = of("acme-1", "salesforce");
        let read = |field: &str| policy.access(&caller(1000), Grant::Read, What::Part(&salesforce, &pointer(field)));
        for field in ["/credentials", "/credentials/accessToken", "/userData/region"] {
            assert_eq!(read(field), granted("billing"), "{field}");
        }
        let refused = AccessDecision::Refused(Refusal::OtherFields);
        for field in ["", "/", "/userData", "/credential", "/credentials2/accessToken"] {
            assert_eq!(read(field), refused, "{field}");
        }
        assert_eq!(policy.access(&caller(1000), Grant::Read, What::One(&salesforce)), refused);
        assert_eq!(policy.access(&caller(1000), Grant::Read, What::Everything), NO_RULE);
    }

    #[test]
    fn a_rule_with_a_rate_grants_so_often_to_each_user_and_another_rule_beside_it() {
        let rules = "[[access.rules]]\nname = \"rare\"\ngroups = [\"5\"]\ngrants = [\"read\"]\nrate = \"2/h\"\n\
                     [[access.rules]]\nname = \"also\"\nusers = [\"1001\"]\ngrants = [\"read\"]\nrate = \"1/h\"";
        let policy = policy(rules);
        let slack = of("acme-1", "slack");
        let take = |uid| {
            let caller = Caller { gids: vec![5], ..caller(uid) };
            policy.take(&caller, Grant::Read, What::One(&slack))
        };
        let too_often = AccessDecision::Refused(Refusal::TooOften);
        assert_eq!([take(1000), take(1000), take(1000)], [granted("rare"), granted("rare"), too_often.clone()]);
        let of_another = [take(1001), take(1001), take(1001), take(1001)];
        assert_eq!(of_another, [granted("rare"), granted("rare"), granted("also"), too_often]);
        let only_asked = Caller { gids: vec![5], ..caller(1000) };
        assert_eq!(policy.access(&only_asked, Grant::Read, What::One(&slack)), granted("rare"));
    }

    #[test]
    fn the_workflow_guard_comes_before_every_rule() {
        let policy = policy(BILLING);
        let salesforce = of("acme-1", "salesforce");
        for name in ["agent-linux-amd64", "agent-linux-arm64", "agent-linux-amd"] {
            let agent = Caller { process: running(name), ..caller(1000) };
            let decision = policy.access(&agent, Grant::Read, What::One(&salesforce));
            assert_eq!(decision, AccessDecision::Refused(Refusal::WorkflowGuard), "{name}");
        }
        let by_its_end =
            super::super::tests::policy(&format!("{BILLING}\n[workflow_guard]\nprocesses = [\"*-linux-amd64\"]"));
        for (name, refused) in [("agent-linux-amd64", true), ("agent-linux-amd", true), ("billing-worker", false)] {
            let agent = Caller { process: running(name), ..caller(1000) };
            let decision = by_its_end.access(&agent, Grant::Read, What::One(&salesforce));
            assert_eq!(!decision.is_granted(), refused, "{name}");
        }
        let beside =
            Process::Known { unit: None, units: Vec::new(), names: vec!["sh".to_owned()], beside_guarded: true };
        let beside = Caller { process: beside, ..caller(1000) };
        let decision = policy.access(&beside, Grant::Read, What::One(&salesforce));
        assert_eq!(decision, AccessDecision::Refused(Refusal::BesideGuarded));
    }

    #[test]
    fn a_guarded_unit_covers_what_runs_inside_it() {
        let policy = policy(&format!("{BILLING}\n[workflow_guard]\nunits = [\"outer.*\"]\nprocesses = []"));
        let decision = policy.access(&caller(1000), Grant::Read, What::One(&of("acme-1", "salesforce")));
        assert_eq!(decision, AccessDecision::Refused(Refusal::WorkflowGuard));
    }

    #[test]
    fn a_caller_that_can_not_be_looked_at_any_more_gets_no_secret() {
        let vanished = Caller { process: Process::Vanished, ..caller(1000) };
        let salesforce = of("acme-1", "salesforce");
        let read = |policy: &Policy| policy.access(&vanished, Grant::Read, What::One(&salesforce));
        assert_eq!(read(&policy(BILLING)), AccessDecision::Refused(Refusal::Vanished));
        let by_users_alone = policy(&format!("{BILLING}\n[workflow_guard]\nprocesses = []"));
        assert_eq!(read(&by_users_alone), granted("billing"));
    }

    #[test]
    fn only_a_rule_for_everything_grants_everything() {
        let everything = "[[access.rules]]\nname = \"all\"\nusers = [\"1000\"]\ngrants = [\"read\"]";
        assert_eq!(policy(everything).access(&caller(1000), Grant::Read, What::Everything), granted("all"));
        assert_eq!(policy(BILLING).access(&caller(1000), Grant::Read, What::Everything), NO_RULE);
    }

    #[test]
    fn a_rule_that_can_not_be_meant_is_an_error() {
        let wrong = |rule: &str| {
            let text = format!("[[access.rules]]\nname = \"odd\"\n{rule}");
            let config = toml::from_str(&text).expect("well formed");
            Policy::new(&config, |name| name.parse().ok(), |name| name.parse().ok(), 1).expect_err(rule).to_string()
        };
        assert_eq!(wrong("grants = [\"read\"]"), "access rule \"odd\" names nobody");
        let fields = wrong("users = [\"1\"]\ngrants = [\"metadata\"]\nfields = [\"/a\"]");
        assert_eq!(fields, "access rule \"odd\" names fields and does not grant read");
        let ids = wrong("users = [\"1\"]\ngrants = [\"read\"]\nauthentications = [\"canary\"]");
        assert_eq!(ids, "access rule \"odd\" has an entry in authentications that no id can match");
    }
}
