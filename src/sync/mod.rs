//! Keeps the cache in step with Tray: finds the principals and their authentications, pulls in full what policy and
//! Tray permit, on a jittered interval, ahead of expiries and on request.

mod cycle;
mod error;
mod expiry;
mod flights;
mod full_reads;
mod listing;
pub mod plan;
mod pull;
mod refresher;
mod removals;
mod worker;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use self::{cycle::Cycles, plan::Asked, worker::Worker};
pub use self::{refresher::Refresher, worker::Dependencies};
use crate::{
    audit::{Action, AuditLog, Event, Outcome},
    clauses::clauses,
    freshness::Freshness,
    pointer::Pointer,
    requests::{CycleRequest, PartRequest},
    status::{Board, CycleReport, Problem},
    system::clock,
    task::{Shutdown, TaskError},
    vault::Cache,
};

/// `[sync]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The time from the end of one cycle to the next, more or less a tenth.
    #[serde(with = "crate::duration")]
    pub interval: Duration,
    /// A sealed secret of this age is pulled again.
    #[serde(with = "crate::duration")]
    pub refresh_after: Duration,
    /// A sealed secret that expires within this time, or up to half as much again, is pulled again.
    #[serde(with = "crate::duration")]
    pub expiry_margin: Duration,
    /// JSON pointers (RFC 6901) into Tray's full answer to when credentials expire, besides the names that are built in.
    pub expires_at: Vec<Pointer>,
    /// JSON pointers to in how many seconds they expire.
    pub expires_in: Vec<Pointer>,
    /// For how long a secret is answered that is stale: expired, or overdue because Tray is down.
    #[serde(with = "crate::duration")]
    pub serve_stale_for: Duration,
    /// A cycle that would remove five or more, and more than this share of all, stops and asks.
    pub max_removed_percent: u8,
    /// For how long the metadata of what is gone are kept.
    #[serde(with = "crate::duration")]
    pub keep_tombstones: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5 * 60),
            refresh_after: Duration::from_secs(60 * 60),
            expiry_margin: Duration::from_secs(10 * 60),
            expires_at: Vec::new(),
            expires_in: Vec::new(),
            serve_stale_for: Duration::from_secs(24 * 60 * 60),
            max_removed_percent: 20,
            keep_tombstones: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// The shortest `sync.interval`: below it the listing alone would eat the request budget.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// How soon after a cycle for the sake of what is damaged another may follow: what can't be mended now must not eat the
/// request budget.
const MEND_PAUSE: Duration = Duration::from_secs(10);

/// What is wrong with `[sync]`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The listing alone would eat the request budget.
    #[error("sync.interval must be at least 1s")]
    TooOften,
    /// Not a share.
    #[error("sync.max_removed_percent must be 100 at most")]
    NotAPercentage,
}

impl Config {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.interval < SHORTEST_INTERVAL {
            Err(ConfigError::TooOften)
        } else if self.max_removed_percent > 100 {
            Err(ConfigError::NotAPercentage)
        } else {
            Ok(())
        }
    }

    /// What the age of an answer is measured by: a pull is overdue once the cycle after the one it was due in is over.
    pub fn freshness(&self) -> Freshness {
        Freshness { stale_after: self.refresh_after + self.interval * 3, serve_stale_for: self.serve_stale_for }
    }
}

/// Puts the tasks together: the one that runs cycles, and the one that pulls parts meanwhile. Nothing happens until they
/// run.
pub fn tasks(
    dependencies: Dependencies,
    cycles: mpsc::Receiver<CycleRequest>,
    parts: mpsc::Receiver<PartRequest>,
) -> (Sync, Refresher) {
    let config = dependencies.config.clone();
    let (cache, audit, board) = (dependencies.cache.clone(), dependencies.audit.clone(), dependencies.board.clone());
    let worker = Arc::new(Worker::new(dependencies));
    let refresher = Refresher::new(Arc::clone(&worker), parts);
    (Sync { config, cycles: Cycles(worker), cache, audit, requests: cycles, board }, refresher)
}

/// The task that runs cycles.
pub struct Sync {
    config: watch::Receiver<Config>,
    cycles: Cycles,
    cache: Cache,
    audit: AuditLog,
    requests: mpsc::Receiver<CycleRequest>,
    board: Board,
}

