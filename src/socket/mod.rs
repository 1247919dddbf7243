//! The local sockets. `api.sock`: HTTP/1.1 and JSON, status to whoever may connect, metadata and secrets to callers that
//! policy names. `credentials.sock`: credentials for systemd. Each decision is audited before its answer.

mod answer;
mod asked;
mod client;
mod connection;
mod credentials;
mod events;
mod explaining;
mod head_timer;
mod held;
mod ingest;
mod listener;
mod listening;
mod listing;
mod manage;
mod metrics;
mod patient;
mod peers;
mod places;
mod reading;
mod refusals;
mod routes;
mod server;
mod standing;
mod stream;
#[cfg(test)]
mod tests;
mod workers;

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::{runtime::Handle, sync::watch};

pub use client::{Answer, ClientError, request};
pub use credentials::CredentialServer;
pub use listener::{Access, BindError, Endpoint};
pub use listening::{Event, Listening, Subscribed, listen};
pub use refusals::{Refusals, Refused};
pub use server::Server;

use crate::{
    audit::AuditLog, custody::Custody, feed::Feed, freshness::Freshness, metrics::Metrics, policy::Policy,
    requests::Requests, status::Board, vault::Cache,
};

/// The API socket's name in the runtime directory.
pub const API_SOCKET: &str = "api.sock";
/// The name there of the socket of systemd's credentials.
pub const CREDENTIALS_SOCKET: &str = "credentials.sock";

/// `[socket]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the sockets are made. Ignored where systemd hands one over.
    pub directory: PathBuf,
    /// The group that may connect besides the daemon's own user; without one, anybody on the host may, and gets
    /// what `[access]` grants.
    pub group: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { directory: PathBuf::from("/run/trayvault"), group: None }
    }
}

/// What is answered from.
pub struct Api {
    /// The sealed cache.
    pub cache: Cache,
    /// Locks, unlocks and rotates.
    pub custody: Arc<Custody>,
    /// Where every decision is recorded first.
    pub audit: AuditLog,
    /// Who may do what.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// What the other tasks say of themselves.
    pub board: Board,
    /// Where requests to synchronisation go.
    pub requests: Requests,
    /// What a value's age means.
    pub freshness: watch::Receiver<Freshness>,
    /// What happens, for whoever listens.
    pub feed: Feed,
    /// What is counted.
    pub metrics: Metrics,
    /// The last refusals.
    pub refusals: Refusals,
    /// Where that runs which comes to its end whether its caller hangs up or not: what a connection's own thread has begun
    /// ends with its connections.
    pub runtime: Handle,
}
