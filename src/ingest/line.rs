//! One round from the drop directory to Tray, and what it has to say for the board.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    intake::{Intake, LocalError, Taken},
    intent::Unfinished,
    journal::Contents,
    retry::Retries,
    upstream::{Progress, Upstream},
    watch::Watch,
};
use crate::{
    status::Problem,
    task::{Shutdown, TaskError},
};

/// After this many failures in a row, Tray is taken to be down and the others are not tried.
const FAILURES: usize = 3;

/// From the drop directory to Tray.
pub(super) struct Line {
    pub(super) intake: Intake,
    pub(super) upstream: Upstream,
    pub(super) watch: Watch,
    pub(super) retries: Retries,
}

/// What a round found in the way, and when the next one is due.
pub(super) struct Round {
    pub(super) pending: usize,
    pub(super) held: usize,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) problems: Vec<Problem>,
    pub(super) next: Duration,
}

impl Line {
    /// Takes in what was dropped, then goes on with everything that is not finished, in order of arrival.
    pub(super) async fn round(&mut self, scan_interval: Duration, shutdown: &Shutdown) -> Result<Round, TaskError> {
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
