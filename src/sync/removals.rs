//! What is gone is destroyed, and what is many is asked about first: one wrong answer of Tray's must not empty the cache.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{error::SyncError, worker::Worker};
use crate::{
    audit::{self, AuditError, Event, Outcome, Target},
    authentication::{AuthenticationId, Metadata, Owner},
    feed::Happening,
    lately::Lately,
    vault::{GoneReason, State, Write},
};

/// How many may still be removed before the next cycle, and what is held back.
pub(super) struct Removals {
    counted: Mutex<Counted>,
    /// Those that are held back and were asked for again a short while ago.
    asked: Lately<AuthenticationId>,
}

#[derive(Default)]
struct Counted {
    left: usize,
    held: HashSet<AuthenticationId>,
}

impl Removals {
    pub(super) fn new(pause: Duration) -> Self {
        Self { counted: Mutex::default(), asked: Lately::within(pause) }
    }

    /// A cycle begins, which may remove so many.
    pub(super) fn allow(&self, allowance: usize) {
        self.counted().left = allowance;
    }

    /// A person has confirmed: whatever Tray says is gone is gone.
    pub(super) fn allow_all(&self) {
        *self.counted() = Counted { left: usize::MAX, held: HashSet::new() };
        self.asked.forget_all();
    }

    /// Whether so many that are not listed any more may be removed, all or none.
    pub(super) fn take(&self, count: usize) -> bool {
        let mut counted = self.counted();
        let may = count <= counted.left;
        if may {
            counted.left -= count;
        }
        may
    }

    /// Whether one that Tray refuses may be removed; if not, it is held back. Once one is, all are.
    fn take_or_hold(&self, id: AuthenticationId) -> bool {
        let mut counted = self.counted();
        let may = counted.left > 0 && counted.held.is_empty();
        if may {
            counted.left -= 1;
        } else {
            counted.held.insert(id);
            self.asked.note(id);
        }
        may
    }

    /// It is there after all.
    pub(super) fn release(&self, id: AuthenticationId) {
        self.counted().held.remove(&id);
        self.asked.forget(&id);
    }

    /// How many that Tray refuses are held back.
    pub(super) fn held(&self) -> usize {
        self.counted().held.len()
    }

    /// Whether it is held back, and Tray refused it a short while ago.
    pub(super) fn was_held_lately(&self, id: AuthenticationId) -> bool {
        self.asked.has(&id)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Removes what is not there any more: the secret is destroyed, the metadata stay for a time.
    pub(super) async fn remove(&self, ids: &[AuthenticationId], reason: GoneReason) -> Result<(), SyncError> {
        if ids.is_empty() {
            return Ok(());
        }
        let at = Timestamp::now();
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids {
            let record = self.dependencies.cache.record(*id).ok().flatten();
            let owner = record.as_ref().map(|record| &record.metadata.owner);
            self.destroying(*id, owner, clause(reason))?;
            changes.push(Write::Gone { id: *id, reason, at });
            if let Some(record) = &record {
                self.dependencies.feed.tell(Some(&record.metadata), Happening::Removed { reason: Some(reason) });
            }
        }
        self.dependencies.cache.write(changes).await?;
        Ok(())
    }

    /// Removes one that Tray refuses; or, where too many are, holds it back: then it stays sealed and is not answered.
    /// Where nothing is sealed, nothing is lost by it.
    pub(super) async fn remove_or_hold(&self, metadata: &Metadata, reason: GoneReason) -> Result<(), SyncError> {
        let is_held = self.dependencies.cache.record(metadata.id)?.is_some_and(|record| record.fetched_at.is_some());
        if !is_held || self.removals.take_or_hold(metadata.id) {
            return self.remove(&[metadata.id], reason).await;
        }
        self.dependencies.cache.write(vec![Write::Mark { id: metadata.id, state: State::Refused }]).await?;
        self.dependencies.feed.tell(Some(metadata), Happening::Removed { reason: None });
        Ok(())
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> AuthenticationId {
        AuthenticationId(Uuid::from_u128(number))
    }

    #[test]
    fn what_is_not_listed_is_removed_all_or_none() {
        let removals = Removals::new(Duration::from_secs(3600));
        removals.allow(5);
        assert!(!removals.take(6));
        assert!(removals.take(5));
        assert!(!removals.take(1));
        assert!(removals.take(0));
    }

    #[test]
    fn once_one_is_held_back_all_are_until_it_is_released_or_confirmed() {
        let removals = Removals::new(Duration::from_secs(3600));
        removals.allow(1);
        assert!(removals.take_or_hold(id(1)));
        assert!(!removals.take_or_hold(id(2)));
        removals.allow(100);
        assert!(!removals.take_or_hold(id(3)), "the next cycle does not go on where the last one stopped");
        assert!(removals.was_held_lately(id(3)) && !removals.was_held_lately(id(1)));
        assert_eq!(removals.held(), 2);
        removals.release(id(2));
        removals.release(id(3));
        assert!(removals.take_or_hold(id(4)));
        removals.allow(0);
        assert!(!removals.take_or_hold(id(5)));
        removals.allow_all();
        assert_eq!(removals.held(), 0);
        assert!(removals.take_or_hold(id(5)));
    }
}
