//! Updates: Tray takes whole bodies only, so a part is completed by a full read just before.

use std::{borrow::Cow, sync::Arc};

use serde_json::value::RawValue;

use super::{
    check::{Given, check, is_sound},
    document::{Part, ServiceReference},
    intent::Operation,
    json::merged,
    leaves::Leaves,
    plan::{Body, Obstacle, Planned, Planner},
    refusal::{Kind, Refusal},
    validate::label,
};
use crate::{
    audit::{Action, Event, Outcome, Target},
    authentication::Metadata,
    policy::PullDecision,
    principals::Session,
    tray::{Class, FullAuthentication, Refresh, TrayError},
};

/// What to do where a full read is not to be had.
const GIVE_ALL: &str = "give all of \"name\", \"userData\", \"credentials\" and \"scopes\", or have [pull] permit it";

/// What a part was put over: what Tray held then, without its values.
#[derive(Debug)]
pub(super) struct Base {
    leaves: Leaves,
    /// As it was listed, which is what policy decides by.
    metadata: Metadata,
}

impl Base {
    pub(super) fn into_leaves(self) -> Leaves {
        self.leaves
    }
}

impl Planner {
    /// Plans the update of an authentication as it is listed.
    pub(super) async fn plan_update<'a>(
        &self,
        metadata: Metadata,
        part: Part<'a>,
        session: &Session,
    ) -> Result<Planned<'a>, Obstacle> {
        let environment = self.environment_of(&metadata, session).await?;
        let service = ServiceReference::of_service(metadata.service.as_ref()).as_ref().map(label).unwrap_or_default();
        let (body, checked, base) = match part {
            Part {
                name: Some(name),
                user_data: Some(user_data),
                credentials: Some(credentials),
                scopes: Some(scopes),
                on_prem_agent_group_id,
            } => {
                let held = self.tray.authentication(session.acting(), metadata.id).await;
                let held = held.map_err(|error| Obstacle::of_call(&error))?;
                let body = Body {
                    name: Cow::Owned(name),
                    user_data: Cow::Borrowed(user_data),
                    credentials: Cow::Borrowed(credentials),
                    scopes: Some(scopes),
                    on_prem_agent_group_id: on_prem_agent_group_id.or(held.on_prem_agent_group_id),
                };
                let given = Given { scopes: body.scopes.as_deref(), credentials: true, over_sound: true };
                let checked = check(&body, given, environment.as_ref(), &service)?;
                (body, checked, None)
            }
            part => {
                let full = self.read_in_full(&metadata, session, "to complete an update in part").await?;
                let held = full.view().map_err(later)?;
                let over_sound = environment.as_ref().is_none_or(|one| is_sound(held.user_data, held.credentials, one));
                let scopes = part.scopes.clone();
                let given = Given { scopes: scopes.as_deref(), credentials: part.credentials.is_some(), over_sound };
                let body = Body {
                    name: Cow::Owned(part.name.unwrap_or(held.name)),
                    user_data: Cow::Owned(over(held.user_data, part.user_data)?),
                    credentials: Cow::Owned(over(held.credentials, part.credentials)?),
                    scopes: part.scopes.or(held.scopes),
                    on_prem_agent_group_id: part.on_prem_agent_group_id.or(held.on_prem_agent_group_id),
                };
                let checked = check(&body, given, environment.as_ref(), &service)?;
                let leaves =
                    Leaves::of_held(&self.cache, metadata.owner.external_user_id(), &full.view().map_err(later)?)?;
                (body, checked, Some(Base { leaves, metadata: metadata.clone() }))
            }
        };
        let metadata = Metadata { name: body.name.clone().into_owned(), ..metadata };
        Ok(Planned { operation: Operation::Replace { metadata }, body: Some(body), checked, base })
    }

    /// Whether Tray still holds what a part was put over, as far as another full read can tell: it takes the same
    /// permit, and is recorded alike. What changes between this and the sending is lost, for Tray has no conditions.
    pub(super) async fn is_unchanged(&self, base: &Base, session: &Session) -> Result<bool, Obstacle> {
        let full = self.read_in_full(&base.metadata, session, "to see that it is still as it was").await?;
        Ok(Leaves::of_held(&self.cache, base.metadata.owner.external_user_id(), &full.view().map_err(later)?)?
            == base.leaves)
    }

    /// The full read, where policy permits one.
    pub(super) async fn read_in_full(
        &self,
        metadata: &Metadata,
        session: &Session,
        because: &'static str,
    ) -> Result<FullAuthentication, Obstacle> {
        let refuse = |reason: &str, hint: &str| Obstacle::Refused(Refusal::new(Kind::Policy, reason).hint(hint));
        let target = Target::of(metadata);
        let decision = self.pull_decision(metadata, session).await?;
        let record = |outcome, rule: Option<&str>| {
            let event = Event::new(Action::Pull, outcome).on(target).under(rule).because(because);
            self.audit.record(&event).map_err(|error| Obstacle::Later(error.to_string()))
        };
        let rule = match decision {
            PullDecision::Permitted { rule } => rule,
            PullDecision::Refused { rule } => {
                record(Outcome::Refused, rule.as_deref())?;
                return Err(refuse("an update in part needs a full read, which no rule of [pull] permits", GIVE_ALL));
            }
        };
        let full = self.tray.full(session.acting().permit(), metadata.id, Refresh::AsItIs).await;
        record(if full.is_ok() { Outcome::Done } else { Outcome::Failed }, Some(&rule))?;
        full.map_err(|error| match error.class {
            Class::NotEnabled | Class::NotPermitted => refuse(
                "an update in part needs a full read, which Tray does not permit",
                "have Tray's support enable it, or give all of \"name\", \"userData\", \"credentials\" and \"scopes\"",
            ),
            _ => Obstacle::of_call(&error),
        })
    }
}

impl Planner {
    /// Whether it may be read in full; its scopes are asked for where that hangs on them.
    async fn pull_decision(&self, metadata: &Metadata, session: &Session) -> Result<PullDecision, Obstacle> {
        let policy = Arc::clone(&self.policy.borrow());
        if !policy.needs_scopes(metadata) {
            return Ok(policy.pull(metadata));
        }
        let asked = self.tray.authentication(session.acting(), metadata.id).await;
        let scopes = asked.map_err(|error| Obstacle::of_call(&error))?.scopes.unwrap_or_default();
        Ok(policy.pull(&Metadata { scopes: Some(scopes), ..metadata.clone() }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it maps an error")]
fn later(error: TrayError) -> Obstacle {
    Obstacle::of_call(&error)
}

/// An object that is held with what is given put over it.
fn over(held: &RawValue, given: Option<&RawValue>) -> Result<Box<RawValue>, Obstacle> {
    given
        .map_or_else(|| Some(held.to_owned()), |given| merged(held, given))
        .ok_or_else(|| Refusal::new(Kind::Document, "what is given can't be put over what is held").into())
}
