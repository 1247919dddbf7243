//! The drop directory: a file dropped there becomes exactly one authentication in Tray, or is left with a reason.
//!
//! A file is claimed (`layout`), read if it may be (`claim`), opened if it is sealed (`contents`), parsed (`document`,
//! `json`) and journaled, sealed (`journal`); its plaintext is gone then (`intake`). From the journal, in the order of
//! arrival within its `lane` (`queue`, `turns`), it is planned (`plan`, `update`, checked by `validate` and `schema`), sent
//! once (`upstream`) and, where the answer is not known, reconciled (`recover`, `reconcile`); at the end (`settle`) stands a
//! receipt or a reason (`outcome`, `refusal`), which is kept for a while (`retention`). The states between are those of
//! `intent`; `line` runs it all, and `attend` answers what people ask.

mod attend;
mod check;
mod claim;
mod contents;
mod document;
mod environments;
mod intake;
mod intent;
mod journal;
mod json;
mod lane;
mod layout;
mod leaves;
mod line;
mod local;
mod lookup;
mod number;
mod outcome;
mod owner;
mod plan;
mod preview;
mod queue;
mod reconcile;
mod recover;
mod refusal;
mod retention;
mod schema;
mod settle;
mod strict;
mod turns;
mod update;
mod upstream;
mod validate;
mod watch;

#[cfg(test)]
#[cfg(feature = "emulator")]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch as channel};

use self::{
    attend::Attendant,
    claim::Permitted,
    environments::Environments,
    intake::Intake,
    layout::Layout,
    line::{Line, Standing},
    outcome::Outcomes,
    plan::Planner,
    turns::Turns,
    upstream::Upstream,
    watch::Watch,
};
pub use self::{
    journal::{Journal, JournalError},
    layout::LayoutError,
};
use crate::{
    audit::AuditLog,
    feed::Feed,
    policy::Policy,
    principals::Principals,
    requests::{
        PartRequest,
        ingest::{IngestRefusal, IngestRequest},
    },
    status::Board,
    system::accounts,
    task::{Shutdown, TaskError},
    tray::Tray,
    vault::Cache,
};

/// Events come in swarms: one look serves those of this time.
const SWARM: Duration = Duration::from_millis(50);

/// At a shutdown, what is under way has this long to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// `[ingest]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The drop directory; none, and nothing is ingested.
    pub directory: Option<PathBuf>,
    /// Whose files are taken, by name or number, besides the daemon's user's and root's.
    pub owners: Vec<String>,
    /// How often the directory is looked at, whatever its watch says.
    #[serde(with = "crate::duration")]
    pub scan_interval: Duration,
    /// The largest file that is read, in bytes.
    pub max_size: u64,
    /// How long what was sent and has no answer may take to be done before it is sent again.
    #[serde(with = "crate::duration")]
    pub settle: Duration,
    /// For how long a copy of a document that was accepted is not done again.
    #[serde(with = "crate::duration")]
    pub duplicate_window: Duration,
    /// Whether rejected documents are sealed to the vault.
    pub seal_rejected: bool,
    /// How long receipts and rejected documents are kept.
    #[serde(with = "crate::duration")]
    pub keep_outcomes: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        Self {
            directory: None,
            owners: Vec::new(),
            scan_interval: Duration::from_secs(30),
            max_size: 1024 * 1024,
            settle: Duration::from_secs(60),
            duplicate_window: Duration::from_secs(24 * HOUR),
            seal_rejected: true,
            keep_outcomes: Duration::from_secs(30 * 24 * HOUR),
        }
    }
}

/// What is wrong with `[ingest]`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The daemon's working directory is not the operator's.
    #[error("ingest.directory must be an absolute path")]
    Relative,
    /// A time of zero.
    #[error("{0} must be longer than zero")]
    Zero(&'static str),
    /// Documents are held in memory.
    #[error("ingest.max_size must be from 1 byte to 16 MiB")]
    MaxSize,
    /// A name that would silently match nobody is a mistake.
    #[error("ingest.owners names a user that this system does not know")]
    UnknownOwner,
}

