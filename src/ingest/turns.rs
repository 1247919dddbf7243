//! Whose turn it is: the last word on what is not sent side by side. The queue keeps documents apart by what they say of
//! their owner; here they are kept apart by whom Tray says that is.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::lane::Lane;

/// The documents that are under way.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<Uuid, Turn>>);

struct Turn {
    lane: Lane,
    /// Since when it is known that no answer comes to what was sent.
    unanswered_since: Option<Instant>,
}

impl Turns {
    /// Takes a document's turn, or has it already; `false` if another must end first.
    #[must_use]
    pub(super) fn begin(&self, id: Uuid, lane: Lane) -> bool {
        let mut turns = self.turns();
        let is_free = turns.iter().all(|(other, taken)| *other == id || !taken.lane.conflicts_with(&lane));
        if is_free {
            turns.entry(id).or_insert(Turn { lane, unanswered_since: None });
        }
        is_free
    }

    /// How long it is known of a document whose turn it is that no answer comes; from now on, if it was not. Nothing is
    /// kept of it over a restart: when a daemon that died had sent, it could not say, nor what the clock was worth.
    pub(super) fn unanswered_for(&self, id: Uuid) -> Duration {
        let mut turns = self.turns();
        let turn = turns.get_mut(&id);
        turn.map(|turn| turn.unanswered_since.get_or_insert_with(Instant::now).elapsed()).unwrap_or_default()
    }

    /// A document is sent again, and may be answered.
    pub(super) fn sent_again(&self, id: Uuid) {
        if let Some(turn) = self.turns().get_mut(&id) {
            turn.unanswered_since = None;
        }
    }

    /// Gives a document's turn back.
    pub(super) fn end(&self, id: Uuid) {
        self.turns().remove(&id);
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<Uuid, Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::lane::tests::lane, *};

    #[test]
    fn a_turn_is_kept_until_it_is_given_back() {
        let turns = Turns::default();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(turns.begin(one, lane("a", Some("e"))) && turns.begin(one, lane("a", Some("e"))));
        assert!(!turns.begin(two, lane("a", None)));
        assert!(turns.begin(two, lane("b", None)));
        turns.end(one);
        turns.end(two);
        assert!(turns.begin(two, lane("a", None)));
    }
}
