//! For whom full reads are enabled, as far as was found out. Where that is not known, one read finds out and the others
//! wait for it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::OwnedMutexGuard;

use super::plan::{Asked, FullReads, REFUSAL_PAUSE};
use crate::{authentication::Owner, system::clock};

/// What is known of each principal. Lost with the process: then one read finds out again.
#[derive(Default)]
pub(super) struct FullReadMemory(Mutex<HashMap<Owner, Known>>);

#[derive(Default)]
struct Known {
    answer: Option<Answer>,
    /// Held by the read that finds out.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Enabled,
    /// At this time since boot it was not.
    NotEnabled(Duration),
}

/// Whether to read in full now.
pub(super) enum Gate {
    /// It is enabled.
    Open,
    /// It may be: this read finds out, and the others wait until it is dropped.
    FindOut {
        /// It was not enabled when it was asked last.
        was_not_enabled: bool,
        _turn: OwnedMutexGuard<()>,
    },
    /// It is not, as was found out a short while ago.
    Closed,
}

impl FullReadMemory {
    /// Whether to try full reads: on a slow timer where they were not enabled, and when somebody asks.
    pub(super) fn planned(&self, owner: &Owner, asked: Asked) -> FullReads {
        let mut known = self.known();
        let answer = known.get_mut(owner).map(|known| &mut known.answer);
        match answer {
            Some(answer) if asked == Asked::ByRequest => {
                if matches!(answer, Some(Answer::NotEnabled(_))) {
                    // It is asked once more, as if it had been asked long ago.
                    *answer = Some(Answer::NotEnabled(Duration::ZERO));
                }
                FullReads::Try
            }
            Some(Some(Answer::NotEnabled(at))) if is_lately(*at) => FullReads::NotEnabled,
            _ => FullReads::Try,
        }
    }

    /// Waits for whoever finds out.
    pub(super) async fn gate(&self, owner: &Owner) -> Gate {
        if let Some(Answer::Enabled) = self.answer(owner) {
            return Gate::Open;
        }
        let turn = Arc::clone(&self.known().entry(owner.clone()).or_default().turn);
        let turn = turn.lock_owned().await;
        match self.answer(owner) {
            Some(Answer::Enabled) => Gate::Open,
            Some(Answer::NotEnabled(at)) if is_lately(at) => Gate::Closed,
            answer => Gate::FindOut { was_not_enabled: answer.is_some(), _turn: turn },
        }
    }

    /// For how many principals it was not enabled when it was asked last.
    pub(super) fn count_not_enabled(&self) -> usize {
        self.known().values().filter(|known| matches!(known.answer, Some(Answer::NotEnabled(_)))).count()
    }

    /// Forgets whoever is none of these.
    pub(super) fn keep(&self, owners: &[Owner]) {
        let owners: HashSet<_> = owners.iter().collect();
        self.known().retain(|owner, _| owners.contains(owner));
    }

    pub(super) fn enabled(&self, owner: &Owner) {
        self.found_out(owner, Answer::Enabled);
    }

    pub(super) fn not_enabled(&self, owner: &Owner) {
        self.found_out(owner, Answer::NotEnabled(clock::since_boot()));
    }

    fn found_out(&self, owner: &Owner, answer: Answer) {
        self.known().entry(owner.clone()).or_default().answer = Some(answer);
    }

    fn answer(&self, owner: &Owner) -> Option<Answer> {
        self.known().get(owner).and_then(|known| known.answer)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Owner, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_lately(at: Duration) -> bool {
    clock::since_boot().saturating_sub(at) < REFUSAL_PAUSE && !at.is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner::Workspace;

    #[test]
    fn by_the_timer_it_is_asked_again_after_an_hour_and_by_request_at_once() {
        let memory = FullReadMemory::default();
        assert_eq!(memory.planned(&OWNER, Asked::ByTimer), FullReads::Try);
        memory.not_enabled(&OWNER);
        assert_eq!(memory.planned(&OWNER, Asked::ByTimer), FullReads::NotEnabled);
        assert_eq!(memory.count_not_enabled(), 1);
        let an_hour_ago = clock::since_boot().saturating_sub(REFUSAL_PAUSE);
        memory.found_out(&OWNER, Answer::NotEnabled(an_hour_ago));
        assert_eq!(memory.planned(&OWNER, Asked::ByTimer), FullReads::Try);
        memory.not_enabled(&OWNER);
        assert_eq!(memory.planned(&OWNER, Asked::ByRequest), FullReads::Try);
        memory.enabled(&OWNER);
        assert_eq!((memory.planned(&OWNER, Asked::ByTimer), memory.count_not_enabled()), (FullReads::Try, 0));
    }

    #[tokio::test]
    async fn one_read_finds_out_and_the_others_take_its_word() {
        let memory = Arc::new(FullReadMemory::default());
        let first = memory.gate(&OWNER).await;
        assert!(matches!(first, Gate::FindOut { was_not_enabled: false, .. }));
        let others = [0, 1].map(|_| {
            let memory = Arc::clone(&memory);
            tokio::spawn(async move { matches!(memory.gate(&OWNER).await, Gate::Closed) })
        });
        memory.not_enabled(&OWNER);
        drop(first);
        for other in others {
            assert!(other.await.expect("it ends"));
        }
        memory.planned(&OWNER, Asked::ByRequest);
        assert!(matches!(memory.gate(&OWNER).await, Gate::FindOut { was_not_enabled: true, .. }));
        memory.enabled(&OWNER);
        assert!(matches!(memory.gate(&OWNER).await, Gate::Open));
    }

    #[tokio::test]
    async fn one_that_found_nothing_out_leaves_it_to_the_next() {
        let memory = FullReadMemory::default();
        drop(memory.gate(&OWNER).await);
        assert!(matches!(memory.gate(&OWNER).await, Gate::FindOut { was_not_enabled: false, .. }));
    }
}
