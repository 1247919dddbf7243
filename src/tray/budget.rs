//! The one budget of requests, over REST and GraphQL together.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// Requests that may go out at once. With the rate below, no window of a second has more than 50 and none of a minute
/// more than 1,800, which is what the contract allows.
const BURST: u32 = 20;

/// One request each (60 s / (1,800 - burst)).
const PERIOD: Duration = Duration::from_micros(60_000_000 / (1_800 - BURST as u64));

/// The first pause after Tray said 'over the limit', and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Hands out permission for one request at a time.
pub(super) struct Budget {
    limiter: DefaultDirectRateLimiter,
    pause: Mutex<Pause>,
}

struct Pause {
    until: Instant,
    next: Duration,
}

impl Budget {
    pub(super) fn new() -> Self {
        #[expect(clippy::expect_used, reason = "both are constants above zero")]
        let quota = Quota::with_period(PERIOD)
            .expect("the period is longer than zero")
            .allow_burst(std::num::NonZeroU32::new(BURST).expect("the burst is above zero"));
        Self { limiter: RateLimiter::direct(quota), pause: Mutex::new(Pause { until: Instant::now(), next: PAUSES.0 }) }
    }

    /// Waits for the permission for one request.
    pub(super) async fn permit(&self) {
        loop {
            self.limiter.until_ready().await;
            let until = self.pause().until;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Tray said 'over the limit': nobody sends for a while, longer each time. Those who were told together count
    /// once.
    pub(super) fn exceeded(&self) {
        let mut pause = self.pause();
        let now = Instant::now();
        if pause.until <= now {
            pause.until = now + pause.next.mul_f64(jitter());
            pause.next = (pause.next * 2).min(PAUSES.1);
        }
    }

    /// Tray answered: the next pause starts small again.
    pub(super) fn answered(&self) {
        self.pause().next = PAUSES.0;
    }

    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A factor from 1 to 1.5, so that several daemons do not come back together.
fn jitter() -> f64 {
    1.0 + f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_and_the_burst_keep_within_both_limits() {
        let in_window = |window: Duration| u128::from(BURST) + window.as_micros() / PERIOD.as_micros();
        assert!(in_window(Duration::from_secs(1)) <= 50);
        assert!(in_window(Duration::from_secs(60)) <= 1_800);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_limit_error_nobody_sends_and_waits_grow() {
        let budget = Budget::new();
        let mut waits = Vec::new();
        for _ in 0..3 {
            budget.exceeded();
            budget.exceeded();
            let before = Instant::now();
            budget.permit().await;
            waits.push(before.elapsed());
        }
        assert!(waits[0] >= Duration::from_secs(1) && waits[0] < Duration::from_secs(2), "{waits:?}");
        assert!(waits[1] >= Duration::from_secs(2) && waits[2] >= Duration::from_secs(4), "{waits:?}");
        budget.answered();
        budget.exceeded();
        let before = Instant::now();
        budget.permit().await;
        assert!(before.elapsed() < Duration::from_secs(2));
    }
}
