//! The work on one principal: its list, the plan, and what the plan says.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
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
    policy::{Policy, PullDecision},
    principals::{PrincipalError, Principals, Session},
    status::Problem,
    tray::{Class, FullAuthentication, Refresh, TrayError},
    vault::{CacheError, GoneReason, State, Write},
};

/// How long full reads are left alone for a principal for whom Tray has not enabled them.
const NOT_ENABLED_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Who wants a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The interval has passed.
    ByTimer,
    /// A person, a new configuration or a dropped file.
    ByRequest,
}

/// Works on principals, and remembers between cycles for whom full reads are not enabled.
pub(super) struct Worker {
    dependencies: Dependencies,
    not_enabled: Mutex<HashMap<Owner, Timestamp>>,
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
        Problem { what: self.to_string(), hint: hint.map(str::to_owned) }
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
        Self { dependencies, not_enabled: Mutex::default() }
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
        let actions = plan(&remote, &local, now, self.full_reads(owner, now, asked), config);
        let held: HashSet<_> = local.iter().filter(|one| one.fetched_at.is_some()).map(|one| one.id).collect();
        self.record_changes(owner, &metadata, &policy, &held, &actions, tally).await?;
        self.pull_all(owner, &session, &metadata, &policy, &actions, tally).await?;
        let awaited = actions.iter().any(|action| matches!(action, Action::Await(_)));
        if awaited { Err(OwnerError::not_enabled()) } else { Ok(()) }
    }

    /// Everything that takes no further request: recorded in the audit log, then written in one batch.
    async fn record_changes(
        &self,
        owner: &Owner,
        metadata: &HashMap<AuthenticationId, Metadata>,
        policy: &Policy,
        held: &HashSet<AuthenticationId>,
        actions: &[Action],
        tally: &mut Tally,
    ) -> Result<(), OwnerError> {
        let at = Timestamp::now();
        let mut changes = Vec::new();
        for action in actions {
            match *action {
                Action::Record(id) => changes.push(Write::Listed { metadata: metadata[&id].clone(), at }),
                Action::Await(id) => changes.push(Write::Mark { id, state: State::NotEnabled }),
                Action::Withhold(id) => {
                    self.withheld(owner, id, policy.pull(&metadata[&id]))?;
                    if held.contains(&id) {
                        self.destroyed(owner, id, "no rule permits to pull it any more")?;
                    }
                    changes.push(Write::Mark { id, state: State::NotPermitted });
                }
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
        Ok(())
    }

    async fn pull_all(
        &self,
        owner: &Owner,
        session: &Session,
        metadata: &HashMap<AuthenticationId, Metadata>,
        policy: &Policy,
        actions: &[Action],
        tally: &mut Tally,
    ) -> Result<(), OwnerError> {
        let mut pulls = actions.iter().filter_map(|action| match action {
            Action::Pull(id, refresh) => Some((*id, *refresh)),
            _ => None,
        });
        while let Some((id, refresh)) = pulls.next() {
            let PullDecision::Permitted { rule } = policy.pull(&metadata[&id]) else { continue };
            match self.pull(owner, session, id, refresh, &rule).await {
                Ok(Pulled::Sealed) => tally.pulled += 1,
                Ok(Pulled::Gone) => tally.gone += 1,
                Err(error) if concerns_one(&error) => {
                    tally.failed += 1;
                    tally.problem.get_or_insert(error.problem());
                }
                Err(error) => {
                    if error.class() == Some(Class::NotEnabled) {
                        let rest = pulls.map(|(id, _)| Write::Mark { id, state: State::NotEnabled });
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
                self.not_enabled().remove(owner);
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
    pub(super) async fn remove_principal(&self, owner: &Owner) -> Result<usize, OwnerError> {
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

    fn withheld(&self, owner: &Owner, id: AuthenticationId, decision: PullDecision) -> Result<(), AuditError> {
        let PullDecision::Refused { rule } = decision else { return Ok(()) };
        let event = Event::new(audit::Action::Pull, Outcome::Refused).on(Target::authentication(id, owner));
        self.dependencies.audit.record(&event.because("no rule permits to pull it").under(rule.as_deref()))
    }

    fn destroyed(&self, owner: &Owner, id: AuthenticationId, reason: &'static str) -> Result<(), AuditError> {
        let event = Event::new(audit::Action::Destroy, Outcome::Done).on(Target::authentication(id, owner));
        self.dependencies.audit.record(&event.because(reason))
    }

    /// Whether to try full reads: on a slow timer where they were not enabled, and when somebody asks.
    fn full_reads(&self, owner: &Owner, now: Timestamp, asked: Asked) -> FullReads {
        let asked_lately = self
            .not_enabled()
            .get(owner)
            .is_some_and(|asked| now.duration_since(*asked).unsigned_abs() < NOT_ENABLED_PAUSE);
        if asked_lately && asked == Asked::ByTimer { FullReads::NotEnabled } else { FullReads::Try }
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
