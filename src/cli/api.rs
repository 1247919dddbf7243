//! Asks the daemon, and turns its refusals into errors that a person can act on.

use std::{io, path::PathBuf};

use hyper::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Code, Connected, Failure};
use crate::{
    config::Config,
    secret::SecretBytes,
    socket::{self, ClientError},
};

/// Sends a request and reads the answer as `T`.
pub(super) fn ask<T: DeserializeOwned>(connected: &Connected, method: Method, path: &str) -> Result<T, Failure> {
    parse(&ask_raw(connected, method, path)?)
}

/// Reads an answer as `T`; the parser's words are not shown, since they may quote the answer.
pub(super) fn parse<T: DeserializeOwned>(answer: &SecretBytes) -> Result<T, Failure> {
    serde_json::from_slice(answer.expose_secret()).map_err(|_| incomprehensible())
}

/// The daemon said something that this program does not know.
pub(super) fn incomprehensible() -> Failure {
    Failure::new(Code::Software, "the daemon's answer can't be understood")
        .hint("are the daemon and this program of the same version?".to_owned())
}

/// Sends a request; the answer's JSON text.
pub(super) fn ask_raw(connected: &Connected, method: Method, path: &str) -> Result<SecretBytes, Failure> {
    let socket = socket_path(connected)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(socket::request(&socket, method, path)).map_err(|error| match error {
        ClientError::NoDaemon { ref source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Failure::of(Code::NoPermission, &error)
                .hint("check the group and mode of the socket and of its directory".to_owned())
        }
        ClientError::NoDaemon { ref source, .. } if !is_absent(source) => Failure::of(Code::Unavailable, &error),
        ClientError::NoDaemon { .. } => {
            Failure::of(Code::Unavailable, &error).hint("start it with: trayvault run".to_owned())
        }
        ClientError::Broken => Failure::of(Code::Unavailable, &error),
    })?;
    if answer.status.is_success() { Ok(answer.body) } else { Err(refused(answer.status, &answer.body)) }
}

/// Whether nobody listens there, as opposed to a path that is no socket's.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn socket_path(connected: &Connected) -> Result<PathBuf, Failure> {
    if let Some(path) = &connected.socket {
        return Ok(path.clone());
    }
    let config = Config::load(&connected.configured.config)
        .map_err(|error| Failure::of(Code::Config, &error).hint(error.hint()))?;
    Ok(config.api_socket())
}

fn refused(status: StatusCode, body: &SecretBytes) -> Failure {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
        request_id: String,
    }
    let Ok(Refusal { message, request_id }) = parse::<Refusal>(body) else {
        return Failure::new(Code::Software, format!("the daemon answered with HTTP {status}"));
    };
    let failure = |code| Failure::new(code, message);
    match status {
        StatusCode::FORBIDDEN => failure(Code::NoPermission)
            .hint(format!("whoever runs the daemon finds the reason under request {request_id}")),
        StatusCode::NOT_FOUND => failure(Code::Data).hint("trayvault list shows what is known".to_owned()),
        StatusCode::CONFLICT => failure(Code::Unavailable).hint("trayvault list shows its state".to_owned()),
        StatusCode::BAD_REQUEST => failure(Code::Usage)
            .hint("fields bear the service's own names, such as /credentials/accessToken".to_owned()),
        _ => failure(Code::Unavailable),
    }
}