impl Sync {
    /// Runs a cycle at once, then on the interval and on request, until the shutdown.
    ///
    /// # Errors
    /// None: what goes wrong in a cycle is in its report, and the next one tries again.
    pub async fn run(mut self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let mut due = clock::since_boot();
        let mut mend_from = due;
        loop {
            if !self.cache.keyring().is_unlocked() {
                tokio::select! {
                    () = self.cache.keyring().unlocked() => {}
                    () = shutdown.requested() => return Ok(()),
                }
                // What a lock cut off is made up for.
                due = clock::since_boot();
            }
            let config = self.config.borrow_and_update().clone();
            let mut asked = Asked::ByRequest;
            let mut requests = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = self.cache.keyring().locked() => continue,
                () = clock::sleep_until(due) => asked = Asked::ByTimer,
                Some(request) = self.requests.recv() => requests.push(request),
                // What is damaged is pulled again, whoever found it.
                () = damage_found(&self.cache, mend_from) => mend_from = clock::since_boot() + MEND_PAUSE,
                Ok(()) = self.config.changed() => {
                    due = due.min(clock::since_boot() + self.config.borrow().interval);
                    continue;
                }
            }
            while let Ok(request) = self.requests.try_recv() {
                requests.push(request);
                asked = Asked::ByRequest;
            }
            let confirm_removals = requests.iter().any(|request| request.confirm_removals);
            self.board.post(|posted| posted.sync.running = true);
            let report = tokio::select! {
                report = self.cycle(asked, confirm_removals, &config) => report,
                () = shutdown.requested() => return Ok(()),
            };
            for request in requests {
                // Whoever asked may have gone.
                let _ = request.report.send(report.clone());
            }
            let pause = jittered(self.cycles.pause(config.interval));
            due = clock::since_boot() + pause;
            self.board.post(|posted| {
                posted.sync.running = false;
                posted.sync.cycles += 1;
                posted.sync.last = Some(report);
                posted.sync.next_at = Timestamp::now().checked_add(pause).ok();
            });
        }
    }

    async fn cycle(&self, asked: Asked, confirm_removals: bool, config: &Config) -> CycleReport {
        self.replace_damaged_file().await;
        let report = self.cycles.run(asked, confirm_removals, config).await;
        self.settle().await;
        let CycleReport { principals, listed, pulled, gone, failed, requests, .. } = report;
        tracing::info!(principals, listed, pulled, gone, failed, requests, "synchronised");
        report
    }
}

impl Sync {
    /// A file that is damaged is set aside, and the cycle fills an empty one. If that can't be done or recorded, the next
    /// cycle tries again.
    async fn replace_damaged_file(&self) {
        let Some(reason) = self.cache.damaged_file() else { return };
        let event = |outcome| Event::new(Action::Rebuild, outcome).because("the cache is damaged: it is set aside");
        let rebuilt = match self.audit.record_synced(&event(Outcome::Begun)) {
            Ok(()) => self.cache.rebuild().await.map_err(|error| clauses(&error)),
            Err(error) => Err(clauses(&error)),
        };
        match rebuilt {
            Ok(()) => {
                tracing::error!(reason, "the cache was damaged: it is set aside, and rebuilt from Tray");
                let what = format!("the cache was damaged and is rebuilt from Tray: {reason}");
                let hint = Some("what was there is in the state directory's damaged/; does the disk fail?".to_owned());
                let problem = Problem { what, hint };
                self.board.post(|posted| {
                    if !posted.problems.contains(&problem) {
                        posted.problems.push(problem);
                    }
                });
            }
            Err(error) => tracing::error!(error, "the damaged cache can't be replaced"),
        }
    }

    /// Puts what the cycle wrote on stable storage, and records its generation where that is news: a file from before is
    /// told by it.
    async fn settle(&self) {
        let before = self.audit.generations().now().cache;
        if let Err(error) = self.cache.settle().await {
            tracing::warn!(error = clauses(&error), "the cache could not be put on stable storage");
        }
        if self.audit.generations().now().cache > before
            && let Err(error) = self.audit.record(&Event::new(Action::SettleCache, Outcome::Done))
        {
            tracing::error!(error = clauses(&error), "the cache's generation could not be recorded");
        }
    }
}

/// Resolves once something is found damaged, not before the pause after the last one.
async fn damage_found(cache: &Cache, from: Duration) {
    clock::sleep_until(from).await;
    cache.damage_found().await;
}

/// The interval more or less a tenth, so that many daemons do not ask together.
fn jittered(interval: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    interval.mul_f64(0.9 + random / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(100));
            assert!((90.0..=110.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
    }
}
