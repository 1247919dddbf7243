//! The loopback server: its own accept loop, because a fault must be able to close a connection without an answer.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::routing::{any, post};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::world::World;
use super::{control, graphql, rest};

/// How long requests in progress may take to finish once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Set on a response to have the connection closed in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct CutConnection;

#[derive(Debug, thiserror::Error)]
#[error("a fault cut the connection")]
struct Cut;

/// The running server. It stops when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    shutdown: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(listen: SocketAddr, world: World) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/graphql", post(graphql::answer))
            .route("/core/{*path}", any(rest::answer))
            .nest("/_emulator", control::router())
            .with_state(world);
        let (shutdown, told) = watch::channel(());
        let task = tokio::spawn(accept(listener, router, told));
        Ok(Self { address, shutdown, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn stop(self) {
        drop(self.shutdown);
        // The task ends by itself within the drain; a panic in it has been reported by the runtime already.
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, router: Router, mut told: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = told.changed() => break,
            accepted = listener.accept() => {
                match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(stream, router.clone(), told.clone()));
                    }
                    // The peer is gone, or descriptors have run out: a pause gives some back.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

async fn serve(stream: TcpStream, router: Router, mut told: watch::Receiver<()>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        // What has arrived is done, whether its client is still there or not.
        let answer = tokio::spawn(router.call(request));
        async move {
            let Ok(Ok(response)): Result<Result<Response<Body>, Infallible>, _> = answer.await else { return Err(Cut) };
            if response.extensions().get::<CutConnection>().is_some() { Err(Cut) } else { Ok(response) }
        }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong on a connection (cut by a fault, closed by the client) is the client's to notice.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = told.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
