//! What all parts of synchronisation work with, and what they remember.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Config, error::SyncError, flights::Flights, full_reads::FullReadMemory, plan::REFUSAL_PAUSE, removals::Removals,
};
use crate::{
    audit::AuditLog,
    authentication::{AuthenticationId, EndUser, Metadata, Owner},
    feed::Feed,
    lately::Lately,
    policy::{Policy, PullDecision},
    principals::{Principals, Renewal, Session},
    status::Board,
    tray::{Circuit, Class, Priority, Tray},
    vault::{Cache, CacheError, State, Write},
};

/// How long after Tray refreshed credentials by force it is not asked to again.
const FORCE_PAUSE: Duration = Duration::from_secs(60);

/// What synchronisation works with.
pub struct Dependencies {
    /// The client.
    pub tray: Tray,
    /// Whom to act as.
    pub principals: Principals,
    /// Where to seal.
    pub cache: Cache,
    /// Where every pull is recorded.
    pub audit: AuditLog,
    /// Which authentications may be pulled.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// When and how.
    pub config: watch::Receiver<Config>,
    /// Where progress is posted.
    pub board: Board,
    /// Where what happened is told.
    pub feed: Feed,
}

/// Works on principals and authentications.
pub(super) struct Worker {
    pub(super) dependencies: Dependencies,
    pub(super) flights: Flights,
    pub(super) full_reads: FullReadMemory,
    pub(super) removals: Removals,
    /// What Tray refreshed by force.
    pub(super) forced: Lately<AuthenticationId>,
    /// Whose full reads were refused for their token, though their lists may not be.
    pub(super) rejected: Lately<Owner>,
    /// What Tray refused while the vault was locked.
    unrecorded: Mutex<HashSet<AuthenticationId>>,
    /// The rules that all that is held was last held against.
    enforced: Mutex<Option<Arc<Policy>>>,
}

impl Worker {
    pub(super) fn new(dependencies: Dependencies) -> Self {
        Self {
            dependencies,
            flights: Flights::default(),
            full_reads: FullReadMemory::default(),
            removals: Removals::new(REFUSAL_PAUSE),
            forced: Lately::within(FORCE_PAUSE),
            rejected: Lately::within(REFUSAL_PAUSE),
            unrecorded: Mutex::default(),
            enforced: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> Config {
        self.dependencies.config.borrow().clone()
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.dependencies.policy.borrow())
    }

    pub(super) fn unrecorded(&self) -> MutexGuard<'_, HashSet<AuthenticationId>> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes up for what could not be done while the vault was locked, or while there was no daemon: what Tray refused is
    /// not answered, and what no rule permits any more is destroyed, whether Tray answers or not.
    pub(super) async fn catch_up(&self) -> Result<(), SyncError> {
        let refused: Vec<_> = self.unrecorded().iter().copied().collect();
        if !refused.is_empty() {
            let marks = refused.iter().map(|id| Write::Mark { id: *id, state: State::Refused });
            self.dependencies.cache.write(marks.collect()).await?;
            self.unrecorded().retain(|id| !refused.contains(id));
        }
        let policy = self.policy();
        let last = self.enforced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last.is_some_and(|last| Arc::ptr_eq(&last, &policy)) {
            return Ok(());
        }
        let known = self.dependencies.principals.known_end_users()?;
        for owner in known.iter().map(EndUser::owner).chain([Owner::Workspace]) {
            self.enforce(&policy, &owner).await?;
        }
        *self.enforced.lock().unwrap_or_else(PoisonError::into_inner) = Some(policy);
        Ok(())
    }

    async fn enforce(&self, policy: &Policy, owner: &Owner) -> Result<(), SyncError> {
        let cache = &self.dependencies.cache;
        // One after another: a workspace may have very many.
        for held in cache.schedule(owner)?.into_iter().filter(|held| held.fetched_at.is_some()) {
            let metadata = match cache.record(held.id) {
                Ok(Some(record)) => record.metadata,
                // A damaged one is destroyed as that.
                Ok(None) | Err(CacheError::Damaged { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let decision = policy.pull(&metadata);
            // Where it hangs on scopes that are not known, the next list asks for them.
            if matches!(decision, PullDecision::Refused { .. }) && !policy.needs_scopes(&metadata) {
                self.withhold(&metadata, decision).await?;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Somebody asks, who may have mended what was wrong: nobody is left alone for having been refused lately.
    pub(super) fn ask_again(&self) {
        self.dependencies.principals.forget_refusals();
        self.removals.ask_again();
        self.rejected.forget_all();
    }

    /// Whether Tray is asked, and no host of it is known not to answer.
    pub(super) fn is_answered(&self) -> bool {
        let standing = self.dependencies.tray.standing();
        !standing.offline && standing.hosts.iter().all(|host| host.circuit != Circuit::Open)
    }

    /// A session to do something once more with that Tray refused, if that was for its token and the token could be
    /// renewed.
    pub(super) async fn renewed(
        &self,
        refused: Option<Class>,
        owner: &Owner,
        session: &Session,
        priority: Priority,
    ) -> Result<Option<Session>, SyncError> {
        if refused != Some(Class::TokenRejected) {
            return Ok(None);
        }
        let principals = self.dependencies.principals.at(priority);
        match principals.token_rejected(owner, Some(session)).await? {
            Renewal::Renewed => Ok(Some(principals.session(owner).await?)),
            Renewal::Refused => Ok(None),
        }
    }

    /// The metadata with the scopes, where the decision on a pull hangs on them. They are asked for with one request.
    pub(super) async fn with_scopes(
        &self,
        metadata: Metadata,
        policy: &Policy,
        session: &Session,
        priority: Priority,
    ) -> Result<Metadata, SyncError> {
        if !policy.needs_scopes(&metadata) {
            return Ok(metadata);
        }
        let asked = self.dependencies.tray.at(priority).authentication(session.acting(), metadata.id).await?;
        Ok(Metadata { scopes: Some(asked.scopes.unwrap_or_default()), ..metadata })
    }
}
