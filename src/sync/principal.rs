//! The work on one principal: its list, the plan, and what the plan says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Config, Dependencies,
    expiry::expires_at,
    plan::{Action, FullReads, Remote, plan},
};
use crate::{
    audit::{self, AuditError, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata, Owner},
    clauses::clauses,
    policy::{Policy, PullDecision},
    principals::{PrincipalError, Principals, Session},
    status::Problem,
    tray::{Class, FullAuthentication, Refresh, TrayError},
    vault::{CacheError, GoneReason, State, Write},
};

/// How long the timer leaves alone what Tray refused: full reads that are not enabled, or not permitted.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Who wants a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The interval has passed.
    ByTimer,
    /// A person, a new configuration or a dropped file.
    ByRequest,
}

/// Works on principals.
pub(super) struct Worker {
    dependencies: Dependencies,
    memory: Mutex<Memory>,
}

/// What was refused lately. Lost with the process: then it is asked again once.
#[derive(Default)]
struct Memory {
    not_enabled: HashMap<Owner, Timestamp>,
    refused: HashMap<AuthenticationId, Timestamp>,
}

/// Why the work on one principal stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum OwnerError {
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
    /// Tray has not enabled full reads, as it said a while ago.
    fn not_enabled() -> Self {
        Self::Tray(TrayError {
            class: Class::NotEnabled,
            call: "read authentication in full",
            reason: "the full read is not enabled for this organisation",
            status: None,
        })
    }

    fn class(&self) -> Option<Class> {
        match self {
            Self::Tray(error) => Some(error.class),
            Self::Principal(error) => error.class(),
            _ => None,
        }
    }

    pub(super) fn problem(&self) -> Problem {
        let hint = match self.class() {
            Some(Class::NotEnabled) => {
                Some("the organisation's owner or an admin asks Tray's support to enable the full read")
            }
            Some(Class::TokenRejected) => Some("check that the token is valid, of the right kind and of this region"),
            Some(Class::NotPermitted) => Some("check that the token is of the right kind: see the README's tokens"),
            _ => None,
        };
        Problem { what: clauses(self), hint: hint.map(str::to_owned) }
    }
}

/// What the work on one principal came to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) listed: usize,
    pub(super) pulled: usize,
    pub(super) not_permitted: usize,
    pub(super) gone: usize,
    pub(super) failed: usize,
    pub(super) problem: Option<Problem>,
}

impl Worker {
    pub(super) fn new(dependencies: Dependencies) -> Self {
        Self { dependencies, memory: Mutex::default() }
    }

    /// Whom there is to act as.
    pub(super) fn principals(&self) -> &Principals {
        &self.dependencies.principals
    }

