//! What the daemon says of itself: tasks post to the board, the socket reads it. No secret and no name is on it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{system::sandbox::Sandbox, tray};

/// The board. Cheap to clone.
#[derive(Clone)]
pub struct Board(Arc<Mutex<Posted>>, Arc<dyn Fn() -> tray::Standing + Send + Sync>);

/// What the tasks have posted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Posted {
    /// When the daemon started.
    pub started_at: Timestamp,
    /// How far the process is confined (landlock(7)).
    pub landlock: Sandbox,
    /// How Tray answers.
    pub tray: tray::Standing,
    /// How synchronisation goes.
    pub sync: SyncStatus,
    /// How the drop directory goes.
    pub ingest: IngestStatus,
    /// How far re-sealing in a new epoch is, while there are earlier ones.
    pub resealing: Option<Resealing>,
    /// What stood in the way at the start.
    pub problems: Vec<Problem>,
}

/// How synchronisation goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// Whether a cycle is under way.
    pub running: bool,
    /// How far it is.
    pub progress: Option<Progress>,
    /// The last cycle that ended.
    pub last: Option<CycleReport>,
    /// When the next one is due.
    pub next_at: Option<Timestamp>,
    /// Cycles that ended since the start.
    pub cycles: u64,
    /// What became of pulls since the start, in cycles and out of them.
    pub pulls: Pulls,
}

/// What became of pulls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulls {
    /// Sealed.
    pub sealed: u64,
    /// Something changed meanwhile: what was read was dropped.
    pub overtaken: u64,
    /// What is held is new enough.
    pub current: u64,
    /// No rule permits it.
    pub not_permitted: u64,
    /// Tray has it no more.
    pub gone: u64,
    /// Tray refuses it.
    pub refused: u64,
    /// Tray has not enabled full reads for its principal.
    pub not_enabled: u64,
    /// Not answered, or it could not be sealed.
    pub failed: u64,
}

/// How far a cycle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Principals whose lists were read, or authentications that were pulled.
    pub done: usize,
    /// All of them.
    pub total: usize,
    /// When this phase began.
    pub since: Timestamp,
}

/// What a cycle is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It reads the principals' lists.
    Listing,
    /// It pulls in full what is due.
    Pulling,
}

/// How far re-sealing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resealing {
    /// Records that are sealed in the current epoch.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

/// What one cycle did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CycleReport {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Principals whose lists were read.
    pub principals: usize,
    /// Authentications on those lists.
    pub listed: usize,
    /// Pulled in full and sealed.
    pub pulled: usize,
    /// Not pulled: no rule permits it.
    pub not_permitted: usize,
    /// Gone since the last cycle.
    pub gone: usize,
    /// Removals that were held back: more than a cycle may do unasked.
    pub held_back: usize,
    /// Principals for whom the full read is not enabled.
    pub not_enabled: usize,
    /// Pulls or lists that failed.
    pub failed: usize,
    /// Requests to Tray while it ran, but for those of the drop directory and of callers.
    pub requests: u64,
    /// What stands in the way, with what to do about it.
    pub problems: Vec<Problem>,
}

/// Something that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One clause.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How the drop directory goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestStatus {
    /// Documents that are journaled and not settled.
    pub pending: usize,
    /// Documents whose outcome a person has to look at.
    pub held: usize,
    /// Accepted since the start.
    pub accepted: u64,
    /// Rejected since the start.
    pub rejected: u64,
    /// What stands in the way.
    pub problems: Vec<Problem>,
}

impl Board {
    /// An empty board; `tray` says how Tray answers, whenever the board is read.
    pub fn new(started_at: Timestamp, tray: impl Fn() -> tray::Standing + Send + Sync + 'static) -> Self {
        let posted = Posted {
            started_at,
            landlock: Sandbox::None,
            tray: tray(),
            sync: SyncStatus::default(),
            ingest: IngestStatus::default(),
            resealing: None,
            problems: Vec::new(),
        };
        Self(Arc::new(Mutex::new(posted)), Arc::new(tray))
    }

    /// Changes what is on the board.
    pub fn post(&self, change: impl FnOnce(&mut Posted)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is on the board.
    pub fn read(&self) -> Posted {
        let posted = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Posted { tray: self.1(), ..posted }
    }
}
