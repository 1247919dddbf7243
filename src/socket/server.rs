//! The accept loop. Our own, because `axum::serve` sets no header timer: a caller that is slow, or many, must not stall
//! the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::{
    Api, Endpoint,
    events::Endless,
    peers::{Connected, Peers},
    routes,
};
use crate::{
    metrics::{Connection, Metrics},
    system::peer::Peer,
    task::{Shutdown, TaskError},
};

/// How long a head may take to arrive, and how long an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a whole connection may last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// How long an answer under way may take once the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest head, and the connection's read buffer, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// Connections at once, over all users.
const CONNECTIONS: usize = 1_024;
/// Connections at once of one user.
const CONNECTIONS_PER_USER: usize = 256;
/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The API's task.
pub struct Server {
    endpoint: Endpoint,
    peers: Arc<Peers>,
    router: Router,
    metrics: Metrics,
}

impl Server {
    /// Puts the task together.
    pub fn new(endpoint: Endpoint, api: Arc<Api>) -> Self {
        let peers = Arc::new(Peers::new(api.policy.clone()));
        Self { endpoint, peers, metrics: api.metrics.clone(), router: routes::router(api) }
    }

    /// Serves until the shutdown, then lets the requests under way end.
    ///
    /// # Errors
    /// The socket can't be used.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let Self { endpoint, peers, router, metrics } = self;
        endpoint.listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(endpoint.listener.try_clone()?)?;
        let callers = Callers::default();
        let mut connections = JoinSet::new();
        loop {
            // Each time: where connections end faster than they are looked at one by one, they would be kept for ever.
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = shutdown.requested() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let peer = match Peer::of(&stream) {
                Ok(peer) => peer,
                Err(error) => {
                    tracing::warn!(%error, "a connection was refused: the kernel does not name its peer");
                    continue;
                }
            };
            if let Some(place) = callers.admit(peer.uid) {
                let peer = peers.look_at(peer);
                let open = (place, metrics.connected());
                connections.spawn(serve(stream, peer, router.clone(), shutdown.clone(), open));
            } else {
                metrics.refused_connection();
                tracing::warn!(uid = peer.uid, "a connection was refused: too many are open");
            }
        }
        // The name goes first, so that nobody knocks at a door that is about to close.
        drop((listener, endpoint));
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

async fn serve(stream: UnixStream, peer: Connected, router: Router, mut shutdown: Shutdown, open: (Place, Connection)) {
    let endless = Endless::default();
    let known = (axum::Extension(shutdown.clone()), axum::Extension(endless.clone()));
    let router = TowerToHyperService::new(router.layer(known));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.caller());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A connection that breaks concerns its caller alone, and the error may quote the request.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = too_long(&endless) => {}
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            // A caller that does not read its answer must not hold up the stop.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, connection).await;
        }
    }
    drop(open);
}

/// Resolves once a connection has lasted too long, unless that is what it is for.
async fn too_long(endless: &Endless) {
    tokio::time::sleep(CONNECTION_TIMEOUT).await;
    if endless.is_set() {
        std::future::pending::<()>().await;
    }
}

/// Counts the open connections of each user.
#[derive(Clone, Default)]
struct Callers(Arc<Mutex<HashMap<u32, usize>>>);

/// One open connection's place; given back when dropped.
struct Place {
    callers: Callers,
    uid: u32,
}

impl Callers {
    fn admit(&self, uid: u32) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.entry(uid).or_default();
        if all >= CONNECTIONS || *own >= CONNECTIONS_PER_USER {
            return None;
        }
        *own += 1;
        Some(Place { callers: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.callers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_can_not_take_every_place() {
        let callers = Callers::default();
        let places: Vec<_> = (0..CONNECTIONS_PER_USER).map(|_| callers.admit(1).expect("a place")).collect();
        assert!(callers.admit(1).is_none());
        assert!(callers.admit(2).is_some());
        drop(places);
        assert!(callers.admit(1).is_some());
    }
}
