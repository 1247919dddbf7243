//! Asks the daemon, and turns its refusals into errors that a person can act on.

use std::{
    io,
    path::{Path, PathBuf},
};

use hyper::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Code, Connected, Failure};
use crate::{
    config::Config,
    secret::SecretBytes,
    socket::{self, Answer, ClientError, Listening, Subscribed},
};

/// Sends a request and reads the answer as `T`.
pub(super) fn ask<T: DeserializeOwned>(connected: &Connected, method: Method, path: &str) -> Result<T, Failure> {
    parse(&ask_raw(connected, method, path)?)
}

/// Reads an answer as `T`; the parser's words are not shown, since they may quote the answer.
pub(super) fn parse<'a, T: Deserialize<'a>>(answer: &'a SecretBytes) -> Result<T, Failure> {
    serde_json::from_slice(answer.expose_secret()).map_err(|_| incomprehensible())
}

/// The daemon said something that this program does not know.
pub(super) fn incomprehensible() -> Failure {
    Failure::new(Code::Software, "the daemon's answer can't be understood")
        .hint("are the daemon and this program of the same version?".to_owned())
}

/// Sends a request whose answer says nothing more.
pub(super) fn tell(connected: &Connected, method: Method, path: &str) -> Result<(), Failure> {
    ask_raw(connected, method, path).map(drop)
}

/// Sends a request with a body and reads the answer as `T`.
pub(super) fn post<T: DeserializeOwned>(connected: &Connected, path: &str, body: SecretBytes) -> Result<T, Failure> {
    let answer = send(connected, Method::POST, path, Some(body))?;
    parse(&successful(path, answer)?)
}

/// What became of an attempt to unlock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unlocked {
    /// The vault is unlocked.
    Yes,
    /// The daemon has no key of its own: a passphrase has to be given.
    KeyNeeded,
}

/// Asks the daemon to unlock, with a passphrase or with the key that its configuration names.
pub(super) fn try_unlock(connected: &Connected, passphrase: Option<SecretBytes>) -> Result<Unlocked, Failure> {
    let path = if passphrase.is_some() { "/v1/unlock?kind=passphrase" } else { "/v1/unlock" };
    let answer = send(connected, Method::POST, path, passphrase)?;
    if answer.status.is_success() {
        Ok(Unlocked::Yes)
    } else if code(&answer.body).as_deref() == Some("key_needed") {
        Ok(Unlocked::KeyNeeded)
    } else {
        Err(refused(path, answer.status, &answer.body))
    }
}

/// Sends a request; the answer's body.
pub(super) fn ask_raw(connected: &Connected, method: Method, path: &str) -> Result<SecretBytes, Failure> {
    let answer = send(connected, method, path, None)?;
    successful(path, answer)
}

fn successful(path: &str, answer: Answer) -> Result<SecretBytes, Failure> {
    if answer.status.is_success() { Ok(answer.body) } else { Err(refused(path, answer.status, &answer.body)) }
}

fn send(connected: &Connected, method: Method, path: &str, body: Option<SecretBytes>) -> Result<Answer, Failure> {
    let socket = socket_path(connected)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(socket::request(&socket, method, path, body)).map_err(|error| unanswered(&error))
}

/// As [`ask_raw`] with GET, within a runtime.
pub(super) async fn read(socket: &Path, path: &str) -> Result<SecretBytes, Failure> {
    let answer = socket::request(socket, Method::GET, path, None).await.map_err(|error| unanswered(&error))?;
    successful(path, answer)
}

/// Listens to what happens.
pub(super) async fn listen(socket: &Path) -> Result<Listening, Failure> {
    match socket::listen(socket).await.map_err(|error| unanswered(&error))? {
        Subscribed::Yes(listening) => Ok(listening),
        Subscribed::No(answer) => Err(refused("/v1/events", answer.status, &answer.body)),
    }
}

fn unanswered(error: &ClientError) -> Failure {
    match error {
        ClientError::NoDaemon { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Failure::of(Code::NoPermission, error)
                .hint("check the group and mode of the socket and of its directory".to_owned())
        }
        ClientError::NoDaemon { source, .. } if is_absent(source) => {
            Failure::of(Code::Unavailable, error).hint("start it with: trayvault run".to_owned())
        }
        ClientError::NoDaemon { .. } | ClientError::Broken => Failure::of(Code::Unavailable, error),
    }
}

/// Whether nobody listens there, as opposed to a path that is no socket's.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Where the daemon listens.
pub(super) fn socket_path(connected: &Connected) -> Result<PathBuf, Failure> {
    if let Some(path) = &connected.socket {
        return Ok(path.clone());
    }
    let config = Config::load(&connected.configured.config)
        .map_err(|error| Failure::of(Code::Config, &error).hint(error.hint()))?;
    Ok(config.api_socket())
}

fn code(body: &SecretBytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        code: String,
    }
    parse::<Refusal>(body).ok().map(|refusal| refusal.code)
}

fn refused(path: &str, status: StatusCode, body: &SecretBytes) -> Failure {
    #[derive(Deserialize)]
    struct Refusal {
        code: String,
        message: String,
        request_id: String,
    }
    let Ok(Refusal { code, message, request_id }) = parse::<Refusal>(body) else {
        return Failure::new(Code::Software, format!("the daemon answered with HTTP {status}"));
    };
    let failure = |code| Failure::new(code, message);
    match code.as_str() {
        "locked" => return failure(Code::Unavailable).hint("unlock it with: trayvault unlock".to_owned()),
        "wrong_key" => return failure(Code::Data).hint("nothing was changed; each try is in the audit log".to_owned()),
        "unlocked" => return failure(Code::Unavailable),
        "rotating" => {
            return failure(Code::Unavailable).hint("trayvault status shows how far it is".to_owned());
        }
        "audit_unavailable" | "cache_unavailable" => {
            return failure(Code::Unavailable).hint("trayvault status says what is in the way".to_owned());
        }
        "vault_unavailable" => return failure(Code::Unavailable).hint("trayvault check may say more".to_owned()),
        _ => {}
    }
    if path.starts_with("/v1/ingest") && status != StatusCode::FORBIDDEN {
        let (code, hint) = refused_by_ingest(path, &code);
        return failure(code).hint(hint.map(str::to_owned));
    }
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

fn refused_by_ingest(path: &str, code: &str) -> (Code, Option<&'static str>) {
    match code {
        "no_drop_directory" => (Code::Config, Some("set ingest.directory in the daemon's configuration")),
        "not_found" if path.starts_with("/v1/ingest/rejected/") => {
            (Code::Data, Some("name a file in the drop directory's rejected/"))
        }
        "not_found" => (Code::Data, Some("trayvault ingest list shows what is waiting")),
        "conflict" => (Code::Unavailable, Some("trayvault ingest show ID says how it stands")),
        "bad_request" => (Code::Usage, None),
        _ => (Code::Unavailable, None),
    }
}
