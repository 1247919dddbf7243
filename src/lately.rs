//! What happened lately: remembered for a time, and lost with the process.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::system::clock;

/// Keys that were noted within a span of time, by the clock that goes on while the machine is suspended.
pub(crate) struct Lately<K> {
    span: Duration,
    noted: Mutex<HashMap<K, Duration>>,
}

impl<K: Eq + Hash> Lately<K> {
    pub(crate) fn within(span: Duration) -> Self {
        Self { span, noted: Mutex::default() }
    }

    /// Notes a key; `false` if it was noted lately, whose time then stays.
    pub(crate) fn note(&self, key: K) -> bool {
        let now = clock::since_boot();
        let mut noted = self.noted();
        noted.retain(|_, at| now.saturating_sub(*at) < self.span);
        let is_new = !noted.contains_key(&key);
        if is_new {
            noted.insert(key, now);
        }
        is_new
    }

    /// Whether a key was noted lately.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.noted().get(key).is_some_and(|at| clock::since_boot().saturating_sub(*at) < self.span)
    }

    /// Forgets a key.
    pub(crate) fn forget(&self, key: &K) {
        self.noted().remove(key);
    }

    /// Forgets all keys.
    pub(crate) fn forget_all(&self) {
        self.noted().clear();
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<K, Duration>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_noted_once_until_it_is_forgotten() {
        let lately = Lately::within(Duration::from_secs(3600));
        assert!(lately.note(1) && !lately.note(1) && lately.note(2));
        assert!(lately.has(&1) && !lately.has(&3));
        lately.forget(&1);
        assert!(!lately.has(&1) && lately.note(1));
        lately.forget_all();
        assert!(!lately.has(&2));
    }

    #[test]
    fn after_its_span_a_key_is_forgotten() {
        let lately = Lately::within(Duration::ZERO);
        assert!(lately.note(1) && lately.note(1));
        assert!(!lately.has(&1));
    }
}
