//! Which authentications a rule is about.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::glob::{Glob, any_matches};
use crate::authentication::Metadata;

/// Which authentications. A list that is absent matches every one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Selector {
    /// `externalUserId`s. A workspace's authentications have none, so a list never matches them.
    pub owners: Option<Vec<Glob>>,
    /// Service names.
    pub services: Option<Vec<Glob>>,
    /// Titles of service environments.
    pub environments: Option<Vec<Glob>>,
    /// Ids, in lower case.
    pub authentications: Option<Vec<Glob>>,
}

impl Selector {
    /// Whether an authentication is one of those.
    pub(super) fn matches(&self, metadata: &Metadata) -> bool {
        self.misses(metadata, false).is_none()
    }

    /// Which of the lists an authentication is not on; `None` if it is one of those. `unknown` is whether a service or
    /// an environment that Tray does not name counts as listed. That a workspace has no `externalUserId` is known.
    pub(super) fn misses(&self, metadata: &Metadata, unknown: bool) -> Option<&'static str> {
        let owner = metadata.owner.external_user_id();
        let service = metadata.service.as_ref().map(|service| service.name.as_str());
        let environment = metadata.environment.as_ref().map(|one| one.title.as_str());
        [
            ("owners", fits(self.owners.as_deref(), owner, false)),
            ("services", fits(self.services.as_deref(), service, unknown)),
            ("environments", fits(self.environments.as_deref(), environment, unknown)),
            ("authentications", self.authentications.as_deref().is_none_or(|globs| names(globs, metadata.id.0))),
        ]
        .into_iter()
        .find_map(|(list, fits)| (!fits).then_some(list))
    }

    /// Whether it names nothing, and so matches everything.
    pub(super) fn is_everything(&self) -> bool {
        let Self { owners, services, environments, authentications } = self;
        owners.is_none() && services.is_none() && environments.is_none() && authentications.is_none()
    }

    /// An entry of the list of ids that no id can match: a secret may stand there by mistake, so it is not quoted.
    pub(super) fn has_impossible_id(&self) -> bool {
        let is_id = |glob: &Glob| {
            let fits = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f' | b'-' | b'*' | b'?');
            let has_wildcard = glob.as_str().contains(['*', '?']);
            glob.as_str().bytes().all(fits) && (has_wildcard || Uuid::try_parse(glob.as_str()).is_ok())
        };
        self.authentications.as_deref().unwrap_or_default().iter().any(|glob| !is_id(glob))
    }
}

/// Whether a list of globs, if there is one, has one that matches a value; `unknown` if there is no value.
fn fits(globs: Option<&[Glob]>, value: Option<&str>, unknown: bool) -> bool {
    globs.is_none_or(|globs| value.map_or(unknown, |value| any_matches(globs, value)))
}

fn names(globs: &[Glob], id: Uuid) -> bool {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    any_matches(globs, id.hyphenated().encode_lower(&mut buffer))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::of, *};

    fn ids(globs: &[&str]) -> Selector {
        let globs = globs.iter().map(|glob| Glob::from((*glob).to_owned())).collect();
        Selector { authentications: Some(globs), ..Selector::default() }
    }

    #[test]
    fn an_id_may_be_a_glob() {
        let seven = of("acme-1", "slack");
        assert!(ids(&["00000000-0000-0000-0000-000000000007"]).matches(&seven));
        assert!(ids(&["ffff*", "00000000-*7"]).matches(&seven));
        assert!(!ids(&["00000000-*8"]).matches(&seven));
        assert!(!ids(&[]).matches(&seven));
    }

    #[test]
    fn what_can_not_be_an_id_is_a_mistake() {
        for good in ["00000000-0000-0000-0000-000000000007", "0191d1a0-*", "*"] {
            assert!(!ids(&[good]).has_impossible_id(), "{good}");
        }
        for bad in ["0191d1a0", "0191D1A0-*", "my slack", ""] {
            assert!(ids(&[bad]).has_impossible_id(), "{bad}");
        }
    }
}
