//! The pause after 'over the limit': a pure state, which is told the time.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// When nobody sends. Requests are told apart by how many pauses had begun when they were permitted: none is permitted
/// during one.
pub(super) struct Pause {
    /// When it is, or was, over.
    pub(super) until: Instant,
    /// How many have begun.
    pub(super) begun: u64,
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { until: Instant::now(), begun: 0, next: FIRST }
    }
}

impl Pause {
    /// A request was over the limit. Those that were sent before the latest pause are what it was made for already.
    /// `spread` is a factor from 1.
    pub(super) fn exceeded(&mut self, begun_before: u64, now: Instant, spread: f64) {
        if begun_before == self.begun {
            self.until = now + self.next.mul_f64(spread);
            self.next = (self.next * 2).min(LONGEST);
            self.begun += 1;
        }
    }

    /// A request was answered. Only one that was sent after the latest pause tells that it was long enough.
    pub(super) fn answered(&mut self, begun_before: u64) {
        if begun_before == self.begun {
            self.next = FIRST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the pause that follows, in seconds; `None` if there is none.
    fn length(pause: &mut Pause, begun_before: u64) -> Option<u64> {
        let (now, begun) = (Instant::now(), pause.begun);
        pause.exceeded(begun_before, now, 1.0);
        (pause.begun > begun).then(|| (pause.until - now).as_secs())
    }

    #[test]
    fn pauses_grow_up_to_a_minute_until_an_answer_after_one_of_them() {
        let mut pause = Pause::default();
        let lengths: Vec<_> = (0..8).filter_map(|begun| length(&mut pause, begun)).collect();
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        pause.answered(8);
        assert_eq!(length(&mut pause, 8), Some(1));
    }

    #[test]
    fn what_was_sent_before_a_pause_neither_lengthens_it_nor_ends_the_growth() {
        let mut pause = Pause::default();
        assert_eq!(length(&mut pause, 0), Some(1));
        assert_eq!(length(&mut pause, 0), None);
        pause.answered(0);
        assert_eq!(length(&mut pause, 1), Some(2));
    }
}
