//! Time since boot: it goes on while the machine is suspended, and nobody sets it. What is waited for is measured by it;
//! the wall clock is for what people and Tray call a time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The longest sleep in one piece: the runtime's timers stand still while the machine is suspended.
const SLICE: Duration = Duration::from_secs(5);

/// How long the machine has been up, suspended or not (`CLOCK_BOOTTIME`, `clock_gettime(2)`).
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Sleeps until a time since boot, at most one slice longer where the machine is suspended meanwhile.
pub async fn sleep_until(due: Duration) {
    loop {
        let left = due.saturating_sub(since_boot());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(SLICE)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_when_it_is_due() {
        let due = since_boot() + Duration::from_millis(20);
        sleep_until(due).await;
        assert!(since_boot() >= due);
        sleep_until(Duration::ZERO).await;
    }
}
