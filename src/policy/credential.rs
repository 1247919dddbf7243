//! `[[credential]]`: which systemd unit gets which authentication, as a credential of which name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    PolicyError,
    glob::{Glob, any_matches},
    guard::Guard,
    shown_name,
};
use crate::{authentication::AuthenticationId, pointer::Pointer};

/// One rule of `[[credential]]`. The first that names both the unit and the credential decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialRule {
    /// What logs call it.
    pub name: String,
    /// systemd units, by their whole names.
    pub units: Vec<Glob>,
    /// The credential's name: what stands before the colon in `LoadCredential=`.
    pub credential: String,
    /// What it is made of.
    pub authentication: AuthenticationId,
    /// A JSON pointer: that value alone is the credential, text as it is and anything else as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Pointer>,
    /// Variables and JSON pointers: the credential is a file for `EnvironmentFile=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, Pointer>>,
}

/// What a credential is made of.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// The whole authentication, as Tray gave it.
    Whole,
    /// One value, by its pointer.
    Field(&'a Pointer),
    /// Variables, by their pointers.
    Env(&'a BTreeMap<String, Pointer>),
}

impl CredentialRule {
    /// What the credential is made of.
    pub fn content(&self) -> Content<'_> {
        match (&self.field, &self.env) {
            (Some(pointer), _) => Content::Field(pointer),
            (None, Some(variables)) => Content::Env(variables),
            (None, None) => Content::Whole,
        }
    }

    /// Checks what its type does not say: a rule that could never match, or never give anything, can't be meant.
    pub(super) fn validate(&self) -> Result<(), PolicyError> {
        let names = || self.env.iter().flat_map(BTreeMap::keys);
        let mut pointers = self.field.iter().chain(self.env.iter().flat_map(BTreeMap::values));
        let (what, hint) = if self.units.is_empty() {
            ("names no units", UNIT_HINT)
        } else if !self.units.iter().all(|glob| is_unit_glob(glob.as_str())) {
            ("has something in units that matches no unit", UNIT_HINT)
        } else if !is_credential_name(&self.credential) {
            (
                "has a credential that is no name of one",
                "it is what stands before the colon in LoadCredential=, such as \"salesforce.json\"",
            )
        } else if self.field.is_some() && self.env.is_some() {
            (
                "has both field and env",
                "field gives one value, env a file of several, and neither the whole authentication",
            )
        } else if self.env.as_ref().is_some_and(BTreeMap::is_empty) {
            ("has an env without variables", ENV_HINT)
        } else if !names().all(|name| is_variable_name(name)) {
            ("has something in env that is no name of a variable", ENV_HINT)
        } else if pointers.any(Pointer::is_whole) {
            ("has a pointer that names the whole", "leave field and env out for that")
        } else {
            return Ok(());
        };
        Err(PolicyError::Rule { place: format!("credential rule {}", shown_name(&self.name)), what, hint })
    }
}

const UNIT_HINT: &str = "units are whole names or globs of them, such as \"billing.service\" or \"billing@*.service\"";
const ENV_HINT: &str = "env names variables and where their values are: { TOKEN = \"/credentials/accessToken\" }";

/// Whether a unit gets a credential.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum CredentialDecision<'a> {
    /// It does, by this rule.
    Granted(&'a CredentialRule),
    /// It does not.
    Refused(CredentialRefusal),
}

/// Why a unit is refused a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialRefusal {
    /// The workflow guard names it.
    WorkflowGuard,
    /// No rule names both the unit and the credential.
    NoRule,
}

impl CredentialRefusal {
    /// The clause, for the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowGuard => "the unit is on the workflow guard's list",
            Self::NoRule => "no credential rule names the unit and the credential",
        }
    }
}

/// Decides by the first rule that matches. The guard comes before every rule.
pub(super) fn decide<'a>(
    rules: &'a [CredentialRule],
    guard: &Guard,
    unit: &str,
    credential: &str,
) -> CredentialDecision<'a> {
    if guard.names_unit(unit) {
        return CredentialDecision::Refused(CredentialRefusal::WorkflowGuard);
    }
    rules
        .iter()
        .find(|rule| rule.credential == credential && any_matches(&rule.units, unit))
        .map_or(CredentialDecision::Refused(CredentialRefusal::NoRule), CredentialDecision::Granted)
}

