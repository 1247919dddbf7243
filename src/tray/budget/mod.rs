//! The one budget of requests, over REST and GraphQL together: a rate that keeps within Tray's limits, whose permits go
//! to the most urgent first.

mod pause;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::pause::Pause;
use super::standing::BudgetStanding;

/// The steady rate that Tray permits, in requests a second (the contract).
const PER_SECOND: u32 = 30;

/// The most requests that Tray permits in a minute (the contract).
const PER_MINUTE: u32 = 1_800;

/// What `tray.burst` may be. Tray permits 50 for a moment; without any burst the bucket would be empty.
pub(super) const BURSTS: RangeInclusive<u32> = PER_SECOND + 1..=50;

/// Requests a minute that are left unused. Tray counts when requests arrive, not when they are sent: one that takes
/// half a second longer than those after it falls into their minute.
const RESERVE: u32 = 15;

/// Whose request goes first, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A caller waits for it.
    Refresh,
    /// The drop directory.
    Ingest,
    /// What is about to expire.
    Expiry,
    /// The rest: what there is, and what changed.
    Discovery,
}

/// Hands out permission for one request at a time.
pub(super) struct Budget {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>,
    quota: Quota,
    queue: Mutex<Queue>,
}

struct Queue {
    waiters: BTreeMap<Place, Arc<Notify>>,
    arrivals: u64,
    pause: Pause,
    limit_errors: u64,
    /// When the bucket is full again.
    full_at: Instant,
}

/// First by priority, then by arrival.
type Place = (Priority, u64);

/// Permission for one request.
#[must_use]
pub(super) struct Permit {
    /// The pauses that had begun when it was given.
    pauses: u64,
}

/// A waiter's place in the queue, which it leaves when this is dropped.
struct Waiter<'a> {
    budget: &'a Budget,
    place: Place,
    called: Arc<Notify>,
}

/// What a waiter does next.
enum Turn {
    Go(Permit),
    SleepUntil(Instant),
    Behind,
}

impl Budget {
    /// A full budget. `burst` is the most requests in any one second, brought within [`BURSTS`].
    pub(super) fn new(burst: u32) -> Self {
        let queue = Queue {
            waiters: BTreeMap::new(),
            arrivals: 0,
            pause: Pause::default(),
            limit_errors: 0,
            full_at: Instant::now(),
        };
        let quota = quota(burst);
        Self { limiter: RateLimiter::direct_with_clock(quota, TokioClock), quota, queue: Mutex::new(queue) }
    }

    /// Waits for the permission for one request. Dropped meanwhile, it leaves the queue to the others.
    ///
    /// The first in the queue waits for the rate, the others for becoming the first: there is no task behind it.
    pub(super) async fn permit(&self, priority: Priority) -> Permit {
        let waiter = self.join(priority);
        loop {
            match waiter.turn() {
                Turn::Go(permit) => return permit,
                // Somebody more urgent may have come when it is over.
                Turn::SleepUntil(instant) => sleep_until(instant).await,
                Turn::Behind => waiter.called.notified().await,
            }
        }
    }

    /// Tray answered the request of this permit with 'over the limit': nobody sends for a while.
    pub(super) fn exceeded(&self, permit: &Permit) {
        let mut queue = self.queue();
        queue.limit_errors += 1;
        queue.pause.exceeded(permit.pauses, Instant::now(), super::backoff::spread());
    }

    /// Tray answered the request of this permit with anything else.
    pub(super) fn answered(&self, permit: &Permit) {
        self.queue().pause.answered(permit.pauses);
    }

    /// How it stands.
    pub(super) fn standing(&self) -> BudgetStanding {
        let queue = self.queue();
        let pause = queue.pause.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        let capacity = self.quota.burst_size().get();
        // What is not refilled yet is gone; the last permit's part of it is a whole one.
        let gone = queue.full_at.saturating_duration_since(Instant::now()).as_nanos();
        let gone = gone.div_ceil(self.quota.replenish_interval().as_nanos());
        BudgetStanding {
            tokens: capacity.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX)),
            capacity,
            waiting: queue.waiters.len(),
            waiting_by: queue.waiters.keys().map(|(priority, _)| *priority).collect(),
            paused_for_seconds: pause.map(super::standing::whole_seconds),
            limit_errors: queue.limit_errors,
        }
    }

    fn join(&self, priority: Priority) -> Waiter<'_> {
        let mut queue = self.queue();
        let place = (priority, queue.arrivals);
        queue.arrivals += 1;
        let called = Arc::new(Notify::new());
        queue.waiters.insert(place, Arc::clone(&called));
        Waiter { budget: self, place, called }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    fn turn(&self) -> Turn {
        let mut queue = self.budget.queue();
        if queue.waiters.first_key_value().is_none_or(|(first, _)| *first != self.place) {
            return Turn::Behind;
        }
        if queue.pause.until > Instant::now() {
            return Turn::SleepUntil(queue.pause.until);
        }
        match self.budget.limiter.check() {
            Ok(()) => {
                queue.full_at = queue.full_at.max(Instant::now()) + self.budget.quota.replenish_interval();
                Turn::Go(Permit { pauses: queue.pause.begun })
            }
            Err(not_until) => Turn::SleepUntil(Instant::from_std(not_until.earliest_possible())),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut queue = self.budget.queue();
        queue.waiters.remove(&self.place);
        if let Some((_, next)) = queue.waiters.first_key_value() {
            next.notify_one();
        }
    }
}

/// A bucket of what `burst` has above the steady rate, refilled so that it and a minute's refill make no more than
/// Tray permits.
fn quota(burst: u32) -> Quota {
    let bucket = burst.clamp(*BURSTS.start(), *BURSTS.end()) - PER_SECOND;
    let refill_per_minute = u64::from(PER_MINUTE - RESERVE - bucket);
    let period = Duration::from_nanos(60_000_000_000_u64.div_ceil(refill_per_minute));
    #[expect(clippy::expect_used, reason = "the burst is within its bounds")]
    Quota::with_period(period)
        .expect("the period is longer than zero")
        .allow_burst(NonZeroU32::new(bucket).expect("the bucket is not empty"))
}

/// The runtime's clock, which tests can set.
#[derive(Clone)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}
