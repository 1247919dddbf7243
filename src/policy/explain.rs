//! How access decisions come about, for `trayvault why read` and `trayvault who-can`.

use serde::{Deserialize, Serialize};

use super::{
    Policy,
    access::{AccessDecision, AccessRule, Grant, Miss, What},
    caller::Caller,
};
use crate::authentication::Metadata;

/// How a decision came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessExplanation {
    /// Whether it is granted, as far as rates go.
    pub granted: bool,
    /// The rule that grants it.
    pub rule: Option<String>,
    /// Why it is refused.
    pub reason: Option<String>,
    /// Every rule, in order, with what is in the way.
    pub steps: Vec<AccessStep>,
}

/// One rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessStep {
    /// Its name.
    pub rule: String,
    /// The list that has not what is asked for; `None` if the rule matches.
    pub misses: Option<String>,
}

/// A rule that grants something on an authentication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Its name.
    pub rule: String,
    /// Users, as the configuration names them.
    pub users: Vec<String>,
    /// Groups, as the configuration names them.
    pub groups: Vec<String>,
    /// Units. With users or groups: those in one of these.
    pub units: Vec<String>,
    /// What it grants.
    pub grants: Vec<Grant>,
    /// What may be read; all of it if absent.
    pub fields: Option<Vec<String>>,
    /// How often.
    pub rate: Option<String>,
}

impl Policy {
    /// How the decision comes about. No rate is used.
    pub fn explain_access(&self, caller: &Caller, grant: Grant, what: What<'_>) -> AccessExplanation {
        let (rule, reason) = match self.access(caller, grant, what) {
            AccessDecision::Granted { rule } => (Some(rule.to_string()), None),
            AccessDecision::Refused(refusal) => (None, Some(refusal.as_str().to_owned())),
        };
        let step = |rule: &super::access::Rule| AccessStep {
            rule: rule.config.name.clone(),
            misses: rule.misses(caller, grant, what).map(|miss| {
                match miss {
                    Miss::Who(list) | Miss::Which(list) => list,
                    Miss::Grant => "grants",
                    Miss::Fields => "fields",
                }
                .to_owned()
            }),
        };
        AccessExplanation { granted: rule.is_some(), rule, reason, steps: self.access.iter().map(step).collect() }
    }

    /// Every rule that grants something on an authentication. Whom the workflow guard names never gets a secret by them.
    pub fn who_can(&self, metadata: &Metadata) -> Vec<Access> {
        let about = self.access.iter().map(|rule| &rule.config).filter(|rule| rule.which.matches(metadata));
        about.map(Access::from).collect()
    }
}

impl From<&AccessRule> for Access {
    fn from(rule: &AccessRule) -> Self {
        let AccessRule { name, users, groups, units, grants, fields, rate, which: _ } = rule;
        Self {
            rule: name.clone(),
            users: users.clone(),
            groups: groups.clone(),
            units: units.iter().map(|unit| unit.as_str().to_owned()).collect(),
            grants: grants.clone(),
            fields: fields.as_ref().map(|fields| fields.iter().map(ToString::to_string).collect()),
            rate: rate.map(|rate| rate.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            caller::Process,
            tests::{of, policy},
        },
        *,
    };

    const RULES: &str = r#"
        [[access.rules]]
        name = "finance"
        groups = ["50"]
        grants = ["metadata"]
        [[access.rules]]
        name = "billing"
        users = ["1000"]
        units = ["billing.service"]
        grants = ["read"]
        services = ["salesforce"]
        fields = ["/credentials/accessToken"]
        rate = "10/s"
    "#;

    #[test]
    fn each_rule_says_what_is_in_the_way_first() {
        let policy = policy(RULES);
        let explain = |uid, unit: &str, service, field: &str| {
            let process = Process::Known {
                unit: Some(unit.to_owned()),
                units: vec![unit.to_owned()],
                names: Vec::new(),
                beside_guarded: false,
            };
            let caller = Caller { uid, gids: vec![50], process };
            let (metadata, field) = (of("acme-1", service), field.parse().expect("a pointer"));
            let explained = policy.explain_access(&caller, Grant::Read, What::Part(&metadata, &field));
            let misses = explained.steps.into_iter().map(|step| step.misses.unwrap_or_default()).collect::<Vec<_>>();
            (explained.rule, explained.reason, misses.join(", "))
        };
        let token = "/credentials/accessToken";
        let because = |reason: &str| Some(reason.to_owned());
        let granted = explain(1000, "billing.service", "salesforce", token);
        assert_eq!(granted, (Some("billing".to_owned()), None, "grants, ".to_owned()));
        let no_rule = because("no access rule grants it");
        let refused = |misses: &str| (None, no_rule.clone(), format!("grants, {misses}"));
        assert_eq!(explain(1001, "billing.service", "salesforce", token), refused("users"));
        assert_eq!(explain(1000, "other.service", "salesforce", token), refused("units"));
        assert_eq!(explain(1000, "billing.service", "slack", token), refused("services"));
        let other_fields = because("the access rules that grant it name other fields");
        let of_all = explain(1000, "billing.service", "salesforce", "");
        assert_eq!(of_all, (None, other_fields, "grants, fields".to_owned()));
    }

    #[test]
    fn who_can_shows_the_rules_that_apply_and_not_the_others() {
        let policy = policy(RULES);
        let names = |service| {
            let rules = policy.who_can(&of("acme-1", service));
            rules.into_iter().map(|one| one.rule).collect::<Vec<_>>()
        };
        assert_eq!(names("salesforce"), ["finance", "billing"]);
        assert_eq!(names("slack"), ["finance"]);
        let billing = policy.who_can(&of("acme-1", "salesforce")).pop().expect("two");
        assert_eq!((billing.rate.as_deref(), &billing.units[..]), (Some("10/s"), &["billing.service".to_owned()][..]));
    }
}
