//! The routes by which people see and settle what was dropped, for whom policy grants `ingest`; and the recipient to seal
//! documents to, which is public.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{Response, StatusCode},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Api,
    answer::{self, ApiError},
    asked::Asked,
    routes::Route,
};
use crate::{
    audit::{Action, Outcome, Target},
    authentication::AuthenticationId,
    policy::{AccessDecision, Caller, Grant, What},
    requests::ingest::{Answer, IngestRefusal, IngestRequest, Order, Preview, Settled, Unfinished},
    secret::SecretBytes,
};

/// How long a caller waits for what may ask Tray.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose call it is, and the path's only parameter.
type Named = (State<Arc<Api>>, Extension<Arc<Caller>>, Result<Path<String>, PathRejection>);

pub(super) fn routes() -> Vec<Route> {
    vec![
        ("/v1/recipient", get(recipient)),
        ("/v1/ingest", get(list)),
        ("/v1/ingest/plan", post(plan)),
        ("/v1/ingest/rejected/{name}", get(rejected)),
        ("/v1/ingest/{intent}", get(show)),
        ("/v1/ingest/{intent}/retry", post(retry)),
        ("/v1/ingest/{intent}/adopt", post(adopt)),
        ("/v1/ingest/{intent}/discard", post(discard)),
    ]
}

/// Needs no keys, no grant and no entry: it is there to be spread.
async fn recipient(State(api): State<Arc<Api>>) -> Response<Body> {
    let recipient = api.cache.keyring().recipient().to_string();
    answer::json(StatusCode::OK, Uuid::new_v4(), &serde_json::json!({ "recipient": recipient }))
}

async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Arc<Caller>>) -> Response<Body> {
    #[derive(Serialize)]
    struct List {
        documents: Vec<Unfinished>,
    }
    let asked = Asked::new(&api, caller);
    let listed = async {
        asked.looks(Action::ListDocuments, Target::default())?;
        let documents = asked.ingest(IngestRequest::List).await?;
        Ok(List { documents })
    };
    asked.answer_json(listed.await)
}

async fn show((State(api), Extension(caller), intent): Named) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let shown = async {
        let intent = parse(intent)?;
        asked.looks(Action::ListDocuments, Target::intent(intent))?;
        asked.ingest(|answer| IngestRequest::Show(intent, answer)).await
    };
    asked.answer_json(shown.await)
}

async fn retry((State(api), Extension(caller), intent): Named) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let settled = async { asked.settles(Action::RetryDocument, parse(intent)?, Order::Retry).await };
    asked.answer_json(settled.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdoptQuery {
    /// The authentication that the document became.
    authentication: AuthenticationId,
}

async fn adopt(
    (State(api), Extension(caller), intent): Named,
    query: Result<Query<AdoptQuery>, QueryRejection>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let settled = async {
        let Ok(Query(AdoptQuery { authentication })) = query else {
            return Err(ApiError::BadRequest("authentication has to be given: the id of the one that it became").into());
        };
        asked.settles(Action::AdoptDocument, parse(intent)?, Order::Adopt(authentication)).await
    };
    asked.answer_json(settled.await)
}

async fn discard((State(api), Extension(caller), intent): Named) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let settled = async { asked.settles(Action::DiscardDocument, parse(intent)?, Order::Discard).await };
    asked.answer_json(settled.await)
}

async fn plan(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    body: Result<Bytes, BytesRejection>,
) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let planned = async {
        let unreadable = ApiError::BadRequest("the document can't be read, or is larger than 64 KiB");
        // What is copied from is wiped when it is freed, at the end of this line.
        let document = SecretBytes::new(body.map_err(|_| unreadable)?.to_vec());
        asked.looks(Action::PlanDocument, Target::default())?;
        let preview: Preview = asked.ingest(|answer| IngestRequest::Plan(document, answer)).await?;
        Ok(preview)
    };
    asked.answer_json(planned.await)
}

/// A rejected document may hold any authentication's credentials: it takes the right to read every one, which the workflow
/// guard denies to whom it names.
async fn rejected((State(api), Extension(caller), name): Named) -> Response<Body> {
    let asked = Asked::new(&api, caller);
    let opened = async {
        let name = name.ok().map(|Path(name)| name).filter(|name| is_plain(name));
        let name = name.ok_or(ApiError::BadRequest("the name is that of one file in rejected/"))?;
        let (action, target) = (Action::OpenRejected, Target::default());
        asked.granted(Grant::Ingest, action, &target)?;
        let rule = asked.granted(Grant::Read, action, &target)?;
        let opened = asked.ingest(|answer| IngestRequest::Open(name, answer)).await;
        asked.ended(action, target, &rule, opened)
    };
    match opened.await {
        Ok(content) => answer::file(asked.id(), content),
        Err(refused) => refused.answer(asked.id()),
    }
}

