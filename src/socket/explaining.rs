//! How decisions come about, for the people who write the rules.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{Response, StatusCode},
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    answer::{self, ApiError},
    asked::{Asked, Id, authorised},
};
use crate::{
    audit::Action,
    authentication::AuthenticationId,
    pointer::Pointer,
    policy::{Access, AccessExplanation, Caller, Grant, GuardConfig, Process, PullExplanation, What},
    vault::{Record, State as Held},
};

/// How a decision on a pull came about, and what it was about.
#[derive(Serialize)]
struct WhyPull {
    id: AuthenticationId,
    state: Held,
    /// Whether the decision hangs on scopes that are not known yet.
    needs_scopes: bool,
    #[serde(flatten)]
    explanation: PullExplanation,
}

pub(super) async fn pull(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Id(id): Id,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let why = authorised(&asked, &id, Action::List, Grant::Metadata, |record| {
        let policy = asked.policy();
        let Record { metadata, state, .. } = record;
        Ok(WhyPull {
            id: metadata.id,
            state: *state,
            needs_scopes: policy.needs_scopes(metadata),
            explanation: policy.explain_pull(metadata),
        })
    })
    .await;
    asked.answer(why.map(|why| answer::json(StatusCode::OK, asked.id(), &why)))
}

/// A caller, as it may be supposed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Supposed {
    /// User id; no user of the host's, if absent.
    uid: Option<u32>,
    /// Group ids, with commas between them, the primary one first.
    gids: Option<String>,
    /// The unit that it runs in.
    unit: Option<String>,
    /// The name of its program.
    process: Option<String>,
    /// A JSON pointer, if it asks for one value.
    field: Option<Pointer>,
}

/// How a decision on a read would come about, and what it would be about.
#[derive(Serialize)]
struct WhyRead {
    id: AuthenticationId,
    state: Held,
    #[serde(flatten)]
    explanation: AccessExplanation,
}

/// Whether a caller would be given the secret. What a rule's rate leaves, and what runs beside the caller, is not known.
pub(super) async fn access(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Id(id): Id,
    query: Result<Query<Supposed>, QueryRejection>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let supposed = query.ok().and_then(|Query(query)| Some((query.caller()?, query.field)));
    let why = match supposed {
        Some((supposed, field)) => {
            authorised(&asked, &id, Action::Explain, Grant::Manage, |record| {
                let Record { metadata, state, .. } = record;
                let what = field.as_ref().map_or(What::One(metadata), |field| What::Part(metadata, field));
                let explanation = asked.policy().explain_access(&supposed, Grant::Read, what);
                Ok(WhyRead { id: metadata.id, state: *state, explanation })
            })
            .await
        }
        None => Err(ApiError::BadRequest(
            "only uid, gids (numbers, with commas between them), unit, process and field (a JSON pointer) may be given",
        )),
    };
    asked.answer(why.map(|why| answer::json(StatusCode::OK, asked.id(), &why)))
}

impl Supposed {
    /// `None` for groups that are none.
    fn caller(&self) -> Option<Caller> {
        let gids = self.gids.as_deref().filter(|gids| !gids.is_empty());
        let gids: Result<Vec<u32>, _> = gids.into_iter().flat_map(|gids| gids.split(',')).map(str::parse).collect();
        let process = Process::Known {
            unit: self.unit.clone(),
            units: self.unit.iter().cloned().collect(),
            names: self.process.iter().cloned().collect(),
            beside_guarded: false,
        };
        // (uid_t) -1 is nobody's (setreuid(2)).
        Some(Caller { uid: self.uid.unwrap_or(u32::MAX), gids: gids.ok()?, process })
    }
}

/// Who is granted something on an authentication, by which rules, and who never is.
#[derive(Serialize)]
struct WhoCan {
    id: AuthenticationId,
    rules: Vec<Access>,
    workflow_guard: GuardConfig,
}

pub(super) async fn who_can(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Id(id): Id,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let who = authorised(&asked, &id, Action::Explain, Grant::Manage, |record| {
        let policy = asked.policy();
        let (id, rules) = (record.metadata.id, policy.who_can(&record.metadata));
        Ok(WhoCan { id, rules, workflow_guard: policy.guard().config().clone() })
    })
    .await;
    asked.answer(who.map(|who| answer::json(StatusCode::OK, asked.id(), &who)))
}
