//! Keeps the cache in step with Tray: finds the principals and their authentications, pulls in full what policy and
//! Tray permit, on a jittered interval and on request.

mod cycle;
mod expiry;
mod plan;
mod principal;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use self::principal::Asked;
use crate::{
    audit::{Action, AuditLog, Event, Outcome},
    authentication::Owner,
    clauses::clauses,
    policy::Policy,
    principals::Principals,
    status::{Board, CycleReport, Problem, SyncRequest},
    task::{Shutdown, TaskError},
    tray::Tray,
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
    /// A sealed secret that expires within this time is pulled again.
    #[serde(with = "crate::duration")]
    pub expiry_margin: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5 * 60),
            refresh_after: Duration::from_secs(60 * 60),
            expiry_margin: Duration::from_secs(10 * 60),
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
#[error("sync.interval must be at least 1s")]
pub struct ConfigError;

impl Config {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.interval < SHORTEST_INTERVAL { Err(ConfigError) } else { Ok(()) }
    }
}

/// What a cycle works with.
pub struct Dependencies {
    /// The client.
    pub tray: Arc<Tray>,
    /// Whom to act as.
    pub principals: Arc<Principals>,
    /// Where it ends up.
    pub cache: Cache,
    /// Where it is recorded.
    pub audit: AuditLog,
    /// What may be pulled.
    pub policy: watch::Receiver<Arc<Policy>>,
}

/// The synchronisation task.
pub struct Sync {
    config: watch::Receiver<Config>,
    cycles: cycle::Cycles,
    cache: Cache,
    audit: AuditLog,
    requests: mpsc::Receiver<SyncRequest>,
    board: Board,
}

impl Sync {
    /// Puts the task together; nothing happens until it runs.
    pub fn new(
        config: watch::Receiver<Config>,
        dependencies: Dependencies,
        requests: mpsc::Receiver<SyncRequest>,
        board: Board,
    ) -> Self {
        let (cache, audit) = (dependencies.cache.clone(), dependencies.audit.clone());
        Self { config, cycles: cycle::Cycles::new(dependencies), cache, audit, requests, board }
    }

    /// Runs a cycle at once, then on the interval and on request, until the shutdown.
    ///
    /// # Errors
    /// None: what goes wrong in a cycle is in its report, and the next one tries again.
    pub async fn run(mut self, mut shutdown: Shutdown) -> Result<(), TaskError> {
        let mut due = Instant::now();
        let mut mend_from = Instant::now();
        loop {
            if !self.cache.keyring().is_unlocked() {
                tokio::select! {
                    () = self.cache.keyring().unlocked() => {}
                    () = shutdown.requested() => return Ok(()),
                }
                // What a lock cut off is made up for.
                due = Instant::now();
            }
            let config = self.config.borrow_and_update().clone();
            let requests = tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = tokio::time::sleep_until(due) => Vec::new(),
                Some(request) = self.requests.recv() => vec![request],
                // What is damaged is pulled again, whoever found it.
                () = damage_found(&self.cache, mend_from) => {
                    mend_from = Instant::now() + MEND_PAUSE;
                    vec![SyncRequest::everything().0]
                }
                Ok(()) = self.config.changed() => {
                    due = due.min(Instant::now() + self.config.borrow().interval);
                    continue;
                }
            };
            let requests = self.and_those_waiting(requests);
            let owners: BTreeSet<_> = requests.iter().filter_map(|request| request.owner.clone()).collect();
            let asked = if requests.is_empty() { Asked::ByTimer } else { Asked::ByRequest };
            let everything = Instant::now() >= due || requests.iter().any(|request| request.owner.is_none());
            if everything {
                self.board.post(|posted| posted.sync.running = true);
            }
            let report = tokio::select! {
                report = self.cycle(everything, asked, owners, &config) => report,
                () = shutdown.requested() => return Ok(()),
            };
            for request in requests {
                // Whoever asked may have gone.
                let _ = request.report.send(report.clone());
            }
            if everything {
                let pause = jittered(config.interval);
                due = Instant::now() + pause;
                self.board.post(|posted| {
                    posted.sync.running = false;
                    posted.sync.last = Some(report);
                    posted.sync.next_at = Timestamp::now().checked_add(pause).ok();
                });
            }
        }
    }

    fn and_those_waiting(&mut self, mut requests: Vec<SyncRequest>) -> Vec<SyncRequest> {
        while let Ok(request) = self.requests.try_recv() {
            requests.push(request);
        }
        requests
    }

    async fn cycle(&self, everything: bool, asked: Asked, owners: BTreeSet<Owner>, config: &Config) -> CycleReport {
        self.replace_damaged_file().await;
        let report = if everything {
            self.cycles.run(asked, config).await
        } else {
            self.cycles.run_for(owners.into_iter().collect(), config).await
        };
        self.settle().await;
        tracing::info!(
            everything,
            principals = report.principals,
            listed = report.listed,
            pulled = report.pulled,
            gone = report.gone,
            failed = report.failed,
            "synchronised"
        );
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
async fn damage_found(cache: &Cache, from: Instant) {
    tokio::time::sleep_until(from).await;
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