impl Config {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.directory.as_ref().is_some_and(|directory| !directory.is_absolute()) {
            return Err(ConfigError::Relative);
        }
        let spans = [
            ("ingest.scan_interval", self.scan_interval),
            ("ingest.settle", self.settle),
            ("ingest.keep_outcomes", self.keep_outcomes),
        ];
        if let Some((key, _)) = spans.into_iter().find(|(_, span)| span.is_zero()) {
            return Err(ConfigError::Zero(key));
        }
        if !(1..=16 * 1024 * 1024).contains(&self.max_size) {
            return Err(ConfigError::MaxSize);
        }
        self.uids().map(drop)
    }

    fn uids(&self) -> Result<Vec<u32>, ConfigError> {
        self.owners.iter().map(|owner| accounts::uid(owner).ok_or(ConfigError::UnknownOwner)).collect()
    }
}

/// What ingest works with.
pub struct Dependencies {
    /// What it has taken in.
    pub journal: Journal,
    /// The client.
    pub tray: Tray,
    /// Who it acts as.
    pub principals: Principals,
    /// What the daemon knows of authentications; it is told what was done.
    pub cache: Cache,
    /// Where a synchronisation of what was done is asked for.
    pub sync: mpsc::Sender<PartRequest>,
    /// What people ask of it.
    pub requests: mpsc::Receiver<IngestRequest>,
    /// Where every step is recorded.
    pub audit: AuditLog,
    /// The policy in force, for the full read that an update in part takes.
    pub policy: channel::Receiver<Arc<Policy>>,
    /// Where it posts how it goes.
    pub board: Board,
    /// Where it tells what became of each document.
    pub feed: Feed,
}

/// Why ingest can't start.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The drop directory can't be made, or can't be trusted.
    #[error(transparent)]
    Directory(#[from] LayoutError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl IngestError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(LayoutError::File(error)) => error.hint(),
            Self::Directory(LayoutError::OtherFileSystem(_)) => {
                Some("it has to be an ordinary directory of the drop directory, not a mount".to_owned())
            }
            Self::Directory(_) | Self::Config(_) => None,
        }
    }
}

/// What of the configuration is a matter of time.
#[derive(Clone, Debug)]
struct Pace {
    scan_interval: Duration,
    duplicate_window: Duration,
    keep_outcomes: Duration,
}

/// The task.
pub struct Ingest(Task);

enum Task {
    Line(Box<Line>),
    /// There is no drop directory: nothing is done but to say so.
    Off(mpsc::Receiver<IngestRequest>),
}

impl Ingest {
    /// Makes the drop directory.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn open(config: Config, deps: Dependencies) -> Result<Self, IngestError> {
        let Dependencies { journal, tray, principals, cache, sync, requests, audit, policy, board, feed } = deps;
        let owners = config.uids()?;
        let Some(directory) = config.directory else { return Ok(Self(Task::Off(requests))) };
        let layout = Layout::new(directory, !owners.is_empty());
        layout.prepare()?;
        let environments = Environments::new(principals.clone());
        let outcomes = Outcomes {
            layout: layout.clone(),
            keyring: Arc::clone(journal.keyring()),
            seal_rejected: config.seal_rejected,
        };
        let (admitting, admitted) = mpsc::unbounded_channel();
        let intake = Intake {
            layout,
            journal: journal.clone(),
            outcomes: outcomes.clone(),
            cache: cache.clone(),
            audit: audit.clone(),
            feed: feed.clone(),
            permitted: Permitted { owners, max_size: config.max_size },
            admitted: admitting,
            unsettled: Arc::default(),
        };
        let upstream = Arc::new(Upstream {
            planner: Planner { tray, principals, cache, audit: audit.clone(), policy, environments },
            journal,
            outcomes,
            audit,
            sync,
            feed,
            settle: config.settle,
            duplicate_window: config.duplicate_window,
            turns: Turns::default(),
            ending: tokio::sync::Mutex::default(),
        });
        let pace = Pace {
            scan_interval: config.scan_interval,
            duplicate_window: config.duplicate_window,
            keep_outcomes: config.keep_outcomes,
        };
        let attendant = Attendant { upstream: Arc::clone(&upstream) };
        let (watch, state) = (Watch::default(), Standing::default());
        let line = Line { intake, upstream, attendant, admitted, requests, watch, board, pace, state };
        Ok(Self(Task::Line(Box::new(line))))
    }

    /// Ingests until the shutdown.
    ///
    /// # Errors
    /// A part of it panicked.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let mut requests = match self.0 {
            Task::Line(line) => return line.run(shutdown).await,
            Task::Off(requests) => requests,
        };
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                Some(request) = requests.recv() => request.refuse(IngestRefusal::Off),
            }
        }
    }
}
