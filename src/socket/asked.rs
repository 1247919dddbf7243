//! One request: decided on, and recorded, before it is answered.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequestParts, Path},
    http::{Response, request::Parts},
};
use uuid::Uuid;

use super::{Api, answer::ApiError, held, refusals};
use crate::{
    audit::{Action, Actor, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata},
    pointer::Pointer,
    policy::{AccessDecision, Caller, Grant, Policy, Refusal, What},
    vault::{CacheError, Record, SealedSecret, Secret},
};

/// One request: who asks, under which id.
pub(super) struct Asked<'a> {
    pub(super) api: &'a Api,
    caller: Arc<Caller>,
    id: Uuid,
}

impl<'a> Asked<'a> {
    pub(super) fn new(api: &'a Api, caller: Arc<Caller>) -> Self {
        Self { api, caller, id: Uuid::new_v4() }
    }

    /// The request's id.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.api.policy.borrow())
    }

    /// An error, which is recorded, while the vault is locked: nobody can be decided on, or answered.
    pub(super) fn unlocked(&self, action: Action, target: Target) -> Result<(), ApiError> {
        if self.api.cache.keyring().is_unlocked() { Ok(()) } else { Err(self.locked(action, target)) }
    }

    fn locked(&self, action: Action, target: Target) -> ApiError {
        self.note_refusal(action, &target, "locked");
        let event = self.event(action, Outcome::Refused).on(target).because(ApiError::Locked.message());
        self.record(&event).err().unwrap_or(ApiError::Locked)
    }

    pub(super) fn event(&self, action: Action, outcome: Outcome) -> Event {
        let Caller { uid, gids, .. } = &*self.caller;
        let gid = gids.first().copied().unwrap_or_default();
        let unit = self.caller.unit().map(str::to_owned);
        Event::new(action, outcome).by(Actor { uid: *uid, gid, unit }).request(self.id)
    }

    pub(super) fn record(&self, event: &Event) -> Result<(), ApiError> {
        self.api.audit.record(event).map_err(|error| {
            tracing::error!(%error, "an answer was withheld");
            ApiError::AuditUnavailable
        })
    }

    /// The same, written together with those of others that come at the same time.
    async fn record_together(&self, event: Event) -> Result<(), ApiError> {
        self.api.audit.record_together(event).await.map_err(|error| {
            tracing::error!(%error, "an answer was withheld");
            ApiError::AuditUnavailable
        })
    }

    /// The same on stable storage, before something is done.
    pub(super) fn record_synced(&self, event: &Event) -> Result<(), ApiError> {
        self.api.audit.record_synced(event).map_err(|error| {
            tracing::error!(%error, "nothing was done");
            ApiError::AuditUnavailable
        })
    }

    /// Records a decision on what names no authentication; an error unless it grants.
    pub(super) fn decided(&self, action: Action, decision: AccessDecision) -> Result<(), ApiError> {
        match decision {
            AccessDecision::Granted { rule } => self.record(&self.event(action, Outcome::Done).under(Some(rule))),
            AccessDecision::Refused(refusal) => Err(self.refused(action, Target::default(), refusal)),
        }
    }

    /// Records a refusal; the error to answer with.
    pub(super) fn refused(&self, action: Action, target: Target, refusal: Refusal) -> ApiError {
        self.note_refusal(action, &target, refusals::word(refusal));
        let event = self.event(action, Outcome::Refused).on(target).because(refusal.as_str());
        let answer = if refusal == Refusal::TooOften { ApiError::TooOften } else { ApiError::Forbidden };
        // What the guard sees is evidence.
        let recorded = if refusal.is_guards() { self.record_synced(&event) } else { self.record(&event) };
        recorded.err().unwrap_or(answer)
    }

    pub(super) fn unreadable(error: &CacheError) -> ApiError {
        if error.is_locked() {
            return ApiError::Locked;
        }
        tracing::error!(%error, "the cache could not be read");
        ApiError::CacheUnavailable
    }

    pub(super) fn answer(&self, outcome: Result<Response<Body>, ApiError>) -> Response<Body> {
        outcome.unwrap_or_else(|error| error.answer(self.id))
    }
}

/// The id in a path, as it stands there. What is not UTF-8 is none: a rejection of axum's own would have no code.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(path.map_or_else(|_| String::new(), |Path(id)| id)))
    }
}

/// The id of an authentication, as it was asked for.
pub(super) fn parse_id(id: &str) -> Result<AuthenticationId, ApiError> {
    id.parse().map_err(|_| ApiError::BadRequest("the id of an authentication is a UUID"))
}

