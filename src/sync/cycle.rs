//! One cycle: find the principals, read their lists, remove what is gone, pull what is due.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::{
    Config,
    error::{SyncError, not_enabled},
    flights::Want,
    listing::Found,
    plan::{Asked, Due, removal_allowance},
    pull::{Pulled, agrees},
    worker::Worker,
};
use crate::{
    authentication::{AuthenticationId, EndUser, Owner, UserId},
    status::{CycleReport, Phase, Problem, Progress},
    tray::Priority,
    vault::{GoneReason, State, Write},
};

/// Requests that are under way at once: enough to use the budget when Tray takes its time.
const AT_ONCE: usize = 32;

/// How soon another cycle follows one that Tray did not answer: the circuit keeps it from asking much.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(30);

/// Runs cycles.
pub(super) struct Cycles(pub(super) Arc<Worker>);

/// What the parts of a cycle came to.
#[derive(Default)]
struct Tally {
    listed: usize,
    not_permitted: usize,
    pulled: usize,
    gone: usize,
    held_back: usize,
    failed: usize,
    problems: Vec<Problem>,
    missing: Vec<(AuthenticationId, GoneReason)>,
    departed: Vec<UserId>,
    due: Vec<(AuthenticationId, Due)>,
}

impl Cycles {
    /// Runs one cycle over everything. What goes wrong with one principal does not stop the others.
    pub(super) async fn run(&self, asked: Asked, confirm_removals: bool, config: &Config) -> CycleReport {
        let (started_at, requests) = (Timestamp::now(), self.requests());
        if asked == Asked::ByRequest {
            self.0.ask_again();
        }
        let mut tally = Tally::default();
        if let Err(error) = self.0.catch_up().await {
            tally.failed(error.problem());
        }
        if self.0.dependencies.tray.is_offline() {
            tally.problem(Problem { what: "offline: Tray is not asked".to_owned(), hint: None });
            return self.report(started_at, 0, 0, tally);
        }
        let owners = self.owners(&mut tally).await.unwrap_or_else(|error| {
            tally.failed(error.problem());
            // Those that are known have tokens of their own, which may well be good.
            let known = self.0.dependencies.principals.known_end_users().unwrap_or_default();
            known.iter().map(EndUser::owner).chain(self.workspace()).collect()
        });
        let principals = owners.len();
        self.0.full_reads.keep(&owners);
        self.list(owners, asked, config, &mut tally).await;
        let left = self.remove(self.allowance(confirm_removals, config), &mut tally).await;
        self.pull(&mut tally).await;
        self.settle_held(left, &mut tally).await;
        self.forget_tombstones(config, &mut tally).await;
        self.look_at_the_clock(&mut tally);
        self.report(started_at, principals, self.requests() - requests, tally)
    }

    fn report(&self, started_at: Timestamp, principals: usize, requests: u64, tally: Tally) -> CycleReport {
        let Tally { listed, not_permitted, pulled, gone, held_back, failed, problems, .. } = tally;
        CycleReport {
            started_at,
            ended_at: Timestamp::now(),
            principals,
            listed,
            pulled,
            not_permitted,
            gone,
            held_back,
            not_enabled: self.0.full_reads.count_not_enabled(),
            failed,
            requests,
            problems,
        }
    }

