//! The typed client of the Tray API. What may be asked with which token is in the types of `token`: a full read takes a
//! [`FullReadPermit`].
//!
//! A call flows `rest` or `graphql` (what is asked, and what is read in the answer) → `transport` (what is tried again) →
//! `breaker` (whether the host is asked) → `budget` (when) → `exchange` (one request, one answer) → `body`. What comes
//! back is an answer of a type, or a [`TrayError`] of a class.

mod backoff;
mod body;
mod breaker;
mod budget;
mod config;
mod connection;
mod error;
mod exchange;
mod graphql;
mod rest;
mod skew;
mod standing;
mod token;
mod transport;

pub use budget::Priority;
pub use config::{Config, ConfigError, Region};
pub use connection::SetUpError;
pub use error::{Class, TrayError};
pub use graphql::{Listed, NewEndUser, NewUserAuthentication, UserCriteria};
pub use rest::{
    Connector, ConnectorService, FullAuthentication, FullView, NewAuthentication, Refresh, Replacement, Scope,
    ServiceEnvironment, Summary,
};
pub use standing::{Answers, BudgetStanding, Circuit, HostStanding, Requests, Standing, Waiting};
pub use token::{Acting, ApiUserToken, FullReadPermit, MasterToken, SharedWorkspace, UserToken, WorkspaceError};
pub use transport::Tray;
