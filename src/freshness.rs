//! Whether what is held is still what Tray has, as far as is known: a pure function of times.

use std::time::Duration;

use jiff::Timestamp;

use crate::vault::State;

/// What a value's freshness is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// From this age on it is stale: the pull that was due did not come.
    pub stale_after: Duration,
    /// Stale for this long, it is not answered any more.
    pub serve_stale_for: Duration,
}

/// How fresh a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// It is what Tray has, as far as is known.
    Fresh,
    /// It has expired, is overdue, or is known to be replaced in Tray. It may be answered, and the answer says so.
    Stale,
    /// Stale for too long to be answered.
    TooStale,
    /// Tray refused it: it is not answered, however fresh.
    Refused,
}

impl Freshness {
    /// How fresh a value is that was fetched then, and expires then.
    pub fn of(&self, state: State, fetched_at: Timestamp, expires_at: Option<Timestamp>, now: Timestamp) -> Standing {
        if !state.is_answered() {
            return Standing::Refused;
        }
        let overdue = fetched_at.checked_add(self.stale_after).unwrap_or(Timestamp::MAX);
        let stale_from = expires_at.map_or(overdue, |at| at.min(overdue));
        // What was expired already when it was fetched is what Tray has, for as long as that was asked for lately.
        let stale_until = stale_from.max(fetched_at).checked_add(self.serve_stale_for).unwrap_or(Timestamp::MAX);
        if now >= stale_until {
            Standing::TooStale
        } else if now >= stale_from || state != State::Full {
            Standing::Stale
        } else {
            Standing::Fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Freshness =
        Freshness { stale_after: Duration::from_secs(100), serve_stale_for: Duration::from_secs(1_000) };

    fn standing(state: State, expires_at: Option<i64>, now: i64) -> Standing {
        let at = |second| Timestamp::from_second(second).expect("a time");
        RULES.of(state, at(0), expires_at.map(at), at(now))
    }

    #[test]
    fn a_value_is_fresh_then_stale_then_not_answered() {
        assert_eq!(standing(State::Full, None, 99), Standing::Fresh);
        assert_eq!(standing(State::Full, None, 100), Standing::Stale);
        assert_eq!(standing(State::Full, None, 1_099), Standing::Stale);
        assert_eq!(standing(State::Full, None, 1_100), Standing::TooStale);
    }

    #[test]
    fn it_is_stale_from_when_it_expires() {
        assert_eq!(standing(State::Full, Some(50), 49), Standing::Fresh);
        assert_eq!(standing(State::Full, Some(50), 50), Standing::Stale);
        assert_eq!(standing(State::Full, Some(50), 1_050), Standing::TooStale);
        assert_eq!(standing(State::Full, Some(5_000), 100), Standing::Stale, "overdue before it expires");
    }

    #[test]
    fn what_tray_itself_has_expired_is_stale_from_when_it_was_fetched() {
        assert_eq!(standing(State::Full, Some(-1_000_000), 0), Standing::Stale);
        assert_eq!(standing(State::Full, Some(-1_000_000), 999), Standing::Stale);
        assert_eq!(standing(State::Full, Some(-1_000_000), 1_000), Standing::TooStale);
    }

    #[test]
    fn what_is_known_to_be_replaced_is_stale_and_what_tray_refused_is_not_answered() {
        assert_eq!(standing(State::Pending, None, 1), Standing::Stale);
        for refused in [State::Refused, State::NotEnabled, State::NotPermitted, State::Gone, State::Damaged] {
            assert_eq!(standing(refused, None, 1), Standing::Refused);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_stale() {
        assert_eq!(standing(State::Full, None, -1_000_000_000), Standing::Fresh);
    }
}
