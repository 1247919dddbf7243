//! The routes under `/v1`. Each decides, records the decision, then answers.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, State, rejection::QueryRejection},
    http::{Method, Request, Response, StatusCode},
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
    asked::{Asked, Id, authorised},
    events::{self, Endless},
    explaining, ingest, listing, manage, metrics,
    reading::{self, FullQuery, Question},
    refusals, standing,
};
use crate::{
    audit::{Action, Target},
    authentication::{AuthenticationId, Metadata},
    policy::{Caller, Grant, What},
    requests::CycleRequest,
    status::CycleReport,
    task::Shutdown,
    vault::{GoneReason, Record, State as Held},
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
    asked.answer(shown.map(|shown| answer::json(StatusCode::OK, asked.id(), &shown)))
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
    asked.answer(report.map(|report| answer::json(StatusCode::OK, asked.id(), &report)))
}

async fn synchronise(asked: &Asked<'_>, confirm_removals: bool) -> Result<CycleReport, ApiError> {
    let decision = |grant, what| asked.policy().take(asked.caller(), grant, what);
    asked.decided(Action::RequestSync, decision(Grant::Sync, What::Any))?;
    if confirm_removals {
        asked.decided(Action::ConfirmRemovals, decision(Grant::Manage, What::Everything))?;
    }
    asked.unlocked(Action::RequestSync, Target::default())?;
    let (request, report) = CycleRequest::new(confirm_removals);
    asked.api.requests.cycles.send(request).await.map_err(|_| ApiError::Stopping)?;
    report.await.map_err(|_| ApiError::Stopping)
}
