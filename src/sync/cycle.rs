//! One cycle: find the principals, and work on each.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Config, Dependencies,
    principal::{Asked, OwnerError, Tally, Worker},
};
use crate::{
    authentication::{EndUser, Owner},
    status::{CycleReport, Problem},
};

/// Principals that are worked on at once: enough to use the budget when Tray takes its time.
const AT_ONCE: usize = 8;

/// Runs cycles.
pub(super) struct Cycles(Arc<Worker>);

impl Cycles {
    pub(super) fn new(dependencies: Dependencies) -> Self {
        Self(Arc::new(Worker::new(dependencies)))
    }

    /// Runs one cycle over everything. What goes wrong with one principal does not stop the others.
    pub(super) async fn run(&self, asked: Asked, config: &Config) -> CycleReport {
        let started_at = Timestamp::now();
        let mut tallies = Vec::new();
        let owners = self.owners(&mut tallies).await.unwrap_or_else(|error| {
            tallies.push(Tally { failed: 1, problem: Some(error.problem()), ..Tally::default() });
            // Those that are known have tokens of their own, which may well be good.
            let known = self.0.principals().known_end_users().unwrap_or_default();
            known.iter().map(EndUser::owner).chain(self.workspace()).collect()
        });
        self.work_on(owners, asked, config, started_at, tallies).await
    }

    /// Runs one cycle over some principals only.
    pub(super) async fn run_for(&self, owners: Vec<Owner>, config: &Config) -> CycleReport {
        self.work_on(owners, Asked::ByRequest, config, Timestamp::now(), Vec::new()).await
    }

    async fn work_on(
        &self,
        owners: Vec<Owner>,
        asked: Asked,
        config: &Config,
        started_at: Timestamp,
        mut tallies: Vec<Tally>,
    ) -> CycleReport {
        let principals = owners.len();
        let mut running = JoinSet::new();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        for owner in owners {
            let (shared, places, config) = (Arc::clone(&self.0), Arc::clone(&places), config.clone());
            running.spawn(async move {
                let _place = places.acquire_owned().await;
                shared.principal(&owner, asked, &config).await
            });
        }
        while let Some(done) = running.join_next().await {
            tallies.push(done.unwrap_or_else(|_| Tally {
                failed: 1,
                problem: Some(Problem { what: "the work on a principal died".to_owned(), hint: None }),
                ..Tally::default()
            }));
        }
        report(started_at, principals, &tallies)
    }

    /// The principals to work on. What departed ones had is destroyed here.
    async fn owners(&self, tallies: &mut Vec<Tally>) -> Result<Vec<Owner>, OwnerError> {
        let principals = self.0.principals();
        let users = principals.discover_end_users().await?;
        let no_workspace = self.workspace().is_none().then_some(Owner::Workspace);
        for owner in users.departed.iter().map(EndUser::owner).chain(no_workspace) {
            let gone = self.0.remove_principal(&owner).await?;
            tallies.push(Tally { gone, ..Tally::default() });
        }
        Ok(users.present.iter().map(EndUser::owner).chain(self.workspace()).collect())
    }

    fn workspace(&self) -> Option<Owner> {
        self.0.principals().has_workspace().then_some(Owner::Workspace)
    }
}

fn report(started_at: Timestamp, principals: usize, tallies: &[Tally]) -> CycleReport {
    let sum = |count: fn(&Tally) -> usize| tallies.iter().map(count).sum();
    let mut problems: Vec<Problem> = Vec::new();
    for problem in tallies.iter().filter_map(|tally| tally.problem.as_ref()) {
        if !problems.contains(problem) {
            problems.push(problem.clone());
        }
    }
    CycleReport {
        started_at,
        ended_at: Timestamp::now(),
        principals,
        listed: sum(|tally| tally.listed),
        pulled: sum(|tally| tally.pulled),
        not_permitted: sum(|tally| tally.not_permitted),
        gone: sum(|tally| tally.gone),
        failed: sum(|tally| tally.failed),
        problems,
    }
}
