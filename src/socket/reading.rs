//! Reading a secret: from the sealed cache, or, where a caller asks for a fresher one than is held, from Tray first.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, Response, StatusCode, Uri, header},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Api,
    answer::{self, ApiError},
    asked::{Asked, Granted, Id, parse_id},
    held,
    routes::Shown,
};
use crate::{
    audit::Action,
    authentication::AuthenticationId,
    freshness::Standing,
    members::Members,
    pointer::Pointer,
    policy::{Caller, Grant},
    requests::{PartRequest, RefreshRequest, Refreshed},
    secret::SecretBytes,
    vault::Secret,
};

/// How long a caller waits for Tray.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an answer has around a value, in bytes, but for the pointer to it.
const ENVELOPE: usize = 512;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FullQuery {
    /// A JSON pointer (RFC 6901) into Tray's answer: only that value is given.
    field: Option<Pointer>,
    /// The oldest value that will do, in seconds.
    max_age: Option<u64>,
    /// Whether a stale value won't do.
    #[serde(default)]
    require_fresh: bool,
}

/// Where an answered value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Cache,
    /// It was pulled for this answer.
    Tray,
}

pub(super) async fn full(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Id(id): Id,
    query: Result<Query<FullQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response<Body> {
    answer(&api, caller, Question::of(&id, query, &headers)).await
}

/// What a caller asks for, without the text of its request: hyper reads the next one into the same memory, once nothing
/// holds on to this one.
pub(super) struct Question {
    id: AuthenticationId,
    query: FullQuery,
    known: Known,
}

impl Question {
    pub(super) fn of(
        id: &str,
        query: Result<Query<FullQuery>, QueryRejection>,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        let Query(query) = query.map_err(|_| ApiError::BadRequest(
            "only field (a JSON pointer, which begins with a slash), max_age (in seconds) and require_fresh=true may be asked for",
        ))?;
        Ok(Self { id: parse_id(id)?, query, known: Known::of(headers) })
    }
}

pub(super) async fn answer(api: &Api, caller: Arc<Caller>, question: Result<Question, ApiError>) -> Response<Body> {
    let asked = Asked::new(api, caller);
    let content = match question {
        Ok(question) => read(&asked, &question).await,
        Err(error) => Err(error),
    };
    asked.answer(content.map(|(revision, content)| match content {
        Some(content) => answer::secret(asked.id(), revision, content),
        None => answer::not_modified(asked.id(), revision),
    }))
}

/// The revisions that a caller holds already: `If-None-Match` (RFC 9110, section 13.1.2).
struct Known(Vec<String>);

impl Known {
    fn of(headers: &HeaderMap) -> Self {
        let listed = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        Self(listed.flat_map(|list| list.split(',')).map(|tag| tag.trim().to_owned()).collect())
    }

    fn has(&self, revision: u64) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let tag = answer::entity_tag(revision);
        // The comparison is the weak one.
        self.0.iter().any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    }
}

/// A revision, and the answer unless the caller holds that one.
type Content = (u64, Option<SecretBytes>);

async fn read(asked: &Asked<'_>, Question { id, query, known }: &Question) -> Result<Content, ApiError> {
    let granted = Granted::decide(asked, *id, query.field.as_ref(), Action::Read, Grant::Read)?;
    let content = find(asked.api, &granted, query, known).await;
    granted.ended(content).await
}

async fn find(api: &Api, granted: &Granted<'_>, query: &FullQuery, known: &Known) -> Result<Content, ApiError> {
    let metadata = &granted.record()?.metadata;
    let id = metadata.id;
    granted.permitted()?;
    let was_held = match held::answerable(api, granted.secret()?)? {
        Some((held, standing)) if query.is_met_by(&held, standing) => {
            return reveal(id, held, standing, Source::Cache, query, known);
        }
        None if !query.asks_for_fresh() => return Err(ApiError::NotHeld),
        held => held.is_some(),
    };
    // Who asked is on record before: it goes on though they hang up.
    granted.begun()?;
    let refreshed = refreshed(api, id, None).await?;
    // The rules may have changed meanwhile.
    granted.again()?;
    held::permitted(&api.policy.borrow(), metadata)?;
    let source = match refreshed {
        Refreshed::Pulled => Source::Tray,
        Refreshed::Current => Source::Cache,
        Refreshed::Refused => return Err(ApiError::NotHeld),
        Refreshed::Failed(..) if was_held => return Err(ApiError::Stale),
        Refreshed::Failed(_, trouble) => return Err(trouble.into()),
    };
    let (held, standing) = held::open(api, metadata)?.ok_or(ApiError::NotHeld)?;
    if query.takes(standing) && (source == Source::Tray || query.is_met_by(&held, standing)) {
        reveal(id, held, standing, source, query, known)
    } else {
        // Tray has no other.
        Err(ApiError::Stale)
    }
}

