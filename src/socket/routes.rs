//! The routes under `/v1`. Each decides, records the decision, then answers.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    Extension, Router,
    body::Body,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State, rejection::QueryRejection},
    http::{Method, Request, Response, StatusCode, request::Parts},
    middleware,
    routing::{MethodRouter, get, post},
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Api,
    answer::{self, ApiError},
    events::{self, Endless},
    explaining, held, ingest, listing, manage, metrics,
    reading::{self, FullQuery, Question},
    refusals, standing,
};
use crate::{
    audit::{Action, Actor, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata},
    pointer::Pointer,
    policy::{AccessDecision, Caller, Grant, Policy, Refusal, What},
    requests::CycleRequest,
    status::CycleReport,
    task::Shutdown,
    vault::{CacheError, GoneReason, Record, SealedSecret, Secret, State as Held},
};

/// The largest body of a request, in bytes: a passphrase, or a document.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

/// A path, in which both axum and OpenAPI write parameters in braces, and what answers there by which methods.
pub(super) type Route = (&'static str, MethodRouter<Arc<Api>>);

/// The path that is asked for in microseconds, and all others.
const FULL: &str = "/v1/authentications/{id}/full";

/// What answers.
#[derive(Clone)]
pub(super) struct Routes {
    api: Arc<Api>,
    router: TowerToHyperService<Router>,
}

/// What is known of a request besides its text.
pub(super) struct Session<'a> {
    pub(super) caller: Arc<Caller>,
    pub(super) shutdown: &'a Shutdown,
    pub(super) endless: &'a Endless,
}

impl Routes {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { router: TowerToHyperService::new(router(Arc::clone(&api))), api }
    }

    pub(super) async fn answer(&self, mut request: Request<Body>, session: Session<'_>) -> Response<Body> {
        let Session { caller, shutdown, endless } = session;
        // A read of a secret spends as long on its way through the router as on everything else: it goes past it.
        if let (&Method::GET, Some(id)) = (request.method(), full_path(request.uri().path())) {
            let begun = Instant::now();
            let question = Question::of(id, FullQuery::of(request.uri()), request.headers());
            drop(request);
            let response = reading::answer(&self.api, caller, question).await;
            self.api.metrics.answered(FULL, "GET", response.status().as_u16(), begun.elapsed());
            return response;
        }
        let known = request.extensions_mut();
        known.insert(caller);
        known.insert(shutdown.clone());
        known.insert(endless.clone());
        match self.router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The id in the path of a read. One that is written in any other way than it is printed is the router's.
fn full_path(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/v1/authentications/")?.strip_suffix("/full")?;
    (id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then_some(id)
}

pub(super) fn router(api: Arc<Api>) -> Router {
    let routed = routes().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    routed
        .fallback(async || ApiError::NoRoute.answer(Uuid::new_v4()))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed.answer(Uuid::new_v4()))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), metrics::count))
        .with_state(api)
}

/// Every path that is answered on, as `docs/openapi.json` has it.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = vec![
        ("/v1/status", get(standing::status)),
        ("/v1/health/live", get(live)),
        ("/v1/health/ready", get(ready)),
        ("/v1/authentications", get(listing::list)),
        ("/v1/authentications/{id}", get(metadata)),
        ("/v1/authentications/{id}/pull", get(explaining::pull)),
        ("/v1/authentications/{id}/access", get(explaining::access)),
        ("/v1/authentications/{id}/who-can", get(explaining::who_can)),
        (FULL, get(reading::full)),
        ("/v1/authentications/{id}/refresh", post(reading::refresh)),
        ("/v1/events", get(events::events)),
        ("/v1/sync", post(sync)),
        ("/v1/refusals", get(refusals::list)),
        ("/metrics", get(metrics::metrics)),
    ];
    routes.extend(manage::routes());
    routes.extend(ingest::routes());
    routes
}

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

/// An authentication without its secret, as the API shows it.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    metadata: Metadata,
    state: Held,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<GoneReason>,
    revision: u64,
    listed_at: Timestamp,
    fetched_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl Shown {
    pub(super) fn id(&self) -> AuthenticationId {
        self.metadata.id
    }
}

impl From<Record> for Shown {
    fn from(record: Record) -> Self {
        let Record { metadata, state, gone, revision, listed_at, fetched_at, expires_at } = record;
        Self { metadata, state, gone, revision, listed_at, fetched_at, expires_at }
    }
}

async fn live() -> Response<Body> {
    answer::json(StatusCode::OK, Uuid::new_v4(), &serde_json::json!({ "status": "live" }))
}

/// Ready: what is sealed can be read and answered. That does not wait for Tray.
async fn ready(State(api): State<Arc<Api>>) -> Response<Body> {
    let id = Uuid::new_v4();
    match api.cache.generation() {
        Ok(_) if !api.cache.keyring().is_unlocked() => ApiError::Locked.answer(id),
        Ok(_) => answer::json(StatusCode::OK, id, &serde_json::json!({ "status": "ready" })),
        Err(error) => Asked::unreadable(&error).answer(id),
    }
}

async fn metadata(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Id(id): Id,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let shown = authorised(&asked, &id, Action::List, Grant::Metadata, |record| Ok(Shown::from(record.clone()))).await;
    asked.answer(shown.map(|shown| answer::json(StatusCode::OK, asked.id, &shown)))
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SyncQuery {
    /// Whether it may remove more than a cycle may do unasked.
    #[serde(default)]
    confirm_removals: bool,
}

async fn sync(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    query: Result<Query<SyncQuery>, QueryRejection>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let report = match query {
        Ok(Query(query)) => synchronise(&asked, query.confirm_removals).await,
        Err(_) => Err(ApiError::BadRequest("only confirm_removals=true may be asked for")),
    };
    asked.answer(report.map(|report| answer::json(StatusCode::OK, asked.id, &report)))
}

async fn synchronise(asked: &Asked<'_>, confirm_removals: bool) -> Result<CycleReport, ApiError> {
    let decision = |grant, what| asked.policy().take(&asked.caller, grant, what);
    asked.decided(Action::RequestSync, decision(Grant::Sync, What::Any))?;
    if confirm_removals {
        asked.decided(Action::ConfirmRemovals, decision(Grant::Manage, What::Everything))?;
    }
    asked.unlocked(Action::RequestSync, Target::default())?;
    let (request, report) = CycleRequest::new(confirm_removals);
    asked.api.requests.cycles.send(request).await.map_err(|_| ApiError::Stopping)?;
    report.await.map_err(|_| ApiError::Stopping)
}
