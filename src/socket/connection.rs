//! One connection, from its first request to its last answer, and how long its caller may take over each.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    http::Request,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    answer::ApiError,
    events::Endless,
    head_timer::HeadTimer,
    patient::Patient,
    routes::{BODY_LIMIT, Routes, Session},
    stream::Stream,
};
use crate::{policy::Caller, task::Shutdown};

/// The largest head, and the connection's read buffer, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// How long a caller may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// To send a head, and to send nothing between two requests.
    pub(super) head: Duration,
    /// To send a body.
    pub(super) body: Duration,
    /// To take an answer that does not fit into the socket.
    pub(super) answer: Duration,
    /// For everything together, unless it listens to what has no end.
    pub(super) connection: Duration,
    /// To take an answer under way once the daemon stops.
    pub(super) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            connection: Duration::from_secs(600),
            drain: Duration::from_secs(3),
        }
    }
}

/// Answers one caller's requests until it hangs up, takes too long, or the daemon stops.
pub(super) async fn serve(
    stream: Stream,
    caller: impl Fn() -> Arc<Caller>,
    routes: Routes,
    shutdown: Shutdown,
    limits: Limits,
) {
    let (presence, endless, answering) = (stream.presence(), Endless::default(), AtomicBool::new(false));
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let session = Session { caller: caller(), shutdown: &shutdown, endless: &endless };
        let (routes, answering) = (&routes, &answering);
        async move {
            Ok::<_, Infallible>(match with_whole_body(request, limits.body).await {
                Ok(request) => {
                    answering.store(true, Ordering::Relaxed);
                    let answer = routes.answer(request, session).await;
                    answering.store(false, Ordering::Relaxed);
                    answer
                }
                Err(error) => error.answer(Uuid::new_v4()),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(HeadTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_LIMIT)
        // A caller may say that it sends no more, and wait for its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.answer)), service);
    let is_busy = || answering.load(Ordering::Relaxed) || endless.is_set();
    tokio::pin!(connection);
    let mut stop = shutdown.clone();
    // Looked at when they are woken, and not whenever the connection goes on.
    let ends: [BoxFuture<'_, End>; 2] = [
        too_long(limits.connection, &endless).map(|()| End::TooLong).boxed(),
        stop.requested().map(|()| End::Stop).boxed(),
    ];
    let mut ends = FuturesUnordered::from_iter(ends);
    // A connection that breaks concerns its caller alone, and the error may quote the request.
    tokio::select! {
        // INVARIANT: the connection first. Whether it is busy is looked at after it went on.
        biased;
        _ = connection.as_mut() => {}
        () = presence.ends(&is_busy) => {}
        Some(end) = ends.next() => if end == End::Stop {
            connection.as_mut().graceful_shutdown();
            // A caller that does not read its answer must not hold up the stop.
            let answered = async {
                tokio::select! {
                    biased;
                    _ = connection => {}
                    () = presence.ends(&is_busy) => {}
                }
            };
            let _ = timeout(limits.drain, answered).await;
        }
    }
}

/// Why a connection ends that its caller goes on with.
#[derive(PartialEq, Eq)]
enum End {
    TooLong,
    Stop,
}

/// Reads the body before anything is decided: no route waits for a caller.
async fn with_whole_body(
    request: Request<hyper::body::Incoming>,
    patience: Duration,
) -> Result<Request<Body>, ApiError> {
    let (head, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(head, Body::empty()));
    }
    if body.size_hint().lower() > BODY_LIMIT as u64 {
        return Err(ApiError::BodyTooLarge);
    }
    match timeout(patience, Limited::new(body, BODY_LIMIT).collect()).await {
        Ok(Ok(whole)) => Ok(Request::from_parts(head, Body::from(whole.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::BodyTooLarge),
        Ok(Err(_)) => Err(ApiError::BadRequest("the body is cut off, or not as its head says")),
        Err(_) => Err(ApiError::BodyTooSlow),
    }
}

/// Resolves once a connection has lasted too long, unless that is what it is for.
async fn too_long(most: Duration, endless: &Endless) {
    sleep(most).await;
    if endless.is_set() {
        std::future::pending::<()>().await;
    }
}
