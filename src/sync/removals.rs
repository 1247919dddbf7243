//! What is gone is destroyed, and what is many is asked about first: one wrong answer of Tray's must not empty the cache.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    error::SyncError,
    worker::{Dependencies, Worker},
};
use crate::{
    audit::{self, AuditError, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata, Owner},
    feed::Happening,
    lately::Lately,
    vault::{GoneReason, State, Write},
};

/// What Tray refuses and is to be removed: sealed, and not answered, until the cycle's end says whether it is too much.
pub(super) struct Removals {
    held: Mutex<HashMap<AuthenticationId, GoneReason>>,
    /// Those that Tray refused a short while ago.
    asked: Lately<AuthenticationId>,
}

impl Removals {
    pub(super) fn new(pause: Duration) -> Self {
        Self { held: Mutex::default(), asked: Lately::within(pause) }
    }

    /// Somebody asks: nothing is left alone for having been refused a short while ago.
    pub(super) fn ask_again(&self) {
        self.asked.forget_all();
    }

    /// It is there after all, or gone by now.
    pub(super) fn release(&self, id: AuthenticationId) {
        self.held().remove(&id);
        self.asked.forget(&id);
    }

    /// Whether Tray refused it a short while ago, though it is listed.
    pub(super) fn was_refused_lately(&self, id: AuthenticationId) -> bool {
        self.asked.has(&id)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<AuthenticationId, GoneReason>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Removes what is not there any more: the secret is destroyed, the metadata stay for a time.
    pub(super) async fn remove(&self, ids: &[AuthenticationId], reason: GoneReason) -> Result<(), SyncError> {
        if ids.is_empty() {
            return Ok(());
        }
        let at = Timestamp::now();
        let (mut changes, mut removed) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            let record = self.dependencies.cache.record(*id).ok().flatten();
            let owner = record.as_ref().map(|record| &record.metadata.owner);
            self.destroying(*id, owner, clause(reason))?;
            self.removals.release(*id);
            changes.push(Write::Gone { id: *id, reason, at });
            removed.extend(record);
        }
        self.dependencies.cache.write(changes).await?;
        for record in removed {
            self.dependencies.feed.tell(Some(&record.metadata), Happening::Removed { reason: Some(reason) });
        }
        Ok(())
    }

    /// Has one that Tray refuses removed at the end of the cycle; from now on it is not answered. Where nothing is
    /// sealed, nothing is lost by removing it at once.
    pub(super) async fn hold(&self, metadata: &Metadata, reason: GoneReason) -> Result<(), SyncError> {
        let (id, Dependencies { cache, feed, .. }) = (metadata.id, &self.dependencies);
        let is_sealed = cache.record(id)?.is_some_and(|record| record.fetched_at.is_some());
        if is_sealed {
            cache.write(vec![Write::Mark { id, state: State::Refused }]).await?;
            feed.tell(Some(metadata), Happening::Removed { reason: None });
            self.removals.held().insert(id, reason);
        } else {
            self.remove(&[id], reason).await?;
        }
        self.removals.asked.note(id);
        Ok(())
    }

    /// Removes what is held, all of it or, where that is more than `most`, none: how many were removed, and how many
    /// are held back.
    pub(super) async fn settle_held(&self, most: usize) -> Result<(usize, usize), SyncError> {
        let cache = &self.dependencies.cache;
        let is_refused =
            |id| cache.record(id).is_ok_and(|record| record.is_some_and(|record| record.state == State::Refused));
        let held = {
            let mut held = self.removals.held();
            held.retain(|id, _| is_refused(*id));
            held.clone()
        };
        if held.len() > most {
            return Ok((0, held.len()));
        }
        for reason in [GoneReason::DeletedUpstream, GoneReason::PermissionLost] {
            let ids: Vec<_> = held.iter().filter(|(_, why)| **why == reason).map(|(id, _)| *id).collect();
            self.remove(&ids, reason).await?;
            // They are listed still, it may be: they are left alone for a while.
            for id in ids {
                self.removals.asked.note(id);
            }
        }
        Ok((held.len(), 0))
    }

    /// Tray refuses a principal: what it has stays sealed and is not answered, until Tray accepts the principal again.
    pub(super) async fn refuse_principal(&self, owner: &Owner) -> Result<(), SyncError> {
        let Self { dependencies, .. } = self;
        let answered = |state: State| state.is_answered() || state == State::NotEnabled;
        let affected: Vec<_> =
            dependencies.cache.schedule(owner)?.into_iter().filter(|one| answered(one.state)).collect();
        if affected.is_empty() {
            return Ok(());
        }
        let event = Event::new(audit::Action::RefusePrincipal, Outcome::Done).on(Target::owner(owner));
        dependencies
            .audit
            .record(&event.because("Tray refuses the principal: what it has is not answered any more"))?;
        dependencies.cache.write(vec![Write::Refuse(owner.clone())]).await?;
        for one in affected.iter().filter(|one| one.fetched_at.is_some()) {
            if let Ok(Some(record)) = dependencies.cache.record(one.id) {
                dependencies.feed.tell(Some(&record.metadata), Happening::Removed { reason: None });
            }
        }
        Ok(())
    }

    /// Records that a secret is destroyed, if one is held. One that can't be opened is taken to be held.
    pub(super) fn destroying(
        &self,
        id: AuthenticationId,
        owner: Option<&Owner>,
        reason: &'static str,
    ) -> Result<(), AuditError> {
        let held = self.dependencies.cache.record(id).map(|record| record.is_some_and(|one| one.fetched_at.is_some()));
        if !held.unwrap_or(true) {
            return Ok(());
        }
        let target = Target { authentication: Some(id), owner: owner.cloned(), ..Target::default() };
        self.dependencies.audit.record(&Event::new(audit::Action::Destroy, Outcome::Done).on(target).because(reason))
    }
}

fn clause(reason: GoneReason) -> &'static str {
    match reason {
        GoneReason::DeletedUpstream => "Tray has it no more",
        GoneReason::PermissionLost => "Tray does not permit it any more",
        GoneReason::PrincipalRemoved => "its principal is gone, or not configured any more",
    }
}
