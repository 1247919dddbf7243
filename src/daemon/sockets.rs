//! The sockets that the daemon answers on: systemd's, by the names that their units give them, else its own.

use std::{env, io, sync::Arc};

use listenfd::ListenFd;

use super::DaemonError;
use crate::{
    config::Config,
    socket::{Access, Api, CredentialServer, Endpoint, Server},
    system::{accounts, files},
};

/// What the daemon answers on.
pub(super) struct Sockets {
    pub(super) api: Endpoint,
    /// `None` where systemd hands over the API's alone.
    pub(super) credentials: Option<Endpoint>,
}

impl Sockets {
    /// The tasks that answer on them.
    pub(super) fn servers(self, api: Api) -> (Server, CredentialServer) {
        let api = Arc::new(api);
        (Server::new(self.api, Arc::clone(&api)), CredentialServer::new(self.credentials, api))
    }
}

/// Why the sockets from systemd can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// One has a name that means nothing here.
    #[error("systemd hands over a socket named {0:?}")]
    Unknown(String),
    /// Two have the same name.
    #[error("systemd hands over two sockets named {0:?}")]
    Twice(&'static str),
    /// There are several, and not all of them have names.
    #[error("systemd hands over {0} sockets, and not every one has a name")]
    Nameless(usize),
    /// The API's is not among them.
    #[error("systemd hands over a socket for credentials and none for the API")]
    NoApi,
}

impl HandoverError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::NoApi => "enable trayvault.socket too",
            _ => "the sockets' units say which is which: FileDescriptorName=api, FileDescriptorName=credentials",
        }
    }
}

const API: &str = "api";
const CREDENTIALS: &str = "credentials";

/// What a socket from systemd is for: the index of each.
#[derive(Debug, PartialEq, Eq)]
struct Handover {
    api: usize,
    credentials: Option<usize>,
}

impl Handover {
    /// Reads `LISTEN_FDNAMES` (sd_listen_fds_with_names(3)), in whichever order it has them. One socket alone needs no name.
    fn read(names: Option<&str>, count: usize) -> Result<Self, HandoverError> {
        let names: Vec<_> = names.unwrap_or_default().split(':').collect();
        if count == 1 && matches!(*names, [name] if is_no_name(name)) {
            return Ok(Self { api: 0, credentials: None });
        }
        if names.len() != count || names.iter().any(|name| is_no_name(name)) {
            return Err(HandoverError::Nameless(count));
        }
        let (mut api, mut credentials) = (None, None);
        for (index, name) in names.into_iter().enumerate() {
            let (place, name) = match name {
                API => (&mut api, API),
                CREDENTIALS => (&mut credentials, CREDENTIALS),
                other => return Err(HandoverError::Unknown(other.to_owned())),
            };
            if place.replace(index).is_some() {
                return Err(HandoverError::Twice(name));
            }
        }
        Ok(Self { api: api.ok_or(HandoverError::NoApi)?, credentials })
    }
}

/// What stands where a unit gives no name: its own (systemd.socket(5)), or what stands for none.
fn is_no_name(name: &str) -> bool {
    name.is_empty() || name == "unknown" || name.ends_with(".socket")
}

/// The sockets that systemd hands over, else ones of our own.
pub(super) fn open(config: &Config) -> Result<Sockets, DaemonError> {
    let mut inherited = ListenFd::from_env();
    if inherited.len() == 0 {
        return bind(config);
    }
    let handover = Handover::read(env::var("LISTEN_FDNAMES").ok().as_deref(), inherited.len())?;
    let api = take(&mut inherited, handover.api)?;
    let credentials = handover.credentials.map(|index| take(&mut inherited, index)).transpose()?;
    tracing::info!(credentials = credentials.is_some(), "the sockets are systemd's");
    if credentials.is_none() && !config.credential.is_empty() {
        tracing::warn!(
            hint = "enable trayvault-credentials.socket",
            "there are credential rules, and no socket for them"
        );
    }
    Ok(Sockets { api, credentials })
}

fn take(inherited: &mut ListenFd, index: usize) -> Result<Endpoint, DaemonError> {
    let unusable = |source| DaemonError::System("a socket from systemd can't be used", source);
    let listener = inherited.take_unix_listener(index).map_err(unusable)?;
    let listener = listener.ok_or_else(|| unusable(io::ErrorKind::NotFound.into()))?;
    Endpoint::inherited(listener).map_err(unusable)
}

fn bind(config: &Config) -> Result<Sockets, DaemonError> {
    files::public_directory(&config.socket.directory)?;
    let group = config.socket.group.as_deref().and_then(accounts::gid);
    let (api, credentials) = (config.api_socket(), config.credentials_socket());
    tracing::info!(api = %api.display(), credentials = %credentials.display(), "the sockets are the daemon's own");
    // First, so that whoever finds the API finds this one too. systemd connects as root, whom no mode stops.
    let credentials = Endpoint::bind(&credentials, Access::OwnUser)?;
    let api = Endpoint::bind(&api, group.map_or(Access::Anybody, Access::Group))?;
    Ok(Sockets { api, credentials: Some(credentials) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(names: &str, count: usize) -> Result<(usize, Option<usize>), HandoverError> {
        Handover::read(Some(names), count).map(|handover| (handover.api, handover.credentials))
    }

    #[test]
    fn sockets_are_known_by_their_names_in_any_order() {
        assert_eq!(read("api:credentials", 2), Ok((0, Some(1))));
        assert_eq!(read("credentials:api", 2), Ok((1, Some(0))));
        assert_eq!(read("api", 1), Ok((0, None)));
    }

    #[test]
    fn one_socket_without_a_name_is_the_apis() {
        for name in ["", "unknown", "trayvault.socket"] {
            assert_eq!(read(name, 1), Ok((0, None)), "{name}");
        }
        assert_eq!(Handover::read(None, 1), Ok(Handover { api: 0, credentials: None }));
    }

    #[test]
    fn what_is_not_clear_is_an_error() {
        assert_eq!(read("credentials", 1), Err(HandoverError::NoApi));
        assert_eq!(read("metrics", 1), Err(HandoverError::Unknown("metrics".to_owned())));
        assert_eq!(read("api:metrics", 2), Err(HandoverError::Unknown("metrics".to_owned())));
        assert_eq!(read("api:api", 2), Err(HandoverError::Twice("api")));
        assert_eq!(read("api:trayvault.socket", 2), Err(HandoverError::Nameless(2)));
        assert_eq!(read("api", 2), Err(HandoverError::Nameless(2)));
        assert_eq!(read("api:credentials", 1), Err(HandoverError::Nameless(1)));
        assert_eq!(Handover::read(None, 2), Err(HandoverError::Nameless(2)));
    }
}
