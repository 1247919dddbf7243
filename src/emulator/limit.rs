//! Tray's request limits: over all endpoints, REST and GraphQL together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const MINUTE: Duration = Duration::from_secs(60);

/// A token bucket and a sliding window of a minute, both of which must admit a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Requests a second that may go on for ever.
    pub per_second: u32,
    /// Requests that may come at once.
    pub burst: u32,
    /// Requests within any 60 seconds.
    pub per_minute: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Self { per_second: 30, burst: 50, per_minute: 1800 }
    }
}

/// The state of a [`Limit`]. A refused request costs nothing.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: Limit,
    available: f64,
    refilled: Instant,
    admitted: VecDeque<Instant>,
}

impl Limiter {
    pub(crate) fn new(limit: Limit, now: Instant) -> Self {
        Self { limit, available: f64::from(limit.burst), refilled: now, admitted: VecDeque::new() }
    }

    #[must_use]
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.available = (self.available + elapsed * f64::from(self.limit.per_second)).min(f64::from(self.limit.burst));
        while self.admitted.front().is_some_and(|then| now.saturating_duration_since(*then) >= MINUTE) {
            self.admitted.pop_front();
        }
        let minute_is_full = self.admitted.len() >= self.limit.per_minute as usize;
        if self.available < 1.0 || minute_is_full {
            return false;
        }
        self.available -= 1.0;
        self.admitted.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(limiter: &mut Limiter, asked: usize, now: Instant) -> usize {
        (0..asked).filter(|_| limiter.admit(now)).count()
    }

    #[test]
    fn a_burst_is_admitted_then_the_steady_rate() {
        let start = Instant::now();
        let mut limiter = Limiter::new(Limit::default(), start);
        assert_eq!(admitted(&mut limiter, 60, start), 50);
        assert_eq!(admitted(&mut limiter, 60, start + Duration::from_secs(1)), 30);
    }

    #[test]
    fn the_minute_is_a_sliding_window() {
        let start = Instant::now();
        let limit = Limit { per_second: 100, burst: 100, per_minute: 150 };
        let mut limiter = Limiter::new(limit, start);
        assert_eq!(admitted(&mut limiter, 100, start), 100);
        assert_eq!(admitted(&mut limiter, 100, start + Duration::from_secs(30)), 50);
        assert_eq!(admitted(&mut limiter, 100, start + Duration::from_secs(59)), 0);
        assert_eq!(admitted(&mut limiter, 150, start + Duration::from_secs(60)), 100);
    }
}
