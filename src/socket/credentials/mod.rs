//! `credentials.sock`: systemd asks here for what units have in `LoadCredential=NAME:/run/trayvault/credentials.sock`
//! (systemd.exec(5), systemd.io/CREDENTIALS). It connects, and reads to the end. Nothing is read from it, and what is
//! refused is closed without a byte.

mod address;
mod content;
mod load;

use std::{io, os::fd::AsRawFd, sync::Arc, time::Duration};

use nix::sys::socket::{UnixAddr, getpeername};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::{Api, Endpoint};
use crate::{
    pulse::{Beats, Pulse, pulse},
    system::peer::Peer,
    task::{Shutdown, TaskError},
};
use load::Load;

/// How long a peer may take to read all of it. systemd reads at once.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same once the daemon stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections at once. The rest wait: to systemd, one that is closed is an empty credential.
const CONNECTIONS: usize = 64;
/// The pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The task that gives systemd its credentials.
pub struct CredentialServer {
    endpoint: Option<Endpoint>,
    api: Arc<Api>,
    pulse: (Pulse, Beats),
}

impl CredentialServer {
    /// Puts the task together; without a socket there is nothing to do.
    pub fn new(endpoint: Option<Endpoint>, api: Arc<Api>) -> Self {
        Self { endpoint, api, pulse: pulse() }
    }

    /// What shows that its loop goes round.
    pub fn pulse(&self) -> Pulse {
        self.pulse.0.clone()
    }

    /// Serves until the shutdown, then lets what is being written end.
    ///
    /// # Errors
    /// The socket can't be used.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let Self { endpoint, api, pulse: (_, mut beats) } = self;
        let Some(endpoint) = endpoint else {
            loop {
                tokio::select! {
                    beat = beats.asked() => drop(beat.send(())),
                    () = shutdown.requested() => return Ok(()),
                }
            }
        };
        endpoint.listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(endpoint.listener.try_clone()?)?;
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
                Some(_) = connections.join_next() => continue,
                beat = beats.asked() => {
                    // Whoever asked may have stopped waiting.
                    let _ = beat.send(());
                    continue;
                }
                () = shutdown.requested() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&api), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((listener, endpoint));
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

async fn serve(stream: UnixStream, api: Arc<Api>, shutdown: Shutdown) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(error) => return tracing::warn!(%error, "a connection was refused: the kernel does not name its peer"),
    };
    // The address that comes with `accept` has lost what an abstract one is (mio 1).
    let address = getpeername::<UnixAddr>(stream.as_raw_fd()).ok();
    let mut load = Load::new(&api, &peer, address.as_ref().and_then(UnixAddr::as_abstract));
    let Some(credential) = load.credential() else { return };
    let written = tokio::select! {
        written = write(stream, credential.expose_secret()) => written.is_ok(),
        () = too_long(shutdown) => false,
    };
    if !written {
        load.not_taken();
    }
}

async fn write(mut stream: UnixStream, credential: &[u8]) -> io::Result<()> {
    stream.write_all(credential).await?;
    stream.shutdown().await
}

/// Resolves once a write has taken too long.
async fn too_long(mut shutdown: Shutdown) {
    tokio::select! {
        () = tokio::time::sleep(WRITE_TIMEOUT) => {}
        () = async { shutdown.requested().await; tokio::time::sleep(DRAIN_TIMEOUT).await } => {}
    }
}
