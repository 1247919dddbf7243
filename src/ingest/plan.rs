//! From a document to what is sent: reads in Tray what that takes, and writes nothing.

use std::{borrow::Cow, sync::Arc};

use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{
    check::{Checked, Given, check},
    document::{Document, Request, ServiceReference, Whole},
    environments::Environments,
    intent::{Creation, Operation, Sent},
    journal::now,
    refusal::{Kind, Refusal},
    update::Base,
    validate::Resolved,
};
use crate::{
    audit::AuditLog,
    authentication::{AuthenticationId, Owner, ServiceEnvironmentId},
    policy::Policy,
    principals::{PrincipalError, Principals, Session},
    tray::{Class, Listed, Tray, TrayError},
    vault::Cache,
};

/// What plans.
pub(super) struct Planner {
    pub(super) tray: Tray,
    pub(super) principals: Principals,
    pub(super) cache: Cache,
    pub(super) audit: AuditLog,
    pub(super) policy: watch::Receiver<Arc<Policy>>,
    pub(super) environments: Environments,
}

/// Why there is no plan.
pub(super) enum Obstacle {
    /// There never will be.
    Refused(Refusal),
    /// Something is in the way, for now: one clause.
    Later(String),
    /// Tray does not accept the owner's token.
    TokenRejected,
}

/// A whole body, as Tray takes it.
pub(super) struct Body<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) user_data: Cow<'a, RawValue>,
    pub(super) credentials: Cow<'a, RawValue>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) on_prem_agent_group_id: Option<String>,
}

/// What is to be sent.
pub(super) struct Plan<'a> {
    pub(super) sent: Sent,
    /// `None` for a delete.
    pub(super) body: Option<Body<'a>>,
    /// What a part was put over, if it was: before the body is sent it must still be that.
    pub(super) base: Option<Base>,
}

/// What a document comes to, before it is known when it is sent.
pub(super) struct Planned<'a> {
    pub(super) operation: Operation,
    /// `None` for a delete.
    pub(super) body: Option<Body<'a>>,
    pub(super) checked: Checked,
    pub(super) base: Option<Base>,
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Obstacle {
    /// What an error of a call by an owner means.
    pub(super) fn of_call(error: &TrayError) -> Self {
        match error.class {
            Class::RetryLater | Class::UnknownOutcome => Self::Later(error.to_string()),
            Class::TokenRejected => Self::TokenRejected,
            Class::NotPermitted | Class::NotEnabled | Class::Gone | Class::BadInput => {
                let hint = match error.class {
                    Class::BadInput => {
                        "Tray's own words may quote what was sent and are not kept: see the service's form in Tray"
                    }
                    Class::Gone => "it may have been deleted, or belong to another owner",
                    _ => "the owner's token must be allowed to do this",
                };
                Self::Refused(Refusal::new(Kind::Tray, error.to_string()).hint(hint))
            }
        }
    }

    /// What it means that there is no session.
    pub(super) fn of_session(error: &PrincipalError) -> Self {
        match error {
            PrincipalError::NotConfigured(_) | PrincipalError::Workspace(_) if error.class().is_none() => {
                Self::Refused(Refusal::new(Kind::Unresolved, error.to_string()))
            }
            _ if error.class() == Some(Class::Gone) => {
                Self::Refused(Refusal::new(Kind::Unresolved, "Tray has no such end user").at("/user"))
            }
            _ => Self::Later(error.to_string()),
        }
    }
}

impl<'a> Body<'a> {
    /// The body of a document that has all of it.
    pub(super) fn of(whole: &'a Whole<'a>) -> Self {
        Self {
            name: Cow::Borrowed(&whole.name),
            user_data: whole.user_data.map_or_else(|| Cow::Owned(empty_object()), Cow::Borrowed),
            credentials: Cow::Borrowed(whole.credentials),
            scopes: whole.scopes.clone(),
            on_prem_agent_group_id: whole.on_prem_agent_group_id.clone(),
        }
    }
}

fn empty_object() -> Box<RawValue> {
    let empty = RawValue::from_string("{}".to_owned());
    empty.unwrap_or_else(|_| unreachable!("an empty object is JSON"))
}

