//! Looks into the drop directory, and clears away what was kept long enough, beside everything else.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    super::{intake::Taken, local::LocalError, retention},
    Line, Worked,
};
use crate::{clauses::clauses, status::Problem};

/// How soon to look again at files that may still be being written, how often so soon (until none of them is young any
/// more), and how seldom after that.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const OFTEN: u32 = 12;
const LOOK_SELDOM: Duration = Duration::from_secs(5);

/// How often old outcomes are removed.
const RETENTION: Duration = Duration::from_secs(60 * 60);

impl Line {
    pub(super) fn start_looking(&mut self) {
        let now = Instant::now();
        let state = &mut self.state;
        if state.looking.is_some() || *state.look_at.get_or_insert(now) > now {
            return;
        }
        // The watch is there before the look, so that nothing falls between them.
        if let Err(error) = self.watch.follow(&self.intake.layout) {
            // One that is not there is made by the look, and watched before the next.
            state.is_missing = matches!(error.kind, notify::ErrorKind::PathNotFound);
            tracing::warn!(%error, "the drop directory can't be watched: it is looked at on a timer");
        }
        let intake = self.intake.clone();
        self.state.looking = Some(tokio::task::spawn_blocking(move || intake.round()));
    }

    pub(super) fn look_in(&mut self, span: Duration) {
        self.state.looked_again = 0;
        self.state.look_at = Some(Instant::now() + span);
    }

    pub(super) fn looked(&mut self, looked: Result<Taken, LocalError>) {
        self.state.looking = None;
        self.state.problems.clear();
        let next = match looked {
            Ok(taken) => {
                self.state.obstacle = None;
                self.count(&taken);
                if taken.growing > 0 {
                    self.state.looked_again += 1;
                    let is_young = self.state.looked_again <= OFTEN;
                    let wait = if is_young { LOOK_AGAIN } else { LOOK_SELDOM };
                    if !is_young {
                        let what =
                            format!("{} dropped files are held open for writing, or not whole yet", taken.growing);
                        self.state.problems.push(Problem { what, hint: None });
                    }
                    wait.min(self.pace.scan_interval)
                } else {
                    self.pace.scan_interval
                }
            }
            Err(error) => {
                self.obstructed(&error);
                LOOK_SELDOM.min(self.pace.scan_interval)
            }
        };
        let next = if std::mem::take(&mut self.state.is_missing) { LOOK_AGAIN } else { next };
        self.state.look_at = Some(Instant::now() + next);
    }

    pub(super) fn count(&mut self, taken: &Taken) {
        self.board.post(|posted| posted.ingest.rejected += taken.rejected);
        if taken.unreadable > 0 {
            let what = format!("{} dropped files can't be claimed or read", taken.unreadable);
            let hint = Some("see the daemon's log for why".to_owned());
            self.state.problems.push(Problem { what, hint });
        }
    }

    /// Removes old outcomes, and forgets what was accepted long ago, once in a while.
    pub(super) fn start_cleaning(&mut self) {
        let now = Instant::now();
        if self.state.clean_at.is_some_and(|at| at > now) {
            return;
        }
        self.state.clean_at = Some(now + RETENTION);
        let (intake, pace) = (self.intake.clone(), self.pace.clone());
        self.state.working.spawn_blocking(move || {
            match retention::remove_old(&intake.layout, pace.keep_outcomes, Timestamp::now()) {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "old outcomes were removed"),
                Err(error) => tracing::warn!(error = clauses(&error), "old outcomes can't be removed"),
            }
            if let Err(error) = intake.journal.forget_accepted(pace.duplicate_window) {
                tracing::warn!(error = clauses(&error), "what was accepted long ago can't be forgotten");
            }
            Worked::Other
        });
    }
}
