//! What must not be sent side by side. Documents of one owner and service environment are carried out one after the other
//! in their order of arrival: two creates beside each other would make the listing say less, and of two updates the last
//! one is to win. All others go in parallel.

use serde::{Deserialize, Serialize};

use super::document::{Document, EnvironmentReference, Request, ServiceReference, UserReference};
use crate::{
    authentication::{ExternalUserId, Owner, UserId},
    vault::Cache,
};

/// The owner of what names none.
const WORKSPACE: &str = "workspace";

/// Before Tray's id of an end user.
const BY_ID: &str = "id ";

/// Where a document stands in line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lane {
    /// Whose it is.
    pub(super) owner: String,
    /// Whether that is Tray's id of an end user of whom no more was known: any other document may be of the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_unresolved: bool,
    /// For which service environment; `None` if the document does not say, and it goes beside no other of its owner.
    environment: Option<Environment>,
}

/// A service environment as a document names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Environment {
    Title { service: String, version: u32, title: String },
    Id(String),
}

impl Lane {
    /// The lane of a document. A user's name in it is the `externalUserId`, which stays what it is when the user is
    /// looked up or made. One whom a document names by Tray's id, and whom the cache does not know, is yet to be resolved.
    pub(super) fn of(document: &Document<'_>, cache: &Cache) -> Self {
        let mut is_unresolved = false;
        let owner = match &document.user {
            UserReference::ExternalId(id) => external(id),
            UserReference::Id(id) => {
                let user = cache.user(id).ok().flatten();
                is_unresolved = user.is_none();
                user.map_or_else(|| format!("{BY_ID}{}", id.0), |user| external(&user.external_user_id))
            }
            UserReference::Absent => match &document.request {
                Request::Update { id, .. } | Request::Delete { id } => {
                    let record = cache.record(*id).ok().flatten();
                    match record.map(|record| record.metadata.owner) {
                        Some(Owner::EndUser { external_user_id, .. }) => external(&external_user_id),
                        Some(Owner::Workspace) | None => WORKSPACE.to_owned(),
                    }
                }
                Request::Create(_) | Request::Upsert(_) => WORKSPACE.to_owned(),
            },
        };
        let environment = match &document.request {
            Request::Create(whole) | Request::Upsert(whole) => match (&whole.environment, &whole.service) {
                (EnvironmentReference::Id(id), _) => Some(Environment::Id(id.0.clone())),
                (EnvironmentReference::Title(title), Some(ServiceReference { name, version })) => {
                    Some(Environment::Title { service: name.clone(), version: *version, title: title.clone() })
                }
                (EnvironmentReference::Title(_), None) => None,
            },
            Request::Update { .. } | Request::Delete { .. } => None,
        };
        Self { owner, is_unresolved, environment }
    }

    /// The end user who is yet to be resolved.
    pub(super) fn unresolved(&self) -> Option<UserId> {
        let id = self.owner.strip_prefix(BY_ID)?;
        self.is_unresolved.then(|| UserId(id.to_owned()))
    }

    /// The same lane once it is known who that is, or that there is nobody.
    pub(super) fn resolved(self, user: Option<&ExternalUserId>) -> Self {
        Self { owner: user.map_or(self.owner, external), is_unresolved: false, environment: self.environment }
    }

    /// The same lane by the owner's own key, once that is known.
    pub(super) fn of_owner(&self, owner: &Owner) -> Self {
        Self { owner: owner.key().to_owned(), is_unresolved: false, environment: self.environment.clone() }
    }

    /// Whether one must wait for the other. An environment's id and its title may mean the same.
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        let same_environment = match (&self.environment, &other.environment) {
            (Some(one @ Environment::Title { .. }), Some(other @ Environment::Title { .. }))
            | (Some(one @ Environment::Id(_)), Some(other @ Environment::Id(_))) => one == other,
            _ => true,
        };
        self.owner == other.owner && same_environment
    }
}

fn external(id: &ExternalUserId) -> String {
    format!("external {}", id.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A lane of an owner, for an environment by its id.
    pub(in super::super) fn lane(owner: &str, environment: Option<&str>) -> Lane {
        let environment = environment.map(|id| Environment::Id(id.to_owned()));
        Lane { owner: owner.to_owned(), is_unresolved: false, environment }
    }

    /// A lane of a user who is yet to be resolved.
    pub(in super::super) fn unresolved(id: &str) -> Lane {
        Lane { owner: format!("{BY_ID}{id}"), is_unresolved: true, environment: None }
    }

    #[test]
    fn only_another_owner_or_another_environment_goes_beside() {
        let title = |title: &str| Lane {
            owner: "a".to_owned(),
            is_unresolved: false,
            environment: Some(Environment::Title { service: "s".to_owned(), version: 1, title: title.to_owned() }),
        };
        let one = lane("a", Some("e"));
        assert!(one.conflicts_with(&lane("a", Some("e"))));
        assert!(!one.conflicts_with(&lane("a", Some("f"))));
        assert!(!one.conflicts_with(&lane("b", Some("e"))));
        assert!(one.conflicts_with(&lane("a", None)) && lane("a", None).conflicts_with(&one));
        assert!(one.conflicts_with(&title("Production")), "they may be the same");
        assert!(!title("Production").conflicts_with(&title("Sandbox")));
    }
}