impl FullQuery {
    pub(super) fn of(uri: &Uri) -> Result<Query<Self>, QueryRejection> {
        // Most ask for nothing in particular: then there is nothing to take apart.
        uri.query().map_or_else(|| Ok(Query(Self::default())), |_| Query::try_from_uri(uri))
    }

    fn asks_for_fresh(&self) -> bool {
        self.max_age.is_some() || self.require_fresh
    }

    fn takes(&self, standing: Standing) -> bool {
        match standing {
            Standing::Fresh => true,
            Standing::Stale => !self.require_fresh,
            Standing::TooStale | Standing::Refused => false,
        }
    }

    fn is_met_by(&self, held: &Secret, standing: Standing) -> bool {
        let is_young = |most| {
            // Of a value from the future the age is not known.
            let age = Timestamp::now().duration_since(held.fetched_at);
            u64::try_from(age.as_secs()).is_ok_and(|age| age <= most)
        };
        self.takes(standing) && self.max_age.is_none_or(is_young)
    }
}

/// Has it pulled, and waits.
async fn refreshed(api: &Api, id: AuthenticationId, rejected: Option<u64>) -> Result<Refreshed, ApiError> {
    let (request, answer) = RefreshRequest::new(id, rejected);
    let asked = async {
        api.requests.parts.send(PartRequest::Authentication(request)).await.map_err(|_| ApiError::Stopping)?;
        answer.await.map_err(|_| ApiError::Stopping)
    };
    // It goes on, for whoever asks next.
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(ApiError::Upstream))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshQuery {
    /// The revision whose credentials their service rejected.
    rejected: Option<u64>,
}

pub(super) async fn refresh(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Id(id): Id,
    query: Result<Query<RefreshQuery>, QueryRejection>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let outcome = match query {
        Ok(Query(query)) => refresh_now(&asked, &id, query.rejected).await,
        Err(_) => Err(ApiError::BadRequest("only rejected may be given: the revision that was rejected")),
    };
    asked.answer(outcome.map(|answer| answer::json(StatusCode::OK, asked.id(), &answer)))
}

#[derive(Serialize)]
struct RefreshAnswer {
    outcome: &'static str,
    #[serde(flatten)]
    shown: Shown,
}

async fn refresh_now(asked: &Asked<'_>, id: &str, rejected: Option<u64>) -> Result<RefreshAnswer, ApiError> {
    let granted = Granted::decide(asked, parse_id(id)?, None, Action::Refresh, Grant::Refresh)?;
    let answer = async {
        let id = granted.record()?.metadata.id;
        // Who asked is on record before: it goes on though they hang up.
        granted.begun()?;
        let outcome = match refreshed(asked.api, id, rejected).await? {
            Refreshed::Pulled => "pulled",
            Refreshed::Current => "current",
            Refreshed::Refused => return Err(ApiError::NotHeld),
            Refreshed::Failed(_, trouble) => return Err(trouble.into()),
        };
        let now = asked.api.cache.record(id).map_err(|error| Asked::unreadable(&error))?;
        Ok(RefreshAnswer { outcome, shown: now.ok_or(ApiError::NotFound)?.into() })
    };
    let answer = answer.await;
    granted.ended(answer).await
}

/// Puts the answer together, around the text as Tray sent it.
fn reveal(
    id: AuthenticationId,
    secret: Secret,
    standing: Standing,
    source: Source,
    query: &FullQuery,
    known: &Known,
) -> Result<Content, ApiError> {
    let Secret { revision, fetched_at, expires_at, body, .. } = secret;
    if known.has(revision) {
        return Ok((revision, None));
    }
    let field = match &query.field {
        Some(field) => {
            let whole = serde_json::from_slice(body.expose_secret()).map_err(|_| ApiError::CacheUnavailable)?;
            let value: &RawValue =
                field.find(whole).ok_or(ApiError::BadRequest("the authentication has no such field"))?;
            Some((field, value))
        }
        None => None,
    };
    // Room for all of it at once, as a rule; a smaller buffer that it leaves behind is wiped by the allocator.
    let mut answer = Vec::with_capacity(ENVELOPE + field.map_or(0, |(_, value)| value.get().len()));
    answer.push(b'{');
    let mut members = Members(&mut answer);
    members.id("id", id.0);
    members.value("revision", &revision);
    members.value("source", &source);
    members.value("fetched_at", &fetched_at);
    members.value("age_seconds", &Timestamp::now().duration_since(fetched_at).as_secs().max(0));
    members.value("expires_at", &expires_at);
    // Expired, overdue, or known to be replaced in Tray and not pulled anew yet.
    members.value("stale", &(standing != Standing::Fresh));
    if let Some((field, value)) = field {
        members.value("field", field);
        members.value("value", value);
        answer.push(b'}');
        return Ok((revision, Some(SecretBytes::new(answer))));
    }
    // It was JSON when it was sealed, and is as it was: to read it again would take as long as to open it.
    members.name("authentication");
    Ok((revision, Some(body.between(&answer, b"}"))))
}
