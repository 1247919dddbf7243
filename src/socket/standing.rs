//! `GET /v1/status`: how the daemon stands, for whoever may connect. Needs no keys, and no audit log.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Response, StatusCode},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Api,
    answer::{self, ApiError},
    asked::Asked,
};
use crate::{
    audit::{Action, Failure, Target},
    clauses::clauses,
    policy::{AccessDecision, Caller, Grant, What},
    status::{Posted, Problem},
    vault::{Ages, CacheError, Counts},
};

pub(super) async fn status(State(api): State<Arc<Api>>, Extension(caller): Extension<Arc<Caller>>) -> Response<Body> {
    #[derive(Serialize)]
    struct Status {
        version: &'static str,
        vault: &'static str,
        /// The epoch that seals; none while the vault is locked.
        epoch: Option<u32>,
        authentications: Counts,
        ages: Ages,
        /// Requests that were refused since the start; who may see them finds the last in `/v1/refusals`.
        refusals: u64,
        #[serde(flatten)]
        posted: Posted,
    }
    let asked = Asked::new(&api, caller);
    if let Err(error) = may_look(&asked) {
        return asked.answer(Err(error));
    }
    let (counts, keys) = (api.cache.counts(), api.cache.keyring().keys().ok());
    let mut posted = api.board.read();
    posted.problems.extend(in_the_way(&api, &counts));
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        vault: if keys.is_some() { "unlocked" } else { "locked" },
        epoch: keys.map(|keys| keys.epoch()),
        authentications: counts.unwrap_or_default(),
        ages: api.cache.ages(Timestamp::now()).unwrap_or_default(),
        refusals: api.refusals.count(),
        posted,
    };
    answer::json(StatusCode::OK, asked.id(), &status)
}

/// Whether the caller may see how the daemon stands: by its status, and by its metrics. Neither the vault's keys nor the
/// log are needed to say that they are not there.
pub(super) fn may_look(asked: &Asked<'_>) -> Result<(), ApiError> {
    match asked.policy().take(asked.caller(), Grant::Status, What::Any) {
        AccessDecision::Granted { .. } => Ok(()),
        AccessDecision::Refused(refusal) => Err(asked.refused(Action::Status, Target::default(), refusal)),
    }
}

/// What is wrong with the vault and its cache now.
pub(super) fn in_the_way(api: &Api, counts: &Result<Counts, CacheError>) -> Vec<Problem> {
    let problem = |what: String, hint: &str| Problem { what, hint: Some(hint.to_owned()) };
    let mut problems = Vec::new();
    if !api.cache.keyring().is_unlocked() {
        problems.push(problem("the vault is locked".to_owned(), "trayvault unlock"));
    }
    match counts {
        Ok(Counts { damaged: 0, .. }) => {}
        Ok(Counts { damaged, .. }) => {
            let what = format!("{damaged} records were damaged and are quarantined");
            problems.push(problem(what, "they are pulled again; does the disk fail?"));
        }
        Err(error) => {
            let what = format!("the cache can't be read: {}", clauses(error));
            problems.push(problem(what, "a damaged file is set aside, and rebuilt from Tray"));
        }
    }
    if let Some(reason) = api.cache.write_failure() {
        let what = format!("the cache can't be written, what it holds is read: {reason}");
        problems.push(problem(what, "is the disk full, or read-only?"));
    }
    if let Some(Failure { reason, hint }) = api.audit.failure() {
        let what = format!("no secret leaves, and nothing is sent: {reason}");
        problems.push(problem(what, hint.as_deref().unwrap_or("is the disk full, or read-only?")));
    } else if let Some(room) = api.audit.room_left() {
        let what =
            format!("the disk is full: the audit log has {} KiB left, and without it no secret leaves", room / 1024);
        problems.push(problem(what, "make room"));
    }
    problems
}
