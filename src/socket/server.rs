//! The accept loop. Our own, because `axum::serve` sets no header timer: a caller that is slow, or many, must not stall
//! the others.

use std::{sync::Arc, time::Duration};

use tokio::{net::UnixListener, time::Instant};

use super::{
    Api, Endpoint,
    connection::{self, Limits},
    peers::{Connected, Peers},
    places::{Place, Places},
    routes::Routes,
    stream::Stream,
    workers::{Serving, Workers},
};
use crate::{
    metrics::{Connection, Metrics},
    pulse::{Beats, Pulse, pulse},
    system::peer::Peer,
    task::{Shutdown, TaskError},
};

/// How often it is logged that connections are refused: whoever has too many does not fill the log as well.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(10);
/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The API's task.
pub struct Server {
    endpoint: Endpoint,
    peers: Arc<Peers>,
    routes: Routes,
    metrics: Metrics,
    pulse: (Pulse, Beats),
}

impl Server {
    /// Puts the task together.
    pub fn new(endpoint: Endpoint, api: Arc<Api>) -> Self {
        let peers = Arc::new(Peers::new(api.policy.clone()));
        Self { endpoint, peers, metrics: api.metrics.clone(), routes: Routes::new(api), pulse: pulse() }
    }

    /// What shows that its loop and the threads that answer go round.
    pub fn pulse(&self) -> Pulse {
        self.pulse.0.clone()
    }

    /// Serves until the shutdown, then lets the requests under way end.
    ///
    /// # Errors
    /// The socket can't be used.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let Self { endpoint, peers, routes, metrics, pulse: (_, mut beats) } = self;
        endpoint.listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(endpoint.listener.try_clone()?)?;
        let (places, mut refusals) = (Places::default(), Refusals::default());
        let workers = Workers::start()?;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                beat = beats.asked() => {
                    tokio::spawn(workers.beat(beat));
                    continue;
                }
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
            // By the user alone: nothing else is asked for a connection that has no place.
            let uid = match stream.peer_cred() {
                Ok(credentials) => credentials.uid(),
                Err(error) => {
                    tracing::warn!(%error, "a connection was refused: the kernel does not name its peer");
                    continue;
                }
            };
            let Some(place) = places.admit(uid) else {
                metrics.refused_connection();
                refusals.tell(uid);
                continue;
            };
            match Peer::of(&stream) {
                Ok(peer) => {
                    let peer = peers.look_at(peer);
                    let open = (place, metrics.connected());
                    let (routes, shutdown) = (routes.clone(), shutdown.clone());
                    let serve = move |stream| -> Serving { Box::pin(serve(stream, peer, routes, shutdown, open)) };
                    if let Err(error) = stream.into_std().and_then(|stream| workers.serve(stream, serve)) {
                        tracing::warn!(%error, "a connection could not be served");
                    }
                }
                Err(error) => tracing::warn!(%error, "a connection was refused: the kernel does not name its peer"),
            }
        }
        // The name goes first, so that nobody knocks at a door that is about to close.
        drop((listener, endpoint));
        workers.end().await;
        Ok(())
    }
}

async fn serve(stream: Stream, peer: Connected, routes: Routes, shutdown: Shutdown, open: (Place, Connection)) {
    connection::serve(stream, || peer.caller(), routes, shutdown, Limits::default()).await;
    drop(open);
}

/// Connections that had no place, and when that was last told.
#[derive(Default)]
struct Refusals {
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    fn tell(&mut self, uid: u32) {
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= REFUSALS_TOLD_EVERY) {
            tracing::warn!(uid, count = self.untold, "connections were refused: too many are open");
            *self = Self { untold: 0, told: Some(Instant::now()) };
        }
    }
}
