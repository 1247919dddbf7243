//! How the client stands: what other parts show of it. Nothing in it is a secret.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::budget::Priority;

/// How the client stands towards Tray.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whether it was told not to ask Tray at all.
    pub offline: bool,
    /// Each host once: REST's, then GraphQL's where that is another.
    pub hosts: Vec<HostStanding>,
    /// The budget of requests.
    pub budget: BudgetStanding,
    /// What was sent since the start.
    pub requests: Requests,
}

/// How one host stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStanding {
    /// Its name, with its port where that is not the scheme's own.
    pub host: String,
    /// Whether it is asked.
    pub circuit: Circuit,
    /// While the circuit is open: when it is asked again, in seconds, rounded up.
    pub retry_in_seconds: Option<u64>,
    /// Requests in a row that it has not answered.
    pub failures: u32,
}

/// Whether a host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// It is.
    Closed,
    /// It is not: it has not been answering.
    Open,
    /// One call may ask, or asks, whether it answers again.
    HalfOpen,
}

/// How the budget stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetStanding {
    /// Calls that wait for a permit.
    pub waiting: usize,
    /// After 'over the limit': how long nobody sends yet, in seconds, rounded up.
    pub paused_for_seconds: Option<u64>,
    /// Answers of 'over the limit' since the start.
    pub limit_errors: u64,
}

/// Requests that were sent since the start, by [`Priority`]. Repeated attempts count each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Of [`Priority::Refresh`].
    pub refresh: u64,
    /// Of [`Priority::Ingest`].
    pub ingest: u64,
    /// Of [`Priority::Expiry`].
    pub expiry: u64,
    /// Of [`Priority::Discovery`].
    pub discovery: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.refresh + self.ingest + self.expiry + self.discovery
    }
}

/// Counts requests.
#[derive(Default)]
pub(super) struct Counters {
    refresh: AtomicU64,
    ingest: AtomicU64,
    expiry: AtomicU64,
    discovery: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, priority: Priority) {
        let counter = match priority {
            Priority::Refresh => &self.refresh,
            Priority::Ingest => &self.ingest,
            Priority::Expiry => &self.expiry,
            Priority::Discovery => &self.discovery,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn requests(&self) -> Requests {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            refresh: read(&self.refresh),
            ingest: read(&self.ingest),
            expiry: read(&self.expiry),
            discovery: read(&self.discovery),
        }
    }
}

/// Seconds, rounded up: a wait that is not over is never shown as none.
pub(super) fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}
