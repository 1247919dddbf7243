//! The drop directory: a file dropped there becomes exactly one authentication in Tray, or is left with a reason.
//!
//! A file is claimed (`layout`), read if it may be (`claim`), parsed (`document`, `json`) and journaled, sealed
//! (`journal`); its plaintext is gone then (`intake`). From the journal it is planned (`plan`, `update`, checked by
//! `validate` and `schema`), sent once and, where the answer is not known, reconciled (`upstream`, `reconcile`); at the
//! end stands a receipt or a reason (`outcome`, `refusal`). The states between are those of `intent`.

mod claim;
mod document;
mod environments;
mod intake;
mod intent;
mod journal;
mod json;
mod layout;
mod outcome;
mod plan;
mod reconcile;
mod refusal;
mod retry;
mod schema;
mod update;
mod upstream;
mod validate;
mod watch;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch as channel, time::Instant};

use self::{
    environments::Environments,
    intake::{Intake, LocalError, Taken},
    intent::Unfinished,
    journal::{Contents, Journal},
    layout::Layout,
    plan::Planner,
    retry::Retries,
    upstream::{Progress, Upstream},
    watch::Watch,
};
pub use self::{journal::JournalError, layout::LayoutError};
use crate::{
    audit::AuditLog,
    policy::Policy,
    principals::Principals,
    status::{Board, Problem},
    task::{Shutdown, TaskError},
    tray::Tray,
    vault::{Cache, Keyring},
};

/// The journal's file in the state directory.
const JOURNAL: &str = "journal.db";

/// After this many failures in a row, Tray is taken to be down and the others are not tried.
const FAILURES: usize = 3;

/// Events come in swarms: one look serves those of this time.
const SWARM: Duration = Duration::from_millis(50);

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
    /// Where `journal.db` is.
    pub state_dir: PathBuf,
    /// Seals the journal.
    pub keyring: Arc<Keyring>,
    /// The client.
    pub tray: Arc<Tray>,
    /// Who it acts as.
    pub principals: Arc<Principals>,
    /// What the daemon knows of authentications; it is told what was done.
    pub cache: Cache,
    /// Where every step is recorded.
    pub audit: AuditLog,
    /// The policy in force, for the full read that an update in part takes.
    pub policy: channel::Receiver<Arc<Policy>>,
    /// Where it posts how it goes.
    pub board: Board,
}

/// Why ingest can't start.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The drop directory can't be made, or can't be trusted.
    #[error(transparent)]
    Directory(#[from] LayoutError),
}

impl IngestError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(LayoutError::File(error)) => error.hint(),
            _ => None,
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

/// From the drop directory to Tray.
struct Line {
    intake: Intake,
    upstream: Upstream,
    watch: Watch,
    retries: Retries,
}

/// What a round found in the way, and when the next one is due.
struct Round {
    pending: usize,
    held: usize,
    accepted: u64,
    rejected: u64,
    problems: Vec<Problem>,
    next: Duration,
}

impl Ingest {
    /// Makes the drop directory and opens the journal.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn open(config: Config, deps: Dependencies) -> Result<Self, IngestError> {
        let Dependencies { state_dir, keyring, tray, principals, cache, audit, policy, board } = deps;
        let Some(directory) = config.directory.clone() else { return Ok(Self { config, board, line: None }) };
        let layout = Layout::new(directory);
        layout.prepare()?;
        let journal = Journal::open(&state_dir.join(JOURNAL), keyring)?;
        let environments = Environments::new(Arc::clone(&principals));
        let planner = Planner { tray, principals, cache, audit: audit.clone(), policy, environments };
        let intake = Intake {
            layout: layout.clone(),
            journal: journal.clone(),
            audit: audit.clone(),
            max_size: config.max_size,
        };
        let upstream = Upstream { planner, journal, layout, audit, settle: config.settle };
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
            let round = line.round(config.scan_interval, &shutdown).await?;
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

impl Line {
    /// Takes in what was dropped, then goes on with everything that is not finished, in order of arrival.
    async fn round(&mut self, scan_interval: Duration, shutdown: &Shutdown) -> Result<Round, TaskError> {
        let mut round = Round::new(scan_interval);
        let intake = self.intake.clone();
        // The watch is there before the look, so that nothing falls between them.
        if let Err(error) = self.watch.follow(&self.intake.layout) {
            tracing::warn!(%error, "the drop directory can't be watched: it is looked at on a timer");
        }
        match tokio::task::spawn_blocking(move || intake.round()).await? {
            Ok(taken) => round.took(&taken),
            // INVARIANT: nothing is sent while a plaintext might come back.
            Err(error) => {
                round.obstructed(&error);
                return Ok(round);
            }
        }
        match self.upstream.journal.contents().await {
            Ok(contents) => self.bring_on(contents, &mut round, shutdown).await,
            Err(error) => round.obstructed(&error.into()),
        }
        Ok(round)
    }

