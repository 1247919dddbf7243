//! The typed client of the Tray API. `Tray` is the transport: one HTTP client, one request budget, errors by class.
//! What may be asked with which token is in the types of `token`: a full read takes a [`FullReadPermit`].

mod body;
mod budget;
mod config;
mod error;
mod graphql;
mod rest;
mod token;
mod transport;

pub use config::{Config, ConfigError, Region};
pub use error::{Class, TrayError};
pub use graphql::{Listed, NewEndUser, NewUserAuthentication, UserCriteria};
pub use rest::{
    Connector, ConnectorService, FullAuthentication, FullView, NewAuthentication, Refresh, Replacement, Scope,
    ServiceEnvironment, Summary,
};
pub use token::{Acting, ApiUserToken, FullReadPermit, MasterToken, SharedWorkspace, UserToken, WorkspaceError};
pub use transport::{SetUpError, Tray};