impl Planner {
    /// What is to be sent for a document.
    pub(super) async fn plan<'a>(
        &self,
        document: &'a Document<'a>,
        owner: &Owner,
        session: &Session,
    ) -> Result<Plan<'a>, Obstacle> {
        let Planned { operation, body, checked, base } = match &document.request {
            Request::Create(whole) => self.plan_create(whole, session).await?,
            Request::Upsert(whole) => self.plan_upsert(whole, owner, session).await?,
            Request::Update { id, part } => {
                let metadata = self.listed(*id, session).await?.into_metadata(owner.clone());
                self.plan_update(metadata, part.clone(), session).await?
            }
            Request::Delete { id } => {
                self.listed(*id, session).await?;
                Planned {
                    operation: Operation::Delete { id: *id },
                    body: None,
                    checked: Checked::default(),
                    base: None,
                }
            }
        };
        let Checked { schemas: schema_checked, notes } = checked;
        let sent = Sent { owner: owner.clone(), operation, schema_checked, notes, sent_at: now(), attempt: 1 };
        Ok(Plan { sent, body, base })
    }

    async fn plan_create<'a>(&self, whole: &'a Whole<'a>, session: &Session) -> Result<Planned<'a>, Obstacle> {
        let (resolved, body, checked) = self.complete(whole, Some(session)).await?;
        let all = self.list(session).await?;
        let operation = Operation::Create(creation(whole, resolved, &all));
        Ok(Planned { operation, body: Some(body), checked, base: None })
    }

    /// The environment and the checked body of a document that has all of it.
    pub(super) async fn complete<'a>(
        &self,
        whole: &'a Whole<'a>,
        session: Option<&Session>,
    ) -> Result<(Resolved, Body<'a>, Checked), Obstacle> {
        let resolved = self.resolve(whole, session).await?;
        let body = Body::of(whole);
        let given = Given { scopes: whole.scopes.as_deref(), credentials: true, over_sound: true };
        let checked = check(&body, given, resolved.looked_up.as_ref(), &resolved.service)?;
        Ok((resolved, body, checked))
    }

    async fn plan_upsert<'a>(
        &self,
        whole: &'a Whole<'a>,
        owner: &Owner,
        session: &Session,
    ) -> Result<Planned<'a>, Obstacle> {
        let (resolved, body, checked) = self.complete(whole, Some(session)).await?;
        let all = self.list(session).await?;
        let mut found = Vec::new();
        for one in all.iter().filter(|one| one.name == whole.name) {
            if self.environment_id(one, session).await?.is_some_and(|id| id == resolved.id) {
                found.push(one.clone());
            }
        }
        match <[Listed; 1]>::try_from(found) {
            Ok([one]) => self.plan_update(one.into_metadata(owner.clone()), whole.as_part(), session).await,
            Err(none) if none.is_empty() => {
                let operation = Operation::Create(creation(whole, resolved, &all));
                Ok(Planned { operation, body: Some(body), checked, base: None })
            }
            Err(several) => {
                let reason = format!("{} authentications have that owner, environment and name", several.len());
                Err(Refusal::new(Kind::Unresolved, reason).hint("name one by its id in an update").into())
            }
        }
    }

    /// The owner's authentications.
    pub(super) async fn list(&self, session: &Session) -> Result<Vec<Listed>, Obstacle> {
        self.tray.authentications(session.acting()).await.map_err(|error| Obstacle::of_call(&error))
    }

    /// The service environment of one that is listed. The list may leave it out; to ask for the one itself tells.
    pub(super) async fn environment_id(
        &self,
        listed: &Listed,
        session: &Session,
    ) -> Result<Option<ServiceEnvironmentId>, Obstacle> {
        if let Some(environment) = &listed.environment {
            return Ok(Some(environment.id.clone()));
        }
        match self.tray.authentication(session.acting(), listed.id).await {
            Ok(summary) => Ok(summary.service_environment_id),
            Err(error) if error.class == Class::Gone => Ok(None),
            Err(error) => Err(Obstacle::of_call(&error)),
        }
    }

    /// Whether Tray still has an authentication. The cache may not know: a list may lag behind what was just made.
    pub(super) async fn exists(&self, id: AuthenticationId, session: &Session) -> Result<bool, Obstacle> {
        match self.tray.authentication(session.acting(), id).await {
            Ok(_) => Ok(true),
            Err(error) if error.class == Class::Gone => Ok(false),
            Err(error) => Err(Obstacle::of_call(&error)),
        }
    }

    /// The one of the owner's authentications that a document names.
    async fn listed(&self, id: AuthenticationId, session: &Session) -> Result<Listed, Obstacle> {
        self.list(session).await?.into_iter().find(|one| one.id == id).ok_or_else(|| {
            let refusal = Refusal::new(Kind::Unresolved, "the owner has no such authentication");
            refusal.at("/authenticationId").hint("\"user\" must name the end user who owns it").into()
        })
    }
}

fn creation(whole: &Whole<'_>, resolved: Resolved, before: &[Listed]) -> Creation {
    Creation {
        name: whole.name.clone(),
        service: whole.service.as_ref().map(ServiceReference::as_service),
        environment: resolved.id,
        title: resolved.looked_up.map(|environment| environment.title),
        before: before.iter().map(|one| one.id).collect(),
    }
}
