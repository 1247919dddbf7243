//! The drop directory: a file dropped there becomes exactly one authentication in Tray, or is left with a reason.
//!
//! A file is claimed (`layout`), read if it may be (`claim`), parsed (`document`, `json`) and journaled, sealed
//! (`journal`); its plaintext is gone then (`intake`). From the journal it is planned (`plan`, `update`, checked by
//! `validate` and `schema`), sent once (`upstream`) and, where the answer is not known, reconciled (`recover`,
//! `reconcile`); at the end (`settle`) stands a receipt or a reason (`outcome`, `refusal`). The states between are those
//! of `intent`; `line` runs it all in rounds.

mod claim;
mod document;
mod environments;
mod intake;
mod intent;
mod journal;
mod json;
mod layout;
mod line;
mod outcome;
mod plan;
mod reconcile;
mod recover;
mod refusal;
mod retry;
mod schema;
mod settle;
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
    environments::Environments, intake::Intake, layout::Layout, line::Line, plan::Planner, retry::Retries,
    upstream::Upstream, watch::Watch,
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
    requests::{PartRequest, ingest::IngestRequest},
    status::Board,
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
    /// How often the directory is looked at, whatever its watch says.
    #[serde(with = "crate::duration")]
    pub scan_interval: Duration,
    /// The largest file that is read, in bytes.
    pub max_size: u64,
    /// How long a create whose answer was lost may take to appear before it is sent again.
    #[serde(with = "crate::duration")]
    pub settle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: None,
            scan_interval: Duration::from_secs(30),
            max_size: 1024 * 1024,
            settle: Duration::from_secs(60),
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
        for (key, span) in [("ingest.scan_interval", self.scan_interval), ("ingest.settle", self.settle)] {
            if span.is_zero() {
                return Err(ConfigError::Zero(key));
            }
        }
        if (1..=16 * 1024 * 1024).contains(&self.max_size) { Ok(()) } else { Err(ConfigError::MaxSize) }
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
}

impl IngestError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(LayoutError::File(error)) => error.hint(),
            Self::Directory(_) => None,
        }
    }
}

/// The task.
pub struct Ingest {
    config: Config,
    board: Board,
    /// `None` without a drop directory.
    line: Option<Line>,
}

impl Ingest {
    /// Makes the drop directory.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn open(config: Config, deps: Dependencies) -> Result<Self, IngestError> {
        let Dependencies { journal, tray, principals, cache, sync, requests: _, audit, policy, board, feed } = deps;
        let Some(directory) = config.directory.clone() else { return Ok(Self { config, board, line: None }) };
        let layout = Layout::new(directory);
        layout.prepare()?;
        let environments = Environments::new(principals.clone());
        let planner = Planner { tray, principals, cache, audit: audit.clone(), policy, environments };
        let intake = Intake {
            layout: layout.clone(),
            journal: journal.clone(),
            audit: audit.clone(),
            feed: feed.clone(),
            max_size: config.max_size,
        };
        let upstream = Upstream { planner, journal, layout, audit, sync, feed, settle: config.settle };
        let line = Line { intake, upstream, watch: Watch::default(), retries: Retries::default() };
        Ok(Self { config, board, line: Some(line) })
    }

    /// Ingests until the shutdown.
    ///
    /// # Errors
    /// A part of it panicked.
    pub async fn run(self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let Self { config, board, line } = self;
        let Some(mut line) = line else {
            shutdown.requested().await;
            return Ok(());
        };
        loop {
            tokio::select! {
                () = line.intake.journal.unlocked() => {}
                () = shutdown.requested() => return Ok(()),
            }
            let mut draining = shutdown.clone();
            let patience_is_over = async {
                draining.requested().await;
                tokio::time::sleep(PATIENCE).await;
            };
            let round = tokio::select! {
                round = line.round(config.scan_interval, &shutdown) => round?,
                // Whatever is under way is in the journal, and goes on from there at the next start.
                () = patience_is_over => return Ok(()),
            };
            let next = round.next;
            board.post(|posted| {
                let ingest = &mut posted.ingest;
                (ingest.pending, ingest.held, ingest.problems) = (round.pending, round.held, round.problems);
                ingest.accepted += round.accepted;
                ingest.rejected += round.rejected;
            });
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = line.watch.happened() => tokio::time::sleep(SWARM).await,
                () = tokio::time::sleep(next) => {}
            }
        }
    }
}