/// A request that names an authentication and was granted. Its outcome is still to be recorded.
pub(super) struct Granted<'a> {
    asked: &'a Asked<'a>,
    action: Action,
    grant: Grant,
    /// What of it, if not all.
    part: Option<&'a Pointer>,
    id: AuthenticationId,
    /// What granted it.
    policy: Arc<Policy>,
    rule: Arc<str>,
    record: Option<Record>,
    /// Looked up with the record, where it was asked for.
    sealed: Option<SealedSecret>,
}

impl<'a> Granted<'a> {
    /// Finds what a request names, and decides whether the caller gets it. A refusal is recorded.
    pub(super) fn decide(
        asked: &'a Asked<'a>,
        id: AuthenticationId,
        part: Option<&'a Pointer>,
        action: Action,
        grant: Grant,
    ) -> Result<Self, ApiError> {
        let found = match grant {
            Grant::Read => asked.api.cache.held(id).map(|held| held.map(|held| (held.record, held.sealed)).unzip()),
            _ => asked.api.cache.record(id).map(|record| (record, None)),
        };
        // Whoever is not granted everything does not learn what is damaged, either.
        let (found, unreadable) = match found {
            Ok(found) => (found, None),
            Err(error @ CacheError::Damaged { .. }) => ((None, None), Some(Asked::unreadable(&error))),
            Err(error) if error.is_locked() => return Err(asked.locked(action, unknown(id))),
            Err(error) => return Err(Asked::unreadable(&error)),
        };
        let (record, sealed) = found;
        // Whoever is not granted everything does not learn what there is not.
        let what = record.as_ref().map_or(What::Everything, |record| what(&record.metadata, part));
        let policy = asked.policy();
        match (policy.take(&asked.caller, grant, what), unreadable) {
            (AccessDecision::Granted { .. }, Some(error)) => Err(error),
            (AccessDecision::Granted { rule }, None) => {
                Ok(Self { asked, action, grant, part, id, policy, rule, record, sealed: sealed.flatten() })
            }
            (AccessDecision::Refused(refusal), _) => Err(asked.refused(action, target(id, record), refusal)),
        }
    }

    /// What is known of what was asked for.
    pub(super) fn record(&self) -> Result<&Record, ApiError> {
        self.record.as_ref().ok_or(ApiError::NotFound)
    }

    /// An error where the same policy does not permit that it is held.
    pub(super) fn permitted(&self) -> Result<(), ApiError> {
        held::permitted(&self.policy, &self.record()?.metadata)
    }

    /// The secret, opened now that it is granted; `None` if none is held.
    pub(super) fn secret(&self) -> Result<Option<Secret>, ApiError> {
        let opened = self.sealed.as_ref().map(|sealed| self.asked.api.cache.open_secret(sealed)).transpose();
        opened.map_err(|error| Asked::unreadable(&error))
    }

    /// Records that what was granted begins.
    pub(super) fn begun(&self) -> Result<(), ApiError> {
        let event = self.asked.event(self.action, Outcome::Begun).on(target(self.id, self.record.clone()));
        self.asked.record(&event.under(Some(Arc::clone(&self.rule))))
    }

    /// Whether it is granted still, after a wait.
    pub(super) fn again(&self) -> Result<(), ApiError> {
        let what = what(&self.record()?.metadata, self.part);
        match self.asked.policy().access(&self.asked.caller, self.grant, what) {
            AccessDecision::Granted { .. } => Ok(()),
            AccessDecision::Refused(refusal) => {
                Err(self.asked.refused(self.action, target(self.id, self.record.clone()), refusal))
            }
        }
    }

    /// Records how it ended. What was prepared leaves this function only once its entry is written.
    pub(super) async fn ended<T>(self, prepared: Result<T, ApiError>) -> Result<T, ApiError> {
        let Self { asked, action, id, record, rule, .. } = self;
        let event = match &prepared {
            Ok(_) => asked.event(action, Outcome::Done),
            Err(error) => asked.event(action, Outcome::Failed).because(error.message()),
        };
        asked.record_together(event.on(target(id, record)).under(Some(rule))).await?;
        prepared
    }
}

fn target(id: AuthenticationId, record: Option<Record>) -> Target {
    record.map_or_else(|| unknown(id), |record| record.metadata.into())
}

/// Nothing else is known of it, or there is nobody to learn it.
fn unknown(id: AuthenticationId) -> Target {
    Target { authentication: Some(id), ..Target::default() }
}

fn what<'a>(metadata: &'a Metadata, part: Option<&'a Pointer>) -> What<'a> {
    part.map_or(What::One(metadata), |part| What::Part(metadata, part))
}

/// Decides on a request, prepares its answer, and records how it ended.
pub(super) async fn authorised<T>(
    asked: &Asked<'_>,
    id: &str,
    action: Action,
    grant: Grant,
    prepare: impl FnOnce(&Record) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let granted = Granted::decide(asked, parse_id(id)?, None, action, grant)?;
    let prepared = granted.record().and_then(prepare);
    granted.ended(prepared).await
}
