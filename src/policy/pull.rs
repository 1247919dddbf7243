//! `[pull]`: which authentications may be pulled in full.

use serde::{Deserialize, Serialize};

use super::{
    Policy, Selector,
    glob::{Glob, any_matches},
};
use crate::authentication::{Metadata, Principal};

/// `[pull]`: ordered rules, the first that matches decides; what none names is not pulled.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PullConfig {
    /// The rules, in order.
    pub rules: Vec<PullRule>,
}

/// What a rule of `[pull]` does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Pull it in full.
    Allow,
    /// Keep its metadata only.
    Deny,
}

/// One rule of `[pull]`. A list that is absent matches everything; one that is there must match.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRule {
    /// What logs and `why` call it.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// Kinds of principal.
    pub principals: Option<Vec<Principal>>,
    /// Scopes, as globs. A rule that denies matches what has one of these; one that allows, what has nothing else.
    pub scopes: Option<Vec<Glob>>,
    /// What they are for and whose they are.
    #[serde(flatten)]
    pub which: Selector,
}

/// Whether an authentication may be pulled in full.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum PullDecision {
    /// It may, by this rule.
    Permitted {
        /// The rule's name.
        rule: String,
    },
    /// It may not: only its metadata is kept.
    Refused {
        /// The rule's name; `None` if no rule names it.
        rule: Option<String>,
    },
}

/// How a decision came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullExplanation {
    /// Whether it may be pulled in full.
    pub permitted: bool,
    /// The rule that decided; `None` if none matches, which refuses.
    pub rule: Option<String>,
    /// The rules that were looked at, in order, up to the one that decided.
    pub steps: Vec<Step>,
}

/// One rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub rule: String,
    /// What it does with what it matches.
    pub effect: Effect,
    /// The list that the authentication is not on; `None` if the rule matches.
    pub misses: Option<String>,
}

impl Policy {
    /// Whether an authentication may be pulled in full: the first rule that matches decides.
    pub fn pull(&self, metadata: &Metadata) -> PullDecision {
        match self.pull_rule(metadata) {
            Some(rule) if rule.effect == Effect::Allow => PullDecision::Permitted { rule: rule.name.clone() },
            other => PullDecision::Refused { rule: other.map(|rule| rule.name.clone()) },
        }
    }

    /// Whether it may be pulled.
    pub fn permits(&self, metadata: &Metadata) -> bool {
        self.pull_rule(metadata).is_some_and(|rule| rule.effect == Effect::Allow)
    }

    /// The rule that decides.
    fn pull_rule(&self, metadata: &Metadata) -> Option<&PullRule> {
        self.pull.iter().find(|rule| rule.misses(metadata).is_none())
    }

    /// Whether the decision hangs on scopes, which a list does not show and which are not known here.
    pub fn needs_scopes(&self, metadata: &Metadata) -> bool {
        metadata.scopes.is_none()
            && self
                .pull
                .iter()
                .find(|rule| rule.misses_but_for_scopes(metadata).is_none())
                .is_some_and(|rule| rule.scopes.is_some())
    }

    /// How the decision comes about.
    pub fn explain_pull(&self, metadata: &Metadata) -> PullExplanation {
        let mut steps = Vec::new();
        for rule in &self.pull {
            let misses = rule.misses(metadata).map(str::to_owned);
            let decides = misses.is_none();
            steps.push(Step { rule: rule.name.clone(), effect: rule.effect, misses });
            if decides {
                return PullExplanation {
                    permitted: rule.effect == Effect::Allow,
                    rule: Some(rule.name.clone()),
                    steps,
                };
            }
        }
        PullExplanation { permitted: false, rule: None, steps }
    }
}

