//! Whose authentication a document is about: somebody who exists, or who is made first.

use super::{
    document::{Document, Request, UserReference},
    plan::{Obstacle, Planner},
    refusal::{Kind, Refusal},
};
use crate::{
    authentication::{EndUser, Owner},
    principals::PrincipalError,
    tray::Class,
};

impl Planner {
    /// Whose authentication a document is about. Makes the end user if there is none and the document has one made, once
    /// what else it says was found to be right: a user can't be taken back.
    pub(super) async fn owner(&self, document: &Document<'_>) -> Result<Owner, Obstacle> {
        if let Some(owner) = self.known_owner(document).await? {
            return Ok(owner);
        }
        let (UserReference::ExternalId(id), Some(name)) = (&document.user, &document.new_user) else {
            unreachable!("who is not made is refused")
        };
        if let Request::Create(whole) | Request::Upsert(whole) = &document.request {
            self.complete(whole, None).await?;
        }
        let made = self.principals.end_user_or_new(id, name).await.map_err(|error| of_making(&error))?;
        Ok(owner_of(made))
    }

    /// The same without making anybody: `None` for the end user whom the document has made.
    pub(super) async fn known_owner(&self, document: &Document<'_>) -> Result<Option<Owner>, Obstacle> {
        let user = match &document.user {
            UserReference::Id(id) => self.principals.end_user(id).await,
            UserReference::ExternalId(id) => self.principals.end_user_by_external_id(id).await,
            UserReference::Absent => return self.implied_owner(document).map(Some),
        };
        match user.map_err(|error| Obstacle::of_session(&error))? {
            Some(user) => Ok(Some(owner_of(user))),
            None if document.new_user.is_some() => Ok(None),
            None => {
                let refusal = Refusal::new(Kind::Unresolved, "Tray has no such end user").at("/user");
                Err(match (&document.user, &document.request) {
                    (UserReference::ExternalId(_), Request::Create(_) | Request::Upsert(_)) => {
                        refusal.hint("give \"createUser\": true to have them created, for which Tray may bill")
                    }
                    _ => refusal,
                }
                .into())
            }
        }
    }

    /// Who is known to own the authentication that is named, else the workspace.
    fn implied_owner(&self, document: &Document<'_>) -> Result<Owner, Obstacle> {
        let (Request::Update { id, .. } | Request::Delete { id }) = document.request else {
            return Ok(Owner::Workspace);
        };
        let record = self.cache.record(id).map_err(|error| Obstacle::Later(error.to_string()))?;
        Ok(record.map_or(Owner::Workspace, |record| record.metadata.owner))
    }
}

fn owner_of(EndUser { id, external_user_id, .. }: EndUser) -> Owner {
    Owner::EndUser { user_id: id, external_user_id }
}

/// What it means that an end user could not be made.
fn of_making(error: &PrincipalError) -> Obstacle {
    match error {
        PrincipalError::Tray(refused) if refused.class == Class::BadInput => {
            let refusal = Refusal::new(Kind::Tray, error.to_string()).at("/user");
            refusal
                .hint("Tray's own words may quote what was sent and are not kept: try the end user's name in Tray")
                .into()
        }
        _ => Obstacle::of_session(error),
    }
}
