//! When intents that wait are gone on with.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use super::{intent::Unfinished, upstream::Waiting};
use crate::authentication::Owner;

/// The first wait; each is twice the one before.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// The intents that wait. It is not kept over a restart: everything is due then.
#[derive(Default)]
pub(super) struct Retries(HashMap<Uuid, Retry>);

struct Retry {
    attempts: u32,
    due: Instant,
    owner: Option<Owner>,
}

impl Retries {
    /// Forgets those that are finished.
    pub(super) fn keep(&mut self, unfinished: &[Unfinished]) {
        self.0.retain(|id, _| unfinished.iter().any(|intent| intent.slip().id == *id));
    }

    /// Whether an intent is to be left alone yet.
    pub(super) fn is_waiting(&self, id: Uuid, now: Instant) -> bool {
        self.0.get(&id).is_some_and(|retry| retry.due > now)
    }

    /// Whose intent it is, as far as that is known.
    pub(super) fn owner(&self, id: Uuid) -> Option<&Owner> {
        self.0.get(&id)?.owner.as_ref()
    }

    /// Puts an intent off: for as long as it says, and for no longer than its own growing wait.
    pub(super) fn later(&mut self, id: Uuid, waiting: Waiting, now: Instant) {
        let attempts = self.0.get(&id).map_or(0, |retry| retry.attempts);
        let backoff = FIRST.saturating_mul(1_u32.checked_shl(attempts).unwrap_or(u32::MAX)).min(LONGEST);
        let wait = waiting.after.map_or(backoff, |after| after.min(backoff));
        self.0.insert(id, Retry { attempts: attempts + 1, due: now + wait, owner: waiting.owner });
    }

    /// When the first one is due.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        self.0.values().map(|retry| retry.due.saturating_duration_since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_never_past_what_was_asked_for() {
        let (mut retries, id, now) = (Retries::default(), Uuid::from_u128(1), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..9 {
            retries.later(id, Waiting::default(), now);
            waits.push(retries.next(now).expect("a wait").as_millis());
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        retries.later(id, Waiting { after: Some(Duration::from_millis(3)), ..Waiting::default() }, now);
        assert_eq!(retries.next(now), Some(Duration::from_millis(3)));
        assert!(retries.is_waiting(id, now) && !retries.is_waiting(id, now + LONGEST));
        retries.keep(&[]);
        assert_eq!(retries.next(now), None);
    }
}
