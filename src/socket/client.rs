//! The client of the local API, for the command line.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, task::JoinHandle};

use crate::secret::SecretBytes;

/// The largest answer that is read, in bytes.
const LIMIT: usize = 256 * 1024 * 1024;

/// How long, and how often, it is tried to connect where many others do.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// What the daemon answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body: JSON.
    pub body: SecretBytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon answers on {}", path.display())]
    NoDaemon {
        /// The socket's path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The connection broke before the answer was whole.
    #[error("the daemon closed the connection before its answer was whole")]
    Broken,
}

/// Sends one request and reads the whole answer.
///
/// # Errors
/// [`ClientError`]; an answer with an error status is an [`Answer`].
pub async fn request(
    socket: &Path,
    method: Method,
    path_and_query: &str,
    body: Option<SecretBytes>,
) -> Result<Answer, ClientError> {
    let (response, _driver) = send(socket, method, path_and_query, body).await?;
    whole(response).await
}

/// Sends a request; its answer comes as long as the other thing that is returned is there.
pub(super) async fn send(
    socket: &Path,
    method: Method,
    path_and_query: &str,
    body: Option<SecretBytes>,
) -> Result<(Response<Incoming>, Driver), ClientError> {
    let stream = connect(socket).await.map_err(|source| ClientError::NoDaemon { path: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| ClientError::Broken)?;
    let driver = Driver(tokio::spawn(connection));
    let request = Request::builder()
        .method(method)
        .uri(path_and_query)
        .header(header::HOST, "trayvault")
        .body(Full::new(body.map_or_else(Bytes::new, Bytes::from_owner)))
        .map_err(|_| ClientError::Broken)?;
    let response = sender.send_request(request).await.map_err(|_| ClientError::Broken)?;
    Ok((response, driver))
}

/// What moves a connection's bytes; the connection ends with it.
pub(super) struct Driver(JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads an answer to its end.
pub(super) async fn whole(response: Response<Incoming>) -> Result<Answer, ClientError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), LIMIT).collect().await.map_err(|_| ClientError::Broken)?;
    Ok(Answer { status, body: SecretBytes::new(body.to_bytes().to_vec()) })
}

/// A full backlog is no error of the socket's, but of the moment: for a non-blocking socket the kernel does not wait
/// (`EAGAIN`, connect(2)).
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let waiting = async {
        loop {
            match UnixStream::connect(socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, accept, bind, listen, socket};

    use super::*;

    #[tokio::test]
    async fn a_full_backlog_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("api.sock");
        let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        bind(&listener, &SocketAddrUnix::new(&path).expect("an address")).expect("a place");
        listen(&listener, 0).expect("it listens");
        // A backlog of none holds one.
        let _first = UnixStream::connect(&path).await.expect("a place in the backlog");
        let full = UnixStream::connect(&path).await.expect_err("a full backlog");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let waiting = tokio::spawn(async move { connect(&path).await });
        tokio::task::yield_now().await;
        accept(&listener).expect("the first");
        waiting.await.expect("a task").expect("a connection");
    }
}
