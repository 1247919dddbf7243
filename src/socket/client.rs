//! The client of the local API, for the command line.

use std::{
    io,
    path::{Path, PathBuf},
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::secret::SecretBytes;

/// The largest answer that is read, in bytes.
const LIMIT: usize = 256 * 1024 * 1024;

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
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::NoDaemon { path: socket.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| ClientError::Broken)?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path_and_query)
        .header(header::HOST, "trayvault")
        .body(Full::new(body.map_or_else(Bytes::new, Bytes::from_owner)))
        .map_err(|_| ClientError::Broken)?;
    let response = sender.send_request(request).await.map_err(|_| ClientError::Broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LIMIT).collect().await.map_err(|_| ClientError::Broken)?;
    driver.abort();
    Ok(Answer { status, body: SecretBytes::new(body.to_bytes().to_vec()) })
}
