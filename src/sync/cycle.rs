//! One cycle: find the principals, read their lists, carry out the plan of each.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Config, Dependencies,
    expiry::expires_at,
    plan::{Action, FullReads, Remote, plan},
};
use crate::{
    audit::{self, AuditError, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata, Owner},
    policy::{Policy, PullDecision},
    principals::{PrincipalError, Session},
    status::{CycleReport, Problem},
    tray::{Class, FullAuthentication, Refresh, TrayError},
    vault::{CacheError, GoneReason, State, Write},
};

/// Principals that are worked on at once: enough to use the budget when Tray takes its time.
const AT_ONCE: usize = 8;

/// How long full reads are left alone for a principal for whom Tray has not enabled them.
const NOT_ENABLED_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Runs cycles, and remembers between them for whom full reads are not enabled.
pub(super) struct Cycles(Arc<Shared>);

struct Shared {
    dependencies: Dependencies,
    not_enabled: Mutex<HashMap<Owner, Timestamp>>,
}

/// Why the work on one principal stopped.
#[derive(Debug, thiserror::Error)]
enum OwnerError {
    #[error(transparent)]
    Principal(#[from] PrincipalError),
    #[error(transparent)]
    Tray(#[from] TrayError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl OwnerError {
    fn class(&self) -> Option<Class> {
        match self {
            Self::Tray(error) => Some(error.class),
            Self::Principal(error) => error.class(),
            _ => None,
        }
    }

    fn problem(&self) -> Problem {
        let hint = match self.class() {
            Some(Class::NotEnabled) => {
                Some("the organisation's owner or an admin asks Tray's support to enable the full read")
            }
            Some(Class::TokenRejected) => Some("check that the token is valid, of the right kind and of this region"),
            Some(Class::NotPermitted) => Some("check that the token is of the right kind: see the README's tokens"),
            _ => None,
        };
        Problem { what: self.to_string(), hint: hint.map(str::to_owned) }
    }
}

/// What the work on one principal came to.
#[derive(Default)]
struct Tally {
    listed: usize,
    pulled: usize,
    not_permitted: usize,
    gone: usize,
    failed: usize,
    problem: Option<Problem>,
}

impl Cycles {
    pub(super) fn new(dependencies: Dependencies) -> Self {
        Self(Arc::new(Shared { dependencies, not_enabled: Mutex::default() }))
    }

    /// Runs one cycle over everything. What goes wrong with one principal does not stop the others.
    pub(super) async fn run(&self, config: &Config) -> CycleReport {
        let started_at = Timestamp::now();
        let mut tallies = Vec::new();
        let owners = match self.owners(&mut tallies).await {
            Ok(owners) => owners,
            Err(error) => {
                tallies.push(Tally { failed: 1, problem: Some(error.problem()), ..Tally::default() });
                self.workspace().into_iter().collect()
            }
        };
        self.work_on(owners, config, started_at, tallies).await
    }

    /// Runs one cycle over some principals only.
    pub(super) async fn run_for(&self, owners: Vec<Owner>, config: &Config) -> CycleReport {
        self.work_on(owners, config, Timestamp::now(), Vec::new()).await
    }

    async fn work_on(
        &self,
        owners: Vec<Owner>,
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
                shared.principal(&owner, &config).await
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

    /// The principals to work on. What departed end users had is destroyed here.
    async fn owners(&self, tallies: &mut Vec<Tally>) -> Result<Vec<Owner>, OwnerError> {
        let principals = &self.0.dependencies.principals;
        let users = principals.discover_end_users().await?;
        for user in &users.departed {
            let gone = self.0.remove_principal(&user.owner()).await?;
            tallies.push(Tally { gone, ..Tally::default() });
        }
        Ok(users.present.iter().map(crate::authentication::EndUser::owner).chain(self.workspace()).collect())
    }

    fn workspace(&self) -> Option<Owner> {
        self.0.dependencies.principals.has_workspace().then_some(Owner::Workspace)
    }
}

impl Shared {
    /// One principal's list and plan; a token that Tray rejects is renewed once.
    async fn principal(&self, owner: &Owner, config: &Config) -> Tally {
        let mut tally = Tally::default();
        let mut outcome = self.list_and_pull(owner, config, &mut tally).await;
        if matches!(&outcome, Err(error) if error.class() == Some(Class::TokenRejected)) {
            outcome = match self.dependencies.principals.token_rejected(owner).await {
                Ok(()) => {
                    tally = Tally::default();
                    self.list_and_pull(owner, config, &mut tally).await
                }
                Err(error) => Err(error.into()),
            };
        }
        if let Err(error) = outcome {
            tracing::warn!(principal = %owner.principal(), %error, "a principal could not be synchronised");
            tally.failed += 1;
            tally.problem = Some(error.problem());
        }
        tally
    }

    async fn list_and_pull(&self, owner: &Owner, config: &Config, tally: &mut Tally) -> Result<(), OwnerError> {
        let Dependencies { tray, principals, cache, policy, .. } = &self.dependencies;
        let session = principals.session(owner).await?;
        // Before the list: what ingest creates meanwhile is on neither, and so not taken to be gone.
        let local = cache.schedule(owner)?;
        let listed = tray.authentications(session.acting()).await?;
        tally.listed = listed.len();

        let policy = Arc::clone(&policy.borrow());
        let metadata: HashMap<_, _> =
            listed.into_iter().map(|one| (one.id, one.into_metadata(owner.clone()))).collect();
        let remote: Vec<_> = metadata
            .values()
            .map(|one| Remote {
                id: one.id,
                metadata: cache.metadata_fingerprint(one),
                permitted: matches!(policy.pull(one), PullDecision::Permitted { .. }),
            })
            .collect();
        tally.not_permitted = remote.iter().filter(|one| !one.permitted).count();

        let now = Timestamp::now();
        let actions = plan(&remote, &local, now, self.full_reads(owner, now), config);
        self.carry_out(owner, &session, &metadata, &policy, &actions, tally).await
    }

    async fn carry_out(
        &self,
        owner: &Owner,
        session: &Session,
        metadata: &HashMap<AuthenticationId, Metadata>,
        policy: &Policy,
        actions: &[Action],
        tally: &mut Tally,
    ) -> Result<(), OwnerError> {
        let at = Timestamp::now();
        let mut changes = Vec::new();
        for action in actions {
            match *action {
                Action::Record(id) => changes.push(Write::Listed { metadata: metadata[&id].clone(), at }),
                Action::Withhold(id) => changes.push(Write::Mark { id, state: State::NotPermitted }),
                Action::Remove(id) => {
                    self.destroyed(owner, id, "it is not listed any more")?;
                    changes.push(Write::Gone { id, reason: GoneReason::DeletedUpstream, at });
                    tally.gone += 1;
                }
                Action::Pull(..) => {}
            }
        }
        if !changes.is_empty() {
            self.dependencies.cache.write(changes).await?;
        }
        for action in actions {
            let Action::Pull(id, refresh) = *action else { continue };
            let PullDecision::Permitted { rule } = policy.pull(&metadata[&id]) else { continue };
            match self.pull(owner, session, id, refresh, &rule).await {
                Ok(Pulled::Sealed) => tally.pulled += 1,
                Ok(Pulled::Gone) => tally.gone += 1,
                Err(error) if concerns_one(&error) => {
                    tally.failed += 1;
                    tally.problem.get_or_insert(error.problem());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn pull(
        &self,
        owner: &Owner,
        session: &Session,
        id: AuthenticationId,
        refresh: Refresh,
        rule: &str,
    ) -> Result<Pulled, OwnerError> {
        let Dependencies { tray, cache, audit, .. } = &self.dependencies;
        let event =
            |outcome| Event::new(audit::Action::Pull, outcome).on(Target::authentication(id, owner)).under(Some(rule));
        let asked_in = cache.generation()?;
        match tray.full(session.acting().permit(), id, refresh).await {
            Ok(full) => {
                audit.record(&event(Outcome::Done))?;
                cache.write(vec![pulled(id, asked_in, full)]).await?;
                Ok(Pulled::Sealed)
            }
            Err(error) => {
                audit.record(&event(Outcome::Failed).because(error.reason))?;
                let gone = match error.class {
                    Class::Gone => GoneReason::DeletedUpstream,
                    Class::NotPermitted => GoneReason::PermissionLost,
                    Class::NotEnabled => {
                        self.not_enabled().insert(owner.clone(), Timestamp::now());
                        cache.write(vec![Write::Mark { id, state: State::NotEnabled }]).await?;
                        return Err(error.into());
                    }
                    _ => return Err(error.into()),
                };
                self.destroyed(owner, id, error.reason)?;
                cache.write(vec![Write::Gone { id, reason: gone, at: Timestamp::now() }]).await?;
                Ok(Pulled::Gone)
            }
        }
    }

    /// Destroys what a departed principal had, then forgets the principal.
    async fn remove_principal(&self, owner: &Owner) -> Result<usize, OwnerError> {
        let cache = &self.dependencies.cache;
        let at = Timestamp::now();
        let mut changes = Vec::new();
        for held in cache.schedule(owner)?.into_iter().filter(|held| held.state != State::Gone) {
            self.destroyed(owner, held.id, "its end user is gone")?;
            changes.push(Write::Gone { id: held.id, reason: GoneReason::PrincipalRemoved, at });
        }
        let gone = changes.len();
        if let Owner::EndUser { user_id, .. } = owner {
            changes.push(Write::RemoveUser(user_id.clone()));
        }
        cache.write(changes).await?;
        Ok(gone)
    }

    fn destroyed(&self, owner: &Owner, id: AuthenticationId, reason: &'static str) -> Result<(), AuditError> {
        let event = Event::new(audit::Action::Destroy, Outcome::Done).on(Target::authentication(id, owner));
        self.dependencies.audit.record(&event.because(reason))
    }

    fn full_reads(&self, owner: &Owner, now: Timestamp) -> FullReads {
        let asked_lately = self
            .not_enabled()
            .get(owner)
            .is_some_and(|asked| now.duration_since(*asked).unsigned_abs() < NOT_ENABLED_PAUSE);
        if asked_lately { FullReads::NotEnabled } else { FullReads::Try }
    }

    fn not_enabled(&self) -> std::sync::MutexGuard<'_, HashMap<Owner, Timestamp>> {
        self.not_enabled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a pull that Tray answered.
enum Pulled {
    Sealed,
    Gone,
}

/// Whether an error says something of one authentication only, so that the principal's others are still worth asking
/// for: Tray answered, and neither the token nor the permission is at fault.
fn concerns_one(error: &OwnerError) -> bool {
    matches!(error, OwnerError::Tray(TrayError { class: Class::BadInput | Class::RetryLater, status: Some(_), .. }))
}

fn pulled(id: AuthenticationId, asked_in: u64, full: FullAuthentication) -> Write {
    let fetched_at = Timestamp::now();
    let expires_at = expires_at(full.body().expose_secret(), fetched_at);
    Write::Pulled { id, asked_in, body: full.into_body(), fetched_at, expires_at }
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
