//! The REST calls: which one a request is, who may make it, what it does.

mod authentications;
mod catalogue;

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use uuid::Uuid;

use super::access::caller;
use super::call::Call;
use super::exchange::{self, Dialect, Reply};
use super::page::Window;
use super::world::World;

/// How much longer a read with `forceRefresh=true` takes.
const REFRESH_DELAY: Duration = Duration::from_millis(120);

/// A request that the contract knows.
#[derive(Debug)]
enum Asked {
    Connectors,
    Environments { service: String, version: u32 },
    Create,
    Read(Uuid),
    Replace(Uuid),
    Delete(Uuid),
    FullRead { id: Uuid, force_refresh: bool },
    Workspaces(Window),
}

/// A refusal, in Tray's form.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

type Outcome = Result<Reply, Refusal>;

pub(super) async fn answer(State(world): State<World>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = exchange::read_body(body).await;
    let asked = route(&head.method, &head.uri);
    let call = asked.as_ref().map_or_else(|(call, _)| *call, Asked::call);
    let work = async {
        let outcome = match (asked, body) {
            (_, None) => Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large")),
            (Err((_, refusal)), _) => Err(refusal),
            (Ok(asked), Some(body)) => asked.perform(&world, &head.headers, &body).await,
        };
        outcome.unwrap_or_else(Refusal::into_reply)
    };
    exchange::answer(&world, call, Dialect::Rest, work).await
}

/// Which call a request is, or which it was meant to be and why it isn't.
fn route(method: &Method, uri: &Uri) -> Result<Asked, (Call, Refusal)> {
    let query = || match Query::<HashMap<String, String>>::try_from_uri(uri) {
        Ok(Query(query)) => query,
        Err(_) => HashMap::new(),
    };
    let segments: Vec<&str> = uri.path().strip_prefix("/core/v1/").unwrap_or_default().split('/').collect();
    let id = |text: &str, call| Uuid::parse_str(text).map_err(|_| (call, Refusal::not_found()));
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["connectors"]) => Ok(Asked::Connectors),
        ("GET", ["services", service, "versions", version, "environments"]) => {
            let version = version.parse().map_err(|_| {
                (Call::ListEnvironments, Refusal::bad(format!("service version must be an integer, not {version}")))
            })?;
            Ok(Asked::Environments { service: (*service).to_owned(), version })
        }
        ("POST", ["authentications"]) => Ok(Asked::Create),
        ("GET", ["authentications", text]) => id(text, Call::ReadAuthentication).map(Asked::Read),
        ("PUT", ["authentications", text]) => id(text, Call::ReplaceAuthentication).map(Asked::Replace),
        ("DELETE", ["authentications", text]) => id(text, Call::DeleteAuthentication).map(Asked::Delete),
        ("GET", ["authentications", text, "full"]) => {
            let id = id(text, Call::FullRead)?;
            match query().get("forceRefresh").map_or("false", String::as_str) {
                "true" => Ok(Asked::FullRead { id, force_refresh: true }),
                "false" => Ok(Asked::FullRead { id, force_refresh: false }),
                other => {
                    Err((Call::FullRead, Refusal::bad(format!("forceRefresh must be true or false, not {other}"))))
                }
            }
        }
        ("GET", ["workspaces"]) => {
            let mut query = query();
            let first = query.get("first").map(|first| first.parse()).transpose();
            let first = first.map_err(|_| (Call::ListWorkspaces, Refusal::bad("first must be an integer")))?;
            Ok(Asked::Workspaces(Window { first, after: query.remove("cursor") }))
        }
        _ => Err((Call::Unknown, Refusal::not_found())),
    }
}

impl Asked {
    fn call(&self) -> Call {
        match self {
            Self::Connectors => Call::ListConnectors,
            Self::Environments { .. } => Call::ListEnvironments,
            Self::Create => Call::CreateAuthentication,
            Self::Read(_) => Call::ReadAuthentication,
            Self::Replace(_) => Call::ReplaceAuthentication,
            Self::Delete(_) => Call::DeleteAuthentication,
            Self::FullRead { .. } => Call::FullRead,
            Self::Workspaces(_) => Call::ListWorkspaces,
        }
    }

    async fn perform(self, world: &World, headers: &HeaderMap, body: &[u8]) -> Outcome {
        let caller = world
            .with(|state| caller(state, headers))
            .ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized"))?;
        if matches!(self, Self::FullRead { force_refresh: true, .. }) {
            tokio::time::sleep(REFRESH_DELAY).await;
        }
        world.with(|state| match self {
            Self::Connectors => catalogue::connectors(state, caller),
            Self::Environments { service, version } => catalogue::environments(state, caller, &service, version),
            Self::Create => authentications::create(state, caller, body),
            Self::Read(id) => authentications::read(state, caller, id),
            Self::Replace(id) => authentications::replace(state, caller, id, body),
            Self::Delete(id) => authentications::delete(state, caller, id),
            Self::FullRead { id, force_refresh } => authentications::full_read(state, caller, id, force_refresh),
            Self::Workspaces(window) => catalogue::workspaces(state, caller, &window),
        })
    }
}

fn ok(value: Value) -> Reply {
    Reply::Json(StatusCode::OK, value)
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden")
    }

    fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found")
    }

    /// `code` may be a string, null or absent; each occurs.
    fn into_reply(self) -> Reply {
        let message = exchange::quoting(&self.message);
        let body = match self.status {
            StatusCode::UNAUTHORIZED => json!({"message": message}),
            StatusCode::FORBIDDEN => json!({"message": message, "code": "access_not_allowed"}),
            _ => json!({"message": message, "code": null}),
        };
        Reply::Json(self.status, body)
    }
}
