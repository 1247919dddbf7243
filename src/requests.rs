//! What the tasks ask of each other, over channels: synchronisation here, ingest in [`ingest`].

pub mod ingest;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use self::ingest::IngestRequest;
use crate::{
    authentication::{AuthenticationId, Owner},
    status::{CycleReport, Problem},
};

/// Where the other tasks ask. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    /// For whole cycles.
    pub cycles: mpsc::Sender<CycleRequest>,
    /// For parts, which do not wait for the cycle under way.
    pub parts: mpsc::Sender<PartRequest>,
    /// For what a person asks about dropped documents.
    pub ingest: mpsc::Sender<IngestRequest>,
}

/// A request for a cycle now.
pub struct CycleRequest {
    /// A person has confirmed that it may remove more than its share.
    pub confirm_removals: bool,
    /// Where the report of a cycle that began after the request goes. Nobody may be waiting for it.
    pub report: oneshot::Sender<CycleReport>,
}

/// A request for a part.
pub enum PartRequest {
    /// One principal's list, and what of it is due: something of it was changed in Tray.
    Owner(Owner),
    /// One authentication.
    Authentication(RefreshRequest),
}

/// A request for one authentication to be pulled now.
pub struct RefreshRequest {
    /// Which.
    pub id: AuthenticationId,
    /// The revision whose credentials their service rejected: Tray is to refresh them, unless a later one is held.
    pub rejected: Option<u64>,
    /// Where what became of it goes. Nobody may be waiting for it.
    pub answer: oneshot::Sender<Refreshed>,
}

/// What became of a [`RefreshRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refreshed {
    /// What is held is of now.
    Pulled,
    /// What is held is newer than what was rejected, or Tray refreshed it a moment ago.
    Current,
    /// There is none that may be pulled: policy or Tray refuses, or it is gone.
    Refused,
    /// Tray could not be asked, or could not do it.
    Failed(Problem, Trouble),
}

/// What was in the way of an answer of Tray's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Tray does not answer, or asks to try again later; or it is not Tray that is in the way.
    Unavailable,
    /// Tray answered, but not with what was asked for.
    BadAnswer,
}

impl CycleRequest {
    /// Asks for a cycle, and for its report.
    pub fn new(confirm_removals: bool) -> (Self, oneshot::Receiver<CycleReport>) {
        let (report, answer) = oneshot::channel();
        (Self { confirm_removals, report }, answer)
    }
}

impl RefreshRequest {
    /// Asks for a pull, and for what becomes of it.
    pub fn new(id: AuthenticationId, rejected: Option<u64>) -> (Self, oneshot::Receiver<Refreshed>) {
        let (answer, refreshed) = oneshot::channel();
        (Self { id, rejected, answer }, refreshed)
    }
}
