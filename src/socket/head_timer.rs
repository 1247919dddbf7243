//! The clock by which hyper sees that a caller takes too long over a head.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

/// One alarm for all heads of a connection. It is set anew when it goes off too early, and not for each head: that takes a
/// system call, where all that a thread serves are asked at once.
#[derive(Clone)]
pub(super) struct HeadTimer(Alarm);

type Alarm = Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>;

/// The wait for one head.
struct Wait {
    deadline: tokio::time::Instant,
    alarm: Alarm,
}

impl HeadTimer {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(Duration::ZERO)))))
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait { deadline: deadline.into(), alarm: Arc::clone(&self.0) })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // A panic can't leave it half-set.
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        if alarm.deadline() > self.deadline {
            alarm.as_mut().reset(self.deadline);
        }
        loop {
            ready!(alarm.as_mut().poll(context));
            if alarm.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(self.deadline);
        }
    }
}

impl Sleep for Wait {}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many seconds pass until it is over.
    async fn lasts(wait: Pin<Box<dyn Sleep>>) -> u64 {
        let start = tokio::time::Instant::now();
        wait.await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_lasts_until_its_own_deadline() {
        let timer = HeadTimer::new();
        assert_eq!(lasts(timer.sleep(10 * SECOND)).await, 10);
        // The alarm is set for a head that came in time.
        assert!(timeout(9 * SECOND, timer.sleep(10 * SECOND)).await.is_err());
        assert_eq!(lasts(timer.sleep(10 * SECOND)).await, 10);
        assert_eq!(lasts(timer.sleep(5 * SECOND)).await, 5);
        assert!(timeout(SECOND, timer.sleep(10 * SECOND)).await.is_err());
        assert_eq!(lasts(timer.sleep(3 * SECOND)).await, 3, "one that ends before the alarm");
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_early_enough_is_left_as_it_is() {
        let timer = HeadTimer::new();
        let set_for = || timer.0.lock().unwrap().deadline();
        assert!(timeout(SECOND, timer.sleep(10 * SECOND)).await.is_err());
        let first = set_for();
        for _ in 0..5 {
            assert!(timeout(SECOND, timer.sleep(10 * SECOND)).await.is_err());
            assert_eq!(set_for(), first);
        }
        // It goes off while nobody waits.
        advance(10 * SECOND).await;
        assert_eq!(lasts(timer.sleep(10 * SECOND)).await, 10);
    }
}