/// Whether a name is one component of a path, and stays where it is.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

fn parse(intent: Result<Path<String>, PathRejection>) -> Result<Uuid, ApiError> {
    let id = intent.ok().and_then(|Path(text)| text.parse().ok());
    id.ok_or(ApiError::BadRequest("the id of a document is a UUID"))
}

/// Why there is no answer: this side refuses, or ingest does.
enum Refused {
    Here(ApiError),
    Ingest(IngestRefusal),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Here(error)
    }
}

impl Refused {
    /// The clause for the audit log, which takes none from outside.
    fn clause(&self) -> &'static str {
        match self {
            Self::Here(error) => error.message(),
            Self::Ingest(IngestRefusal::Conflict(clause) | IngestRefusal::Bad(clause)) => clause,
            Self::Ingest(IngestRefusal::Off) => "there is no drop directory",
            Self::Ingest(IngestRefusal::NotFound) => "there is no such document",
            Self::Ingest(IngestRefusal::Unavailable(_)) => "something is in the way, here or in Tray",
        }
    }

    fn answer(&self, request: Uuid) -> Response<Body> {
        match self {
            Self::Here(error) => error.answer(request),
            Self::Ingest(refusal) => answer::ingest_refusal(refusal, request),
        }
    }
}

impl Asked<'_> {
    /// Decides; the rule that grants. A refusal is recorded, for being locked too.
    ///
    /// Whose a document is may not be known yet, and a damaged one's never is: only a rule that names no owner, service,
    /// environment or authentication can grant what concerns them all.
    fn granted(&self, grant: Grant, action: Action, target: &Target) -> Result<Arc<str>, ApiError> {
        match self.policy().take(self.caller(), grant, What::Everything) {
            AccessDecision::Granted { rule } => self.unlocked(action, target.clone()).map(|()| rule),
            AccessDecision::Refused(refusal) => Err(self.refused(action, target.clone(), refusal)),
        }
    }

    /// Decides on what only looks, and records it.
    fn looks(&self, action: Action, target: Target) -> Result<(), ApiError> {
        let rule = self.granted(Grant::Ingest, action, &target)?;
        self.record(&self.event(action, Outcome::Done).on(target).under(Some(rule)))
    }

    /// Decides on what changes something, records it on stable storage, has it done and records how it ended.
    async fn settles(&self, action: Action, intent: Uuid, order: Order) -> Result<Settled, Refused> {
        let mut target = Target::intent(intent);
        if let Order::Adopt(authentication) = order {
            target.authentication = Some(authentication);
        }
        let rule = self.granted(Grant::Ingest, action, &target)?;
        self.record_synced(&self.event(action, Outcome::Begun).on(target.clone()).under(Some(&*rule)))?;
        // It is done though the caller hangs up.
        let settled = self.ingest(|answer| IngestRequest::Settle(intent, order, answer)).await;
        self.ended(action, target, &rule, settled)
    }

    /// Records how it ended. What was prepared leaves this function only once its entry is written.
    fn ended<T>(&self, action: Action, target: Target, rule: &str, prepared: Result<T, Refused>) -> Result<T, Refused> {
        let event = match &prepared {
            Ok(_) => self.event(action, Outcome::Done),
            Err(refused) => self.event(action, Outcome::Failed).because(refused.clause()),
        };
        self.record(&event.on(target).under(Some(rule)))?;
        prepared
    }

    /// Asks ingest, and waits.
    async fn ingest<T>(&self, request: impl FnOnce(Answer<T>) -> IngestRequest) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.api.requests.ingest.send(request(answer)).await.map_err(|_| ApiError::Stopping)?;
            answered.await.map_err(|_| ApiError::Stopping)
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(ApiError::Upstream))?;
        answer.map_err(Refused::Ingest)
    }

    fn answer_json(&self, outcome: Result<impl Serialize, Refused>) -> Response<Body> {
        match outcome {
            Ok(content) => answer::json(StatusCode::OK, self.id(), &content),
            Err(refused) => refused.answer(self.id()),
        }
    }
}
