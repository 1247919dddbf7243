//! An in-process Tray on loopback, for `trayvault demo`, `trayvault emulator` and the tests.
//!
//! It stands for the other side of the contract (`tray-api.md`), so it knows nothing of the rest of the crate and
//! shares no code with the client. Where the contract is exact the emulator is strict: an undocumented field, argument
//! or token kind is refused. Where the contract says *unstated*, [`World`] chooses among the forms.
//!
//! A request flows `server` (accept, or cut the connection) → `rest` or `graphql` (which call is it) →
//! `exchange` (count, limit, faults) → `access` (whose token) → `state` (the work). [`World`] is the way in for
//! those who run the emulator; `control` gives the same over HTTP under `/_emulator/`.

mod access;
mod call;
mod catalogue;
mod control;
mod exchange;
mod fault;
mod graphql;
mod limit;
mod page;
mod rest;
mod schema;
mod seed;
mod seeding;
mod server;
mod spoilt;
mod state;
mod views;
mod world;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub use access::{Account, Tokens};
pub use call::Call;
pub use fault::{Fault, FaultKind};
pub use limit::Limit;
#[cfg(test)]
pub(crate) use limit::Limiter;
pub use seed::{QUOTED, SECRET_MARK};
pub use views::{
    Alteration, AuthenticationView, Creation, EnvironmentView, NewAuthentication, Origin, StateView, UserView,
    WorkspaceTypeForm,
};
pub use world::World;

/// What the emulated organisation holds and how Tray behaves towards it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; anything but loopback is refused. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Same seed and same sizes give the same ids, names, tokens and credentials.
    pub seed: u64,
    /// Embedded end users.
    pub users: usize,
    /// Authentications of each end user.
    pub authentications_per_user: usize,
    /// Authentications in the API user's shared workspace.
    pub workspace_authentications: usize,
    /// Whether Tray support has switched `/full` on.
    pub full_read_enabled: bool,
    /// How long a user token lives from the `authorize` that minted it.
    pub user_token_lifetime: Duration,
    /// The request limits; `None` switches them off.
    pub limit: Option<Limit>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            users: 3,
            authentications_per_user: 2,
            workspace_authentications: 2,
            full_read_enabled: true,
            user_token_lifetime: Duration::from_secs(2 * 24 * 60 * 60),
            limit: Some(Limit::default()),
        }
    }
}

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configured address is not on loopback.
    #[error("the emulator listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address could not be bound.
    #[error("can't listen on {address}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running emulator. Dropping it stops the server too, without waiting for it.
#[derive(Debug)]
pub struct Emulator {
    world: World,
    tokens: Tokens,
    server: server::Server,
}

impl Emulator {
    /// Binds, seeds the world and spawns the server's task.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if !config.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(config.listen));
        }
        let state = state::State::seeded(&config);
        let tokens = state.tokens.clone();
        let world = World::new(state);
        let server = server::Server::start(config.listen, world.clone())
            .await
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        Ok(Self { world, tokens, server })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The REST host, without a trailing slash.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The GraphQL endpoint.
    pub fn graphql_url(&self) -> String {
        format!("http://{}/graphql", self.address())
    }

    /// The tokens that an operator would copy from Tray's UI.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// A handle on everything behind the API; cheap to clone, usable after [`Emulator::stop`].
    pub fn world(&self) -> World {
        self.world.clone()
    }

    /// Stops accepting, lets requests in progress finish for a moment, then closes.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
