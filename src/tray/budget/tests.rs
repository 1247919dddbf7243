//! The budget in virtual time: no sockets, no waiting.

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::time::sleep;

use super::*;

/// Every permitted value of `tray.burst`.
fn budgets() -> impl Iterator<Item = (u32, Budget)> {
    BURSTS.map(|burst| (burst, Budget::new(burst)))
}

/// In any window the bucket gives what it holds and what flows into it.
#[test]
fn no_second_and_no_minute_has_more_than_its_limit() {
    for burst in BURSTS {
        let quota = quota(burst);
        let in_window = |window: Duration| {
            u128::from(quota.burst_size().get()) + window.as_nanos() / quota.replenish_interval().as_nanos()
        };
        assert!(in_window(Duration::from_secs(1)) <= u128::from(burst), "{burst}");
        assert!(in_window(Duration::from_secs(60)) <= u128::from(PER_MINUTE), "{burst}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_without_a_break_stays_within_both_limits() {
    for (burst, budget) in budgets() {
        let (mut second, mut minute) = (VecDeque::new(), VecDeque::new());
        for _ in 0..2_700 {
            let _permit = budget.permit(Priority::Discovery).await;
            let now = Instant::now();
            for (window, span, most) in [(&mut second, 1, burst), (&mut minute, 60, PER_MINUTE)] {
                window.push_back(now);
                while window.front().is_some_and(|then| now - *then >= Duration::from_secs(span)) {
                    window.pop_front();
                }
                assert!(window.len() <= most as usize, "{burst}: {} in {span} s", window.len());
            }
        }
    }
}

/// Against the emulator's own account of Tray's limits, with requests that take their time to arrive, the first ones
/// longer: they open connections.
#[cfg(feature = "emulator")]
#[tokio::test(start_paused = true)]
async fn of_many_requests_at_full_speed_none_is_over_the_limit_and_little_time_is_lost() {
    use crate::emulator::{Limit, Limiter};

    const REQUESTS: u32 = 14_020;
    const WORKERS: u64 = 16;
    let budget = Arc::new(Budget::new(*BURSTS.end()));
    let begun = Instant::now();
    let tray = Arc::new(Mutex::new((Limiter::new(Limit::default(), begun.into_std()), 0_u32)));
    let mut workers = tokio::task::JoinSet::new();
    for seed in 1..=WORKERS {
        let (budget, tray) = (Arc::clone(&budget), Arc::clone(&tray));
        workers.spawn(async move {
            let mut state = seed;
            // xorshift64: the same latencies in every run.
            let mut milliseconds_below = move |bound: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                Duration::from_millis(state % bound)
            };
            let mut opening = Duration::from_millis(300);
            loop {
                let permit = budget.permit(Priority::Discovery).await;
                sleep(std::mem::take(&mut opening) + milliseconds_below(200)).await;
                {
                    let mut tray = tray.lock().expect("no worker panics");
                    if tray.1 == REQUESTS {
                        return;
                    }
                    tray.1 += 1;
                    assert!(tray.0.admit(Instant::now().into_std()), "request {} is over the limit", tray.1);
                }
                sleep(milliseconds_below(150)).await;
                budget.answered(&permit);
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.expect("every request is admitted");
    }
    // What Tray's limits permit at best: all of the burst at once, then the steady rate.
    let limit = Limit::default();
    let least = Duration::from_secs((REQUESTS - limit.burst).into()) / limit.per_second;
    assert!(begun.elapsed() >= least);
    let share = least.as_secs_f64() / begun.elapsed().as_secs_f64();
    assert!(share >= 0.97, "{share:.4} of what Tray permits");
}

#[tokio::test(start_paused = true)]
async fn after_a_limit_error_nobody_sends_and_waits_grow() {
    let budget = Budget::new(50);
    let mut permit = budget.permit(Priority::Discovery).await;
    let mut waits = Vec::new();
    for _ in 0..3 {
        let sent_before = Permit { pauses: permit.pauses };
        budget.exceeded(&permit);
        budget.exceeded(&sent_before);
        budget.answered(&sent_before);
        let before = Instant::now();
        assert!(budget.standing().paused_for_seconds.is_some());
        permit = budget.permit(Priority::Refresh).await;
        waits.push(before.elapsed());
    }
    assert!(waits[0] >= Duration::from_secs(1) && waits[0] < Duration::from_secs(2), "{waits:?}");
    assert!(waits[1] >= Duration::from_secs(2) && waits[2] >= Duration::from_secs(4), "{waits:?}");
    budget.answered(&permit);
    budget.exceeded(&permit);
    let before = Instant::now();
    let _permit = budget.permit(Priority::Discovery).await;
    assert!(before.elapsed() < Duration::from_secs(2));
    let standing = budget.standing();
    assert_eq!((standing.waiting, standing.paused_for_seconds, standing.limit_errors), (0, None, 7));
}

/// Takes all that the bucket holds.
async fn emptied() -> Arc<Budget> {
    let budget = Arc::new(Budget::new(50));
    for _ in 0..20 {
        let _permit = budget.permit(Priority::Discovery).await;
    }
    budget
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_goes_first_and_among_equals_who_came_first() {
    let budget = emptied().await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    let mix = [Priority::Discovery, Priority::Expiry, Priority::Refresh, Priority::Ingest];
    for number in 0..40 {
        let (budget, served, priority) = (Arc::clone(&budget), Arc::clone(&served), mix[number % mix.len()]);
        tasks.spawn(async move {
            let _permit = budget.permit(priority).await;
            served.lock().expect("no task panics").push((priority, number));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a permit");
    }
    let served = served.lock().expect("no task panics");
    assert_eq!(served.len(), 40);
    assert!(served.is_sorted(), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_and_is_more_urgent_overtakes_the_one_that_waits_for_the_rate() {
    let budget = emptied().await;
    let scheduled = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.permit(Priority::Discovery).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(budget.standing().waiting, 1);
    let _permit = budget.permit(Priority::Refresh).await;
    assert!(!scheduled.is_finished());
    let _permit = scheduled.await.expect("a permit");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each waiter gives up after its own time, the one in front too; those that stay are served at the full rate.
    #[test]
    fn waiters_that_give_up_stall_nobody(
        waiters in proptest::collection::vec((0_usize..4, 0_u64..3_000, proptest::option::of(0_u64..2_000)), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let budget = emptied().await;
            let begun = Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for (priority, comes, patience) in waiters.clone() {
                let budget = Arc::clone(&budget);
                let priorities = [Priority::Refresh, Priority::Ingest, Priority::Expiry, Priority::Discovery];
                tasks.spawn(async move {
                    sleep(Duration::from_millis(comes)).await;
                    let permit = budget.permit(priorities[priority]);
                    match patience {
                        None => drop(permit.await),
                        Some(patience) => {
                            let _ = tokio::time::timeout(Duration::from_millis(patience), permit).await;
                        }
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.expect("no task panics");
            }
            // The last one came within 3 s, and 60 take two seconds at the full rate.
            assert!(begun.elapsed() <= Duration::from_millis(5_200), "{:?}", begun.elapsed());
            assert_eq!(budget.standing().waiting, 0);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_tokens_that_are_shown_are_those_that_can_be_had_at_once() {
    for (burst, budget) in budgets() {
        for pause in [0, 10, 40, 500] {
            sleep(Duration::from_millis(pause)).await;
            let tokens = budget.standing().tokens;
            let begun = Instant::now();
            for _ in 0..tokens {
                let _permit = budget.permit(Priority::Discovery).await;
            }
            assert_eq!(Instant::now(), begun, "{burst}: {tokens} after {pause} ms");
            let _permit = budget.permit(Priority::Discovery).await;
            assert!(Instant::now() > begun, "{burst}: more than {tokens} after {pause} ms");
        }
        sleep(Duration::from_secs(60)).await;
        let BudgetStanding { tokens, capacity, .. } = budget.standing();
        assert_eq!((tokens, capacity), (burst - PER_SECOND, burst - PER_SECOND));
    }
}
