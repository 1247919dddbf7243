//! `GET /v1/authentications`: what is known, without secrets, a page at a time. Of each only what the caller may see.

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
    asked::Asked,
    routes::Shown,
};
use crate::{
    audit::{Action, Target},
    authentication::{AuthenticationId, ExternalUserId, Metadata},
    policy::{Caller, Grant, What},
    vault::{Cursor, Filter, State as Held},
};

/// How many authentications are on a page unless asked otherwise, and at most.
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1_000;

/// How many records are read at once: others get their turn in between.
const CHUNK: u32 = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// An `externalUserId`.
    owner: Option<String>,
    /// A service's name.
    service: Option<String>,
    /// The title of a service environment.
    environment: Option<String>,
    state: Option<Held>,
    /// How many, at most.
    limit: Option<usize>,
    /// The page begins behind this one.
    after: Option<AuthenticationId>,
}

/// A page, in an order that stays while authentications come and go.
#[derive(Serialize)]
struct Page {
    authentications: Vec<Shown>,
    /// What can't be read.
    damaged: Vec<AuthenticationId>,
    /// What the next page begins behind; none if this is the last.
    next: Option<AuthenticationId>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let page = match query {
        Ok(Query(query)) => page(&asked, query).await,
        Err(_) => Err(ApiError::BadRequest(
            "only owner, service, environment, state, limit and after (an id) may be asked for",
        )),
    };
    asked.answer(page.map(|page| answer::json(StatusCode::OK, asked.id(), &page)))
}

async fn page(asked: &Asked<'_>, query: ListQuery) -> Result<Page, ApiError> {
    asked.decided(Action::List, asked.policy().take(asked.caller(), Grant::Metadata, What::Any))?;
    asked.unlocked(Action::List, Target::default())?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(ApiError::BadRequest("limit is from 1 to 1000"));
    }
    let environment = query.environment.clone();
    let fits = |metadata: &Metadata| {
        let title = metadata.environment.as_ref().map(|environment| &environment.title);
        environment.is_none() || environment.as_ref() == title
    };
    let mut filter = filter(asked.api, query)?;
    let mut page = Page { authentications: Vec::new(), damaged: Vec::new(), next: None };
    loop {
        let listing = asked.api.cache.list(&filter).map_err(|error| Asked::unreadable(&error))?;
        let policy = asked.policy();
        let sees =
            |metadata: &Metadata| policy.access(asked.caller(), Grant::Metadata, What::One(metadata)).is_granted();
        // Whose a damaged record is can't be read: only who may see every one sees its id.
        if policy.access(asked.caller(), Grant::Metadata, What::Everything).is_granted() {
            page.damaged.extend(listing.damaged);
        }
        for record in listing.records.into_iter().filter(|record| fits(&record.metadata) && sees(&record.metadata)) {
            if page.authentications.len() == limit {
                page.next = page.authentications.last().map(Shown::id);
                break;
            }
            page.authentications.push(record.into());
        }
        filter.after = match (page.next, listing.next) {
            (Some(last), _) => {
                page.damaged.retain(|id| Cursor::of(*id) <= Cursor::of(last));
                return Ok(page);
            }
            (None, None) => return Ok(page),
            (None, next) => next,
        };
        tokio::task::yield_now().await;
    }
}

/// The cache finds owners by Tray's id; callers know them by the company's.
fn filter(api: &Api, query: ListQuery) -> Result<Filter, ApiError> {
    let ListQuery { owner, service, state, after, .. } = query;
    let owner_key = match owner {
        None => None,
        Some(external) => {
            let known = api.cache.user_by_external_id(&ExternalUserId(external));
            let user = known.map_err(|error| Asked::unreadable(&error))?;
            // An owner that is not known has no authentications; no key of Tray's is empty.
            Some(user.map_or_else(String::new, |user| user.id.0))
        }
    };
    let after = after.map(Cursor::of);
    Ok(Filter { owner_key, service, state, include_gone: true, after, limit: Some(CHUNK) })
}