    /// One principal's list and what of it is due. What is missing on it is left to the next cycle.
    pub(super) async fn run_for(&self, owner: &Owner, config: &Config) {
        let found = match self.0.list(owner, Asked::ByRequest, Priority::Ingest, config).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(principal = %owner.principal(), %error, "a principal could not be synchronised");
                return;
            }
        };
        for (id, _) in found.due {
            // What fails is logged, and due in the next cycle.
            let _ = self.0.pull(id, Want::AsItIs, Priority::Ingest).await;
        }
    }

    /// The principals to work on. What departed ones had is missing.
    async fn owners(&self, tally: &mut Tally) -> Result<Vec<Owner>, SyncError> {
        let Worker { dependencies, .. } = &*self.0;
        let users = dependencies.principals.discover_end_users().await?;
        let no_workspace = self.workspace().is_none().then_some(Owner::Workspace);
        for owner in users.departed.iter().map(EndUser::owner).chain(no_workspace) {
            let held = dependencies.cache.schedule(&owner)?.into_iter().filter(|held| held.state != State::Gone);
            tally.missing.extend(held.map(|held| (held.id, GoneReason::PrincipalRemoved)));
        }
        tally.departed = users.departed.into_iter().map(|user| user.id).collect();
        Ok(users.present.iter().map(EndUser::owner).chain(self.workspace()).collect())
    }

    fn workspace(&self) -> Option<Owner> {
        self.0.dependencies.principals.has_workspace().then_some(Owner::Workspace)
    }

    async fn list(&self, owners: Vec<Owner>, asked: Asked, config: &Config, tally: &mut Tally) {
        let config = Arc::new(config.clone());
        let list = |owner: Owner| {
            let (worker, config) = (Arc::clone(&self.0), Arc::clone(&config));
            async move {
                let found = worker.list(&owner, asked, Priority::Discovery, &config).await;
                if let Err(error) = &found {
                    tracing::warn!(principal = %owner.principal(), %error, "a principal could not be synchronised");
                }
                found.map_err(|error| error.problem())
            }
        };
        self.each(Phase::Listing, owners, list, |found| tally.found(found)).await;
    }

    /// Removes what is missing, if it is not more than `most`; how many may still be removed.
    async fn remove(&self, most: usize, tally: &mut Tally) -> usize {
        let missing = std::mem::take(&mut tally.missing);
        if missing.len() > most {
            tally.held_back += missing.len();
            return most;
        }
        for reason in [GoneReason::DeletedUpstream, GoneReason::PrincipalRemoved] {
            let ids: Vec<_> = missing.iter().filter(|(_, why)| *why == reason).map(|(id, _)| *id).collect();
            match self.0.remove(&ids, reason).await {
                Ok(()) => tally.gone += ids.len(),
                Err(error) => tally.failed(error.problem()),
            }
        }
        let departed: Vec<_> = tally.departed.drain(..).map(Write::RemoveUser).collect();
        if !departed.is_empty()
            && let Err(error) = self.0.dependencies.cache.write(departed).await
        {
            tally.failed(SyncError::from(error).problem());
        }
        most - missing.len()
    }

    /// Removes what Tray refused, if it is not more than `most`; and says what is held back.
    async fn settle_held(&self, most: usize, tally: &mut Tally) {
        match self.0.settle_held(most).await {
            Ok((removed, held_back)) => {
                tally.gone += removed;
                tally.held_back += held_back;
            }
            Err(error) => tally.failed(error.problem()),
        }
        if tally.held_back > 0 {
            tally.problem(Problem {
                what: format!("{} removals are held back: they are more than a cycle may do unasked", tally.held_back),
                hint: Some("if they are right in Tray: trayvault sync --confirm-removals".to_owned()),
            });
        }
    }

    /// How many may be removed.
    fn allowance(&self, confirmed: bool, config: &Config) -> usize {
        if confirmed {
            return usize::MAX;
        }
        let present = self.0.dependencies.cache.counts().map(|counts| counts.present()).unwrap_or_default();
        removal_allowance(present, config.max_removed_percent)
    }

    /// Pulls what is due, what expires first in front.
    async fn pull(&self, tally: &mut Tally) {
        let mut due = std::mem::take(&mut tally.due);
        due.sort_by_key(|(_, due)| *due);
        let pull = |(id, due): (AuthenticationId, Due)| {
            let worker = Arc::clone(&self.0);
            let priority = if due == Due::Expiry { Priority::Expiry } else { Priority::Discovery };
            async move { Ok(worker.pull(id, Want::AsItIs, priority).await) }
        };
        self.each(Phase::Pulling, due, pull, |pulled| tally.pulled(pulled)).await;
    }

    async fn forget_tombstones(&self, config: &Config, tally: &mut Tally) {
        let Ok(before) = Timestamp::now().checked_sub(config.keep_tombstones) else { return };
        let cache = &self.0.dependencies.cache;
        if cache.counts().is_ok_and(|counts| counts.gone > 0)
            && let Err(error) = cache.write(vec![Write::ForgetGone { before }]).await
        {
            tally.failed(SyncError::from(error).problem());
        }
    }

    fn look_at_the_clock(&self, tally: &mut Tally) {
        if let Some(skew) = self.0.dependencies.tray.clock_skew().filter(|skew| !agrees(*skew)) {
            tally.problem(Problem {
                what: format!("this host's clock and Tray's are {} s apart", skew.unsigned_abs()),
                hint: Some("set it by NTP: when credentials expire is reckoned by it".to_owned()),
            });
        }
    }

    /// How soon another cycle follows.
    pub(super) fn pause(&self, interval: Duration) -> Duration {
        let Worker { dependencies, .. } = &*self.0;
        let may_answer_soon = !dependencies.tray.is_offline() && !self.0.is_answered();
        if may_answer_soon { interval.min(UNANSWERED_PAUSE) } else { interval }
    }

    /// Does the same for each of many, some at once, and posts how far it is. Once Tray does not answer at all, the rest
    /// is left for the next cycle.
    async fn each<T, R, F>(
        &self,
        phase: Phase,
        all: Vec<T>,
        work: impl Fn(T) -> F,
        mut done: impl FnMut(Result<R, Problem>),
    ) where
        F: Future<Output = Result<R, Problem>> + Send + 'static,
        R: Send + 'static,
    {
        let (total, since) = (all.len(), Timestamp::now());
        let board = &self.0.dependencies.board;
        let mut finished = 0;
        let mut running = JoinSet::new();
        let mut rest = all.into_iter();
        loop {
            while running.len() < AT_ONCE && self.0.is_answered() {
                let Some(next) = rest.next() else { break };
                running.spawn(work(next));
            }
            board.post(|posted| {
                posted.sync.progress = Some(Progress { phase, done: finished, total, since });
            });
            let Some(ended) = running.join_next().await else { break };
            finished += 1;
            done(ended.unwrap_or_else(|_| Err(Problem { what: "a part of the cycle died".to_owned(), hint: None })));
        }
        for _ in rest {
            done(Err(Problem {
                what: "Tray is not answering: the rest is left for the next cycle".to_owned(),
                hint: None,
            }));
        }
        board.post(|posted| posted.sync.progress = None);
    }

    /// Requests so far that were synchronisation's own.
    fn requests(&self) -> u64 {
        let requests = self.0.dependencies.tray.requests();
        requests.expiry + requests.discovery
    }
}

impl Tally {
    fn found(&mut self, found: Result<Found, Problem>) {
        match found {
            Ok(found) => {
                self.listed += found.listed;
                self.not_permitted += found.not_permitted;
                self.due.extend(found.due);
                self.missing.extend(found.missing.into_iter().map(|id| (id, GoneReason::DeletedUpstream)));
                if found.not_enabled {
                    self.problem(not_enabled().problem());
                }
            }
            Err(problem) => self.failed(problem),
        }
    }

    fn pulled(&mut self, pulled: Result<Pulled, Problem>) {
        match pulled {
            Ok(Pulled::Sealed) => self.pulled += 1,
            Ok(Pulled::Gone | Pulled::Current | Pulled::Withheld | Pulled::Overtaken) => {}
            Ok(Pulled::NotEnabled(problem)) => self.problem(problem),
            Ok(Pulled::Refused(problem) | Pulled::Failed(problem, _)) | Err(problem) => self.failed(problem),
        }
    }

    fn failed(&mut self, problem: Problem) {
        self.failed += 1;
        self.problem(problem);
    }

    fn problem(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