/// The longest name of a unit, in bytes (`UNIT_NAME_MAX` less its terminator, systemd.unit(5)).
const UNIT_NAME_LEN: usize = 255;
/// The longest name of a credential, in bytes (`CREDENTIAL_NAME_MAX`, systemd's creds-util.h).
const CREDENTIAL_NAME_LEN: usize = 255;
/// The kinds of unit that run processes, and so have credentials (systemd.exec(5)).
const KINDS: [&str; 4] = [".service", ".socket", ".mount", ".swap"];

/// Whether a name is one of a unit that can load credentials (`unit_name_is_valid` in systemd's unit-name.c): a plain one
/// or an instance, since a template itself never runs.
pub(crate) fn is_unit_name(name: &str) -> bool {
    let Some(stem) = KINDS.iter().find_map(|kind| name.strip_suffix(kind)) else { return false };
    let instance_is_named =
        stem.split_once('@').is_none_or(|(template, _)| !template.is_empty() && !stem.ends_with('@'));
    name.len() <= UNIT_NAME_LEN && !stem.is_empty() && stem.bytes().all(in_unit_name) && instance_is_named
}

fn in_unit_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
}

/// Whether a glob may match the name of a unit.
fn is_unit_glob(glob: &str) -> bool {
    let may_match_a_kind = glob.contains(['*', '?']) || is_unit_name(glob);
    may_match_a_kind
        && glob.len() <= UNIT_NAME_LEN
        && glob.bytes().all(|byte| in_unit_name(byte) || b"*?".contains(&byte))
}

/// Whether a name is one of a credential (`credential_name_valid` in systemd's creds-util.c): a file's name of printable
/// ASCII characters without a colon.
pub(crate) fn is_credential_name(name: &str) -> bool {
    let in_name = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b':');
    (1..=CREDENTIAL_NAME_LEN).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(in_name)
}

