//! Pure decisions: which authentications may be pulled in full, and who on this host may see what. Nothing here does
//! I/O; user and group names are numbers by the time they arrive. What is left of a rate is counted here, by a clock.

mod access;
mod caller;
mod credential;
mod explain;
mod glob;
mod guard;
mod pull;
mod rate;
mod selector;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::credential::{is_credential_name, is_unit_name};
pub use self::{
    access::{AccessConfig, AccessDecision, AccessRule, Grant, Refusal, What},
    caller::{Caller, Process},
    credential::{Content, CredentialDecision, CredentialRefusal, CredentialRule},
    explain::{Access, AccessExplanation, AccessStep},
    glob::Glob,
    guard::{Guard, GuardConfig, is_agent},
    pull::{Effect, PullConfig, PullDecision, PullExplanation, PullRule, Step},
    rate::Rate,
    selector::Selector,
};

/// The rules of `[pull]`, `[access]`, `[[credential]]` and `[workflow_guard]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which authentications are pulled in full.
    pub pull: PullConfig,
    /// Who may ask for what on `api.sock`.
    pub access: AccessConfig,
    /// Which systemd units get which credentials.
    pub credential: Vec<CredentialRule>,
    /// Who never gets a secret.
    pub workflow_guard: GuardConfig,
}

/// A rule that can't be meant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It names a user or group that the system does not know: it would silently match nobody.
    #[error("{place} names the {kind} {}, which this system does not know", shown_name(.name))]
    UnknownAccount {
        /// The rule.
        place: String,
        /// Whether it is a user or a group.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It contradicts itself.
    #[error("{place} {what}")]
    Rule {
        /// The rule.
        place: String,
        /// What is wrong with it.
        what: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
}

impl PolicyError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownAccount { .. } => "give an existing name, or a number",
            Self::Rule { hint, .. } => hint,
        }
    }
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
    access: Vec<access::Rule>,
    credential: Vec<CredentialRule>,
    guard: Guard,
    /// The daemon's own user.
    own_uid: u32,
    /// What the rule is called by which root and that user see how the daemon stands.
    own_rule: Arc<str>,
}

impl Policy {
    /// Resolves the names in the rules by the given look-ups; `own_uid` is the daemon's own user.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn new(
        config: &Config,
        uid: impl Fn(&str) -> Option<u32>,
        gid: impl Fn(&str) -> Option<u32>,
        own_uid: u32,
    ) -> Result<Self, PolicyError> {
        let access = config.access.rules.iter().map(|rule| access::Rule::new(rule, &uid, &gid));
        config.credential.iter().try_for_each(CredentialRule::validate)?;
        Ok(Self {
            access: access.collect::<Result<_, _>>()?,
            guard: Guard::new(&config.workflow_guard, &uid)?,
            pull: config.pull.rules.clone(),
            credential: config.credential.clone(),
            own_uid,
            own_rule: "(root and the daemon's own user)".into(),
        })
    }

    /// The workflow guard in force.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Whether a systemd unit gets a credential of that name.
    pub fn credential(&self, unit: &str, name: &str) -> CredentialDecision<'_> {
        credential::decide(&self.credential, &self.guard, unit, name)
    }
}

fn resolve(
    names: &[String],
    kind: &'static str,
    place: &str,
    look_up: &impl Fn(&str) -> Option<u32>,
) -> Result<Vec<u32>, PolicyError> {
    let unknown = |name: &String| PolicyError::UnknownAccount { place: place.to_owned(), kind, name: name.clone() };
    names.iter().map(|name| look_up(name).ok_or_else(|| unknown(name))).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::authentication::{AuthenticationId, ExternalUserId, Metadata, Owner, Service, UserId};

    /// The daemon's own user.
    pub(super) const OWN: u32 = 900;

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
        Policy::new(&config, |name| name.parse().ok(), |name| name.parse().ok(), OWN).expect("known accounts")
    }

    #[test]
    fn without_a_rule_nothing_is_pulled() {
        assert_eq!(policy("").pull(&of("acme-1", "slack")), PullDecision::Refused { rule: None });
    }

    #[test]
    fn an_unknown_account_is_an_error_that_names_it() {
        let rule = "[[access.rules]]\nname = \"billing\"\nusers = [\"nobody-here\"]\ngrants = [\"read\"]";
        let config: Config = toml::from_str(rule).expect("a valid policy");
        let error = Policy::new(&config, |_| None, |_| None, OWN).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "access rule \"billing\" names the user \"nobody-here\", which this system does not know"
        );
    }
}