impl PullRule {
    /// The list that an authentication is not on; `None` if the rule matches. What is not known might be what a rule
    /// denies, and is not what a rule allows.
    fn misses(&self, metadata: &Metadata) -> Option<&'static str> {
        self.misses_but_for_scopes(metadata).or_else(|| (!self.fits_scopes(metadata)).then_some("scopes"))
    }

    fn misses_but_for_scopes(&self, metadata: &Metadata) -> Option<&'static str> {
        let principal = metadata.owner.principal();
        if self.principals.as_ref().is_some_and(|kinds| !kinds.contains(&principal)) {
            return Some("principals");
        }
        self.which.misses(metadata, self.effect == Effect::Deny)
    }

    fn fits_scopes(&self, metadata: &Metadata) -> bool {
        let Some(globs) = &self.scopes else { return true };
        let listed = |scope: &String| any_matches(globs, scope);
        match (&metadata.scopes, self.effect) {
            (None, effect) => effect == Effect::Deny,
            (Some(scopes), Effect::Deny) => scopes.iter().any(listed),
            (Some(scopes), Effect::Allow) => !scopes.is_empty() && scopes.iter().all(listed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{of, policy},
        *,
    };
    use crate::authentication::Owner;

    #[test]
    fn the_first_pull_rule_that_matches_decides() {
        let policy = policy(
            r#"
            [[pull.rules]]
            name = "not globex"
            effect = "deny"
            owners = ["globex-*"]
            [[pull.rules]]
            name = "all end users"
            effect = "allow"
            principals = ["embedded"]
            "#,
        );
        let refused = PullDecision::Refused { rule: Some("not globex".to_owned()) };
        assert_eq!(policy.pull(&of("globex-1", "slack")), refused);
        assert_eq!(policy.pull(&of("acme-1", "slack")), PullDecision::Permitted { rule: "all end users".to_owned() });
        let workspaces = Metadata { owner: Owner::Workspace, ..of("", "slack") };
        assert_eq!(policy.pull(&workspaces), PullDecision::Refused { rule: None });
    }

    #[test]
    fn what_tray_does_not_name_may_be_what_is_denied_and_is_not_what_is_allowed() {
        let unnamed = Metadata { service: None, ..of("acme-1", "") };
        let rules = |effect| {
            format!(
                "[[pull.rules]]\nname = \"one\"\neffect = \"{effect}\"\nservices = [\"netsuite\"]\n\
                 [[pull.rules]]\nname = \"rest\"\neffect = \"allow\"\nenvironments = [\"Production\"]\n"
            )
        };
        let denied = PullDecision::Refused { rule: Some("one".to_owned()) };
        assert_eq!(policy(&rules("deny")).pull(&unnamed), denied);
        assert_eq!(policy(&rules("allow")).pull(&unnamed), PullDecision::Refused { rule: None });
    }

    #[test]
    fn a_workspace_has_no_external_id_so_owner_lists_never_match_it() {
        let policy = policy("[[pull.rules]]\nname = \"any\"\neffect = \"allow\"\nowners = [\"*\"]");
        let workspaces = Metadata { owner: Owner::Workspace, ..of("", "slack") };
        assert_eq!(policy.pull(&workspaces), PullDecision::Refused { rule: None });
    }

    fn with_scopes(scopes: &[&str]) -> Metadata {
        Metadata { scopes: Some(scopes.iter().map(|scope| (*scope).to_owned()).collect()), ..of("acme-1", "slack") }
    }

    fn permits(text: &str, metadata: &Metadata) -> bool {
        matches!(policy(text).pull(metadata), PullDecision::Permitted { .. })
    }

    const READERS: &str = "[[pull.rules]]\nname = \"readers\"\neffect = \"allow\"\nscopes = [\"read:*\"]";

    #[test]
    fn scopes_allow_what_has_nothing_else_and_deny_what_has_one() {
        assert!(permits(READERS, &with_scopes(&["read:users", "read:files"])));
        for scopes in [&["read:users", "write:users"][..], &["admin"], &[]] {
            assert!(!permits(READERS, &with_scopes(scopes)), "{scopes:?}");
        }
        assert!(!permits(READERS, &of("acme-1", "slack")), "what is not known is not allowed");

        let no_admins = "[[pull.rules]]\nname = \"no admins\"\neffect = \"deny\"\nscopes = [\"admin*\"]\n\
                         [[pull.rules]]\nname = \"rest\"\neffect = \"allow\"";
        assert!(permits(no_admins, &with_scopes(&["read"])) && permits(no_admins, &with_scopes(&[])));
        assert!(!permits(no_admins, &with_scopes(&["read", "admin:org"])));
        assert!(!permits(no_admins, &of("acme-1", "slack")), "what is not known may be what is denied");
    }

    #[test]
    fn scopes_are_needed_only_where_the_decision_hangs_on_them() {
        let slack_first =
            format!("[[pull.rules]]\nname = \"slack\"\neffect = \"allow\"\nservices = [\"slack\"]\n{READERS}");
        let policy = policy(&slack_first);
        assert!(!policy.needs_scopes(&of("acme-1", "slack")));
        assert!(policy.needs_scopes(&of("acme-1", "salesforce")));
        assert!(!policy.needs_scopes(&Metadata { scopes: Some(Vec::new()), ..of("acme-1", "salesforce") }));
    }

    #[test]
    fn an_explanation_names_every_rule_up_to_the_one_that_decided() {
        let rules = "[[pull.rules]]\nname = \"netsuite\"\neffect = \"deny\"\nservices = [\"netsuite\"]\n\
                     [[pull.rules]]\nname = \"acme\"\neffect = \"allow\"\nowners = [\"acme-*\"]\n\
                     [[pull.rules]]\nname = \"never\"\neffect = \"deny\"";
        let step = |rule: &str, effect, misses: Option<&str>| Step {
            rule: rule.to_owned(),
            effect,
            misses: misses.map(str::to_owned),
        };
        let explained = policy(rules).explain_pull(&of("acme-1", "slack"));
        let expected = [step("netsuite", Effect::Deny, Some("services")), step("acme", Effect::Allow, None)];
        assert_eq!((explained.permitted, explained.rule.as_deref()), (true, Some("acme")));
        assert_eq!(explained.steps, expected);
        let nothing = policy("").explain_pull(&of("acme-1", "slack"));
        assert_eq!(nothing, PullExplanation { permitted: false, rule: None, steps: Vec::new() });
    }
}