/// Whether a name is one of an environment variable (`env_name_is_valid` in systemd's env-util.c).
fn is_variable_name(name: &str) -> bool {
    let begins = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.as_bytes().first().is_some_and(begins) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Config, Policy, tests::policy};

    const RULES: &str = r#"
        [[credential]]
        name = "acme's worker"
        units = ["worker@acme.service"]
        credential = "token"
        authentication = "00000000-0000-4000-8000-000000000001"
        field = "/credentials/accessToken"

        [[credential]]
        name = "workers"
        units = ["worker@*.service", "nightly.service"]
        credential = "token"
        authentication = "00000000-0000-4000-8000-000000000002"
    "#;

    fn rule_for<'a>(policy: &'a Policy, unit: &str, credential: &str) -> Result<&'a str, CredentialRefusal> {
        match policy.credential(unit, credential) {
            CredentialDecision::Granted(rule) => Ok(&rule.name),
            CredentialDecision::Refused(refusal) => Err(refusal),
        }
    }

    #[test]
    fn the_first_rule_that_names_unit_and_credential_decides() {
        let policy = policy(RULES);
        assert_eq!(rule_for(&policy, "worker@acme.service", "token"), Ok("acme's worker"));
        assert_eq!(rule_for(&policy, "worker@other.service", "token"), Ok("workers"));
        assert_eq!(rule_for(&policy, "nightly.service", "token"), Ok("workers"));
    }

    #[test]
    fn what_no_rule_names_is_refused() {
        for (unit, credential) in [
            ("worker.service", "token"),
            ("nightly.service", "tokens"),
            ("nightly.service", "TOKEN"),
            ("nightly.socket", "token"),
            ("a-nightly.service", "token"),
        ] {
            assert_eq!(
                rule_for(&policy(RULES), unit, credential),
                Err(CredentialRefusal::NoRule),
                "{unit} {credential}"
            );
        }
        assert_eq!(rule_for(&policy(""), "nightly.service", "token"), Err(CredentialRefusal::NoRule));
    }

    #[test]
    fn the_workflow_guard_comes_before_every_rule() {
        let policy = policy(&format!("{RULES}\n[workflow_guard]\nunits = [\"worker@*\"]"));
        assert_eq!(rule_for(&policy, "worker@acme.service", "token"), Err(CredentialRefusal::WorkflowGuard));
        assert_eq!(rule_for(&policy, "nightly.service", "token"), Ok("workers"));
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_told_with_a_hint_and_not_quoted() {
        let rule = |name: &str, units: &str, credential: &str, rest: &str| {
            let text = format!(
                "[[credential]]\nname = '{name}'\nunits = {units}\ncredential = '{credential}'\n\
                 authentication = '00000000-0000-4000-8000-000000000001'\n{rest}"
            );
            let config: Config = toml::from_str(&text).map_err(|error| (error.message().to_owned(), ""))?;
            let policy = Policy::new(&config, |_| None, |_| None, 0);
            policy.map(drop).map_err(|error| (error.to_string(), error.hint()))
        };
        assert_eq!(rule("a", "['a.service', 'a@*']", "a.json", "field = '/a'"), Ok(()));
        let credential = "it is what stands before the colon in LoadCredential=, such as \"salesforce.json\"";
        let both = "field gives one value, env a file of several, and neither the whole authentication";
        let whole = "leave field and env out for that";
        let long = "canary".repeat(8);
        for (name, units, credential, rest, what, hint) in [
            ("a", "[]", "a", "", "\"a\" names no units", UNIT_HINT),
            ("a", "['canary']", "a", "", "\"a\" has something in units that matches no unit", UNIT_HINT),
            ("a", "['canary.timer']", "a", "", "\"a\" has something in units that matches no unit", UNIT_HINT),
            ("a", "['canary/*.service']", "a", "", "\"a\" has something in units that matches no unit", UNIT_HINT),
            ("a", "['*']", "canary/a", "", "\"a\" has a credential that is no name of one", credential),
            ("a", "['*']", "a", "field = ''", "\"a\" has a pointer that names the whole", whole),
            ("a", "['*']", "a", "env.A = ''", "\"a\" has a pointer that names the whole", whole),
            (
                "a",
                "['*']",
                "a",
                "env.1canary = '/a'",
                "\"a\" has something in env that is no name of a variable",
                ENV_HINT,
            ),
            ("a", "['*']", "a", "env = {}", "\"a\" has an env without variables", ENV_HINT),
            ("a", "['*']", "a", "field = '/a'\nenv.A = '/a'", "\"a\" has both field and env", both),
            (&long, "[]", "a", "", "(too long for a name) names no units", UNIT_HINT),
        ] {
            let error = rule(name, units, credential, rest).expect_err(what);
            assert_eq!(error, (format!("credential rule {what}"), hint));
        }
        let (malformed, _) = rule("a", "['*']", "a", "field = 'canary'").expect_err("no pointer");
        assert!(malformed.starts_with("not a JSON pointer: it begins with a slash"), "{malformed}");
    }

    #[test]
    fn names_of_units_are_systemds() {
        for name in ["a.service", "a@b.service", "a@b@c.service", "dev-disk\\x2d1.swap", "a.b.mount", "a:b_c-d.socket"]
        {
            assert!(is_unit_name(name), "{name}");
        }
        let (longest, longer) = (format!("{}.service", "a".repeat(247)), format!("{}.service", "a".repeat(248)));
        assert!(is_unit_name(&longest) && !is_unit_name(&longer));
        for name in
            ["", ".service", "a", "a.timer", "a.service ", "@a.service", "a@.service", "a b.service", "ä.service"]
        {
            assert!(!is_unit_name(name), "{name}");
        }
    }

    #[test]
    fn names_of_credentials_are_systemds() {
        for name in ["salesforce.json", "a b", "-", "...", &"a".repeat(255)] {
            assert!(is_credential_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a:b", "a\nb", "a\u{7f}", "ä", &"a".repeat(256)] {
            assert!(!is_credential_name(name), "{name}");
        }
    }

    #[test]
    fn names_of_variables_are_systemds() {
        assert!(["TOKEN", "_a1"].iter().all(|name| is_variable_name(name)));
        assert!(["", "1A", "A-B", "A B", "A=B", "Ä"].iter().all(|name| !is_variable_name(name)));
    }
}