    async fn bring_on(&mut self, contents: Contents, round: &mut Round, shutdown: &Shutdown) {
        round.damaged(&contents.damaged);
        round.pending = contents.unfinished.len();
        self.retries.keep(&contents.unfinished);
        // What was sent and is not settled comes first: to create beside it would make the listing say less.
        let unsettled = contents.unfinished.iter().filter_map(Unfinished::unsettled_owner);
        let mut busy: BTreeSet<_> = unsettled.map(|owner| owner.key().to_owned()).collect();
        let (mut failures, mut behind, before) = (0, false, round.pending);
        for intent in contents.unfinished {
            if shutdown.is_requested() || failures == FAILURES {
                break;
            }
            let id = intent.slip().id;
            if self.retries.is_waiting(id, Instant::now()) {
                busy.extend(self.retries.owner(id).map(|owner| owner.key().to_owned()));
                continue;
            }
            match self.upstream.resume(intent, &busy).await {
                Ok(Progress::Accepted) => (round.accepted, round.pending) = (round.accepted + 1, round.pending - 1),
                Ok(Progress::Rejected) => (round.rejected, round.pending) = (round.rejected + 1, round.pending - 1),
                Ok(Progress::Held) => (round.held, round.pending) = (round.held + 1, round.pending - 1),
                Ok(Progress::Behind) => behind = true,
                Ok(Progress::Waiting(waiting)) => {
                    busy.extend(waiting.owner.as_ref().map(|owner| owner.key().to_owned()));
                    failures = if waiting.problem.is_some() { failures + 1 } else { failures };
                    round.problem(waiting.problem.as_deref(), None);
                    self.retries.later(id, waiting, Instant::now());
                }
                Err(error) => {
                    round.obstructed(&error);
                    break;
                }
            }
        }
        if behind && round.pending < before {
            round.next = Duration::ZERO;
        }
        if round.held > 0 {
            let what = format!("{} dropped documents may have been done twice or not at all", round.held);
            round.problem(Some(&what), Some("compare the owner's authentications in Tray with the audit log"));
        }
        round.next = round.next.min(self.retries.next(Instant::now()).unwrap_or(round.next));
    }
}

impl Round {
    fn new(next: Duration) -> Self {
        Self { pending: 0, held: 0, accepted: 0, rejected: 0, problems: Vec::new(), next }
    }

    fn took(&mut self, taken: &Taken) {
        self.rejected += taken.rejected;
        self.next = self.next.min(taken.again.unwrap_or(self.next));
        if taken.unreadable > 0 {
            let what = format!("{} dropped files can't be read", taken.unreadable);
            self.problem(Some(&what), Some("see the daemon's log for why"));
        }
    }

    fn damaged(&mut self, damaged: &[uuid::Uuid]) {
        self.held += damaged.len();
        if let [first, ..] = damaged {
            let what = format!("{} intents in the journal are damaged, {first} among them", damaged.len());
            self.problem(Some(&what), Some("restore journal.db from before, or drop the documents again"));
        }
    }

    /// Something on this host is in the way.
    fn obstructed(&mut self, error: &LocalError) {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        tracing::error!(error = %error, cause, "ingest is at a stand");
        self.problem(Some(&format!("ingest is at a stand: {error}{cause}")), error.hint().as_deref());
        self.next = self.next.min(Duration::from_secs(5));
    }

    fn problem(&mut self, what: Option<&str>, hint: Option<&str>) {
        let problem = what.map(|what| Problem { what: what.to_owned(), hint: hint.map(str::to_owned) });
        self.problems.extend(problem.filter(|problem| !self.problems.contains(problem)));
    }
}
