//! What every call goes through, whatever it is: counted, limited, struck by faults, answered.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::call::Call;
use super::fault::{self, Fault, FaultKind};
use super::seed::QUOTED;
use super::server::CutConnection;
use super::spoilt;
use super::world::World;

const BODY_CAP: usize = 1 << 20;
/// A body over the cap is read to its end, so that the client gets to read the 413, but no further than this.
const PATIENCE: usize = 64 << 20;

const PROXY_PAGE: &str = "<html><head><title>502 Bad Gateway</title></head>\
    <body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center><!-- QUOTED --></body></html>\n";

/// Which of Tray's two ways of telling an error a call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Rest,
    Graphql,
}

/// An answer before it is put on the wire.
#[derive(Debug)]
pub(super) enum Reply {
    Json(StatusCode, Value),
    /// 204, which Tray labels `text/html`.
    Deleted,
}

/// Reads a request's body; `None` if it is over the cap, or breaks off, in which case nobody waits for the answer.
pub(super) async fn read_body(body: Body) -> Option<Vec<u8>> {
    let mut body = body;
    let mut read = Vec::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        size += data.len();
        if size <= BODY_CAP {
            read.extend_from_slice(&data);
        } else if size > PATIENCE {
            break;
        }
    }
    (size <= BODY_CAP).then_some(read)
}

/// Counts the request, then answers it with `work` unless a limit or a fault gets in the way.
pub(super) async fn answer(
    world: &World,
    call: Call,
    dialect: Dialect,
    work: impl Future<Output = Reply> + Send,
) -> Response {
    let admitted = world.with(|state| {
        *state.requests.entry(call).or_default() += 1;
        if state.limiter.as_mut().is_some_and(|limiter| !limiter.admit(Instant::now())) {
            state.limit_rejections += 1;
            return Err(());
        }
        Ok(fault::strike(&mut state.faults, call))
    });
    match admitted {
        Err(()) => over_the_limit(dialect).into_response(),
        Ok(None) => work.await.into_response(),
        Ok(Some(fault)) => spoil(fault, dialect, work).await,
    }
}

async fn spoil(fault: Fault, dialect: Dialect, work: impl Future<Output = Reply> + Send) -> Response {
    match fault.kind {
        FaultKind::DelayMs(wait) if fault.after_work => {
            let reply = work.await;
            tokio::time::sleep(Duration::from_millis(wait)).await;
            reply.into_response()
        }
        FaultKind::DelayMs(wait) => {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            work.await.into_response()
        }
        FaultKind::Status(status) => {
            done(&fault, work).await;
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let message = quoting(status.canonical_reason().unwrap_or("injected fault"));
            Reply::Json(status, json!({"message": message, "code": null})).into_response()
        }
        FaultKind::DropConnection => {
            done(&fault, work).await;
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(CutConnection);
            response
        }
        FaultKind::Html => {
            done(&fault, work).await;
            (
                StatusCode::BAD_GATEWAY,
                [(CONTENT_TYPE, "text/html; charset=utf-8")],
                PROXY_PAGE.replace("QUOTED", QUOTED),
            )
                .into_response()
        }
        FaultKind::TruncatedJson => truncated(done(&fault, work).await).into_response(),
        FaultKind::InternalError => internal_error(dialect, done(&fault, work).await).into_response(),
        FaultKind::SlowBody => spoilt::slow(work.await.into_response()).await,
        FaultKind::WrongType => {
            done(&fault, work).await;
            spoilt::wrong_type().into_response()
        }
        FaultKind::Gzip => {
            done(&fault, work).await;
            spoilt::gzip()
        }
        FaultKind::Huge => {
            done(&fault, work).await;
            spoilt::huge()
        }
    }
}

/// The work's reply, if the fault comes after the work.
async fn done(fault: &Fault, work: impl Future<Output = Reply> + Send) -> Option<Reply> {
    if fault.after_work { Some(work.await) } else { None }
}

/// An error's message, which quotes what was sent as Tray's do.
pub(super) fn quoting(message: &str) -> String {
    format!("{message}; received {QUOTED}")
}

fn over_the_limit(dialect: Dialect) -> Reply {
    match dialect {
        Dialect::Rest => Reply::Json(StatusCode::TOO_MANY_REQUESTS, json!({"message": quoting("Too many requests")})),
        Dialect::Graphql => Reply::Json(
            StatusCode::OK,
            json!({"data": null, "errors": [{
                "message": "Rate limit exceeded",
                "extensions": {"name": "PreconditionError", "code": "access_not_allowed", "received": QUOTED},
            }]}),
        ),
    }
}

fn truncated(reply: Option<Reply>) -> Response {
    let whole = match reply {
        Some(Reply::Json(_, value)) => value.to_string(),
        Some(Reply::Deleted) | None => {
            json!({"message": QUOTED, "reason": "this answer breaks off in the middle"}).to_string()
        }
    };
    // Half of the characters, so that no character is cut in two.
    let half: String = whole.chars().take(whole.chars().count() / 2).collect();
    ([(CONTENT_TYPE, "application/json")], half).into_response()
}

fn internal_error(dialect: Dialect, reply: Option<Reply>) -> Reply {
    const ERROR_ID: &str = "00000000-0000-4000-8000-00000000e44a";
    match dialect {
        Dialect::Rest => Reply::Json(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"message": quoting("Internal server error"), "code": null}),
        ),
        Dialect::Graphql => {
            let data = match reply {
                Some(Reply::Json(_, mut answer)) => answer["data"].take(),
                Some(Reply::Deleted) | None => Value::Null,
            };
            let error = json!({
                "message": quoting("Internal error"),
                "extensions": {"name": "InternalError", "errorId": ERROR_ID},
            });
            Reply::Json(StatusCode::OK, json!({"data": data, "errors": [error]}))
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json(status, value) => {
                (status, [(CONTENT_TYPE, "application/json; charset=utf-8")], value.to_string()).into_response()
            }
            Self::Deleted => {
                let mut response = StatusCode::NO_CONTENT.into_response();
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
                response
            }
        }
    }
}
