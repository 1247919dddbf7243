//! Whose turn it is: the last word on what is not sent side by side. The queue keeps documents apart by what they say of
//! their owner; here they are kept apart by whom Tray says that is.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::lane::Lane;

/// The documents that are under way.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<Uuid, Lane>>);

impl Turns {
    /// Takes a document's turn, or has it already; `false` if another must end first.
    #[must_use]
    pub(super) fn begin(&self, id: Uuid, lane: Lane) -> bool {
        let mut turns = self.turns();
        let is_free = turns.iter().all(|(other, taken)| *other == id || !taken.conflicts_with(&lane));
        if is_free {
            turns.insert(id, lane);
        }
        is_free
    }

    /// Gives a document's turn back.
    pub(super) fn end(&self, id: Uuid) {
        self.turns().remove(&id);
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<Uuid, Lane>> {
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