    /// One principal's list and plan; a token that Tray rejects is renewed once.
    pub(super) async fn principal(&self, owner: &Owner, asked: Asked, config: &Config) -> Tally {
        let mut tally = Tally::default();
        let mut outcome = self.list_and_pull(owner, asked, config, &mut tally).await;
        if matches!(&outcome, Err(error) if error.class() == Some(Class::TokenRejected)) {
            outcome = match self.dependencies.principals.token_rejected(owner).await {
                Ok(()) => {
                    tally = Tally::default();
                    self.list_and_pull(owner, asked, config, &mut tally).await
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

    async fn list_and_pull(
        &self,
        owner: &Owner,
        asked: Asked,
        config: &Config,
        tally: &mut Tally,
    ) -> Result<(), OwnerError> {
        let Dependencies { tray, principals, cache, policy, .. } = &self.dependencies;
        let session = principals.session(owner).await?;
        // Before the list: what ingest creates meanwhile is on neither, and so not taken to be gone.
        let local = cache.schedule(owner)?;
        let listed = tray.authentications(session.acting()).await?;
        tally.listed = listed.len();

        let policy = Arc::clone(&policy.borrow());
        let metadata: HashMap<_, _> =
            listed.into_iter().map(|one| (one.id, one.into_metadata(owner.clone()))).collect();
        let remote = metadata
            .values()
            .map(|one| {
                Ok(Remote {
                    id: one.id,
                    metadata: cache.metadata_fingerprint(one)?,
                    permitted: matches!(policy.pull(one), PullDecision::Permitted { .. }),
                })
            })
            .collect::<Result<Vec<_>, CacheError>>()?;
        tally.not_permitted = remote.iter().filter(|one| !one.permitted).count();

        let now = Timestamp::now();
        let full_reads = self.full_reads(owner, now, asked);
        let actions = plan(&remote, &local, now, full_reads, config);
        self.record_changes(owner, &metadata, &policy, &actions, tally).await?;
        let pulls = actions.iter().filter_map(|action| match *action {
            Action::Pull(id, refresh) if asked == Asked::ByRequest || !self.refused_lately(id, now) => {
                Some((&metadata[&id], refresh))
            }
            _ => None,
        });
        self.pull_all(&session, pulls, tally).await?;
        let would_pull = remote.iter().any(|one| one.permitted);
        if would_pull && full_reads == FullReads::NotEnabled { Err(OwnerError::not_enabled()) } else { Ok(()) }
    }

    /// Everything that takes no further request: recorded in the audit log, then written in one batch.
    async fn record_changes(
        &self,
        owner: &Owner,
        metadata: &HashMap<AuthenticationId, Metadata>,
        policy: &Policy,
        actions: &[Action],
        tally: &mut Tally,
    ) -> Result<(), OwnerError> {
        let at = Timestamp::now();
        let mut changes = Vec::new();
        for action in actions {
            match *action {
                Action::Record(id) => {
                    changes.push(Write::Listed { metadata: metadata[&id].clone(), at });
                    if actions.iter().any(|action| matches!(action, Action::Pull(pulled, _) if *pulled == id)) {
                        // A pull that fails stays due, though the next plan sees no change any more.
                        changes.push(Write::Mark { id, state: State::Pending });
                    }
                }
                Action::Await(id) => changes.push(Write::Mark { id, state: State::NotEnabled }),
                Action::Withhold(id) => {
                    self.withheld(owner, id, policy.pull(&metadata[&id]))?;
                    self.destroying(owner, id, "no rule permits to pull it any more")?;
                    changes.push(Write::Mark { id, state: State::NotPermitted });
                }
                Action::Remove(id) => {
                    self.destroying(owner, id, "it is not listed any more")?;
                    changes.push(Write::Gone { id, reason: GoneReason::DeletedUpstream, at });
                    tally.gone += 1;
                }
                Action::Pull(..) => {}
            }
        }
        if !changes.is_empty() {
            self.dependencies.cache.write(changes).await?;
        }
        Ok(())
    }

    async fn pull_all(
        &self,
        session: &Session,
        mut pulls: impl Iterator<Item = (&Metadata, Refresh)>,
        tally: &mut Tally,
    ) -> Result<(), OwnerError> {
        while let Some((metadata, refresh)) = pulls.next() {
            // The rules may have changed since the plan was made.
            let decision = self.dependencies.policy.borrow().pull(metadata);
            let PullDecision::Permitted { rule } = decision else { continue };
            match self.pull(session, metadata, refresh, &rule).await {
                Ok(Pulled::Sealed) => tally.pulled += 1,
                Ok(Pulled::Gone) => tally.gone += 1,
                Err(error) if concerns_one(&error) => {
                    tally.failed += 1;
                    tally.problem.get_or_insert(error.problem());
                }
                Err(error) => {
                    if error.class() == Some(Class::NotEnabled) {
                        let rest = pulls.map(|(one, _)| Write::Mark { id: one.id, state: State::NotEnabled });
                        self.dependencies.cache.write(rest.collect()).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn pull(
        &self,
        session: &Session,
        metadata: &Metadata,
        refresh: Refresh,
        rule: &str,
    ) -> Result<Pulled, OwnerError> {
        let Dependencies { tray, cache, audit, .. } = &self.dependencies;
        let Metadata { id, owner, .. } = metadata;
        let event =
            |outcome| Event::new(audit::Action::Pull, outcome).on(Target::authentication(*id, owner)).under(Some(rule));
        if refresh == Refresh::Force {
            // It changes the credentials in Tray.
            audit.record_synced(&event(Outcome::Begun).because("they have expired: Tray is to refresh them"))?;
        }
        let asked_in = cache.generation()?;
        match tray.full(session.acting().permit(), *id, refresh).await {
            Ok(full) => {
                audit.record(&event(Outcome::Done))?;
                self.permitted(owner, *id);
                cache.write(vec![self.pulled(*id, asked_in, full)]).await?;
                Ok(Pulled::Sealed)
            }
            Err(error) => {
                audit.record(&event(Outcome::Failed).because(error.reason))?;
                self.refused(metadata, error).await
            }
        }
    }

    /// What a pull that Tray refused means for what is held.
    async fn refused(&self, metadata: &Metadata, error: TrayError) -> Result<Pulled, OwnerError> {
        let Metadata { id, owner, .. } = metadata;
        let (id, at) = (*id, Timestamp::now());
        let change = match error.class {
            Class::Gone => {
                self.destroying(owner, id, error.reason)?;
                Write::Gone { id, reason: GoneReason::DeletedUpstream, at }
            }
            Class::NotPermitted => {
                self.destroying(owner, id, error.reason)?;
                self.memory().refused.insert(id, at);
                Write::Mark { id, state: State::NotPermitted }
            }
            Class::NotEnabled => {
                self.memory().not_enabled.insert(owner.clone(), at);
                Write::Mark { id, state: State::NotEnabled }
            }
            _ => return Err(error.into()),
        };
        self.dependencies.cache.write(vec![change]).await?;
        if error.class == Class::Gone { Ok(Pulled::Gone) } else { Err(error.into()) }
    }

    fn pulled(&self, id: AuthenticationId, asked_in: u64, full: FullAuthentication) -> Write {
        let fetched_at = Timestamp::now();
        // One that can't be opened any more is replaced like one that was never held.
        let held = self.dependencies.cache.secret(id).ok().flatten();
        let held = held.as_ref().map(|held| (held.body.expose_secret(), held.expires_at));
        let expires_at = expires_at(full.body().expose_secret(), fetched_at, held);
        Write::Pulled { id, asked_in, body: full.into_body(), fetched_at, expires_at }
    }

    /// Destroys what a departed principal had, then forgets the principal.
    pub(super) async fn remove_principal(&self, owner: &Owner) -> Result<usize, OwnerError> {
        let cache = &self.dependencies.cache;
        let at = Timestamp::now();
        let mut changes = Vec::new();
        for held in cache.schedule(owner)?.into_iter().filter(|held| held.state != State::Gone) {
            self.destroying(owner, held.id, "its principal is gone, or not configured any more")?;
            changes.push(Write::Gone { id: held.id, reason: GoneReason::PrincipalRemoved, at });
        }
        let gone = changes.len();
        if let Owner::EndUser { user_id, .. } = owner {
            changes.push(Write::RemoveUser(user_id.clone()));
        }
        if !changes.is_empty() {
            cache.write(changes).await?;
        }
        Ok(gone)
    }

    fn withheld(&self, owner: &Owner, id: AuthenticationId, decision: PullDecision) -> Result<(), AuditError> {
        let PullDecision::Refused { rule } = decision else { return Ok(()) };
        let event = Event::new(audit::Action::Pull, Outcome::Refused).on(Target::authentication(id, owner));
        self.dependencies.audit.record(&event.because("no rule permits to pull it").under(rule.as_deref()))
    }

    /// Records that a secret is destroyed, if one is held. One that can't be opened is taken to be held.
    fn destroying(&self, owner: &Owner, id: AuthenticationId, reason: &'static str) -> Result<(), AuditError> {
        let held = self.dependencies.cache.record(id).map(|record| record.is_some_and(|one| one.fetched_at.is_some()));
        if !held.unwrap_or(true) {
            return Ok(());
        }
        let event = Event::new(audit::Action::Destroy, Outcome::Done).on(Target::authentication(id, owner));
        self.dependencies.audit.record(&event.because(reason))
    }

    /// Whether to try full reads: on a slow timer where they were not enabled, and when somebody asks.
    fn full_reads(&self, owner: &Owner, now: Timestamp, asked: Asked) -> FullReads {
        let asked_lately = self.memory().not_enabled.get(owner).is_some_and(|asked| is_lately(*asked, now));
        if asked_lately && asked == Asked::ByTimer { FullReads::NotEnabled } else { FullReads::Try }
    }

    /// What was refused before is not any more.
    fn permitted(&self, owner: &Owner, id: AuthenticationId) {
        let mut memory = self.memory();
        memory.not_enabled.remove(owner);
        memory.refused.remove(&id);
    }

    fn refused_lately(&self, id: AuthenticationId, now: Timestamp) -> bool {
        self.memory().refused.get(&id).is_some_and(|refused| is_lately(*refused, now))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_lately(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).unsigned_abs() < REFUSAL_PAUSE
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
