//! Waits of random length, so that what failed together does not come back together.

use std::time::Duration;

/// How often a harmless call is sent in all.
pub(super) const ATTEMPTS: u32 = 3;

/// The longest that may be waited before the second attempt; before each further one, twice as long.
const BASE: Duration = Duration::from_millis(250);

/// The longest wait.
const CAP: Duration = Duration::from_secs(5);

/// The wait after so many attempts that failed: anything from nothing to a bound that doubles ("full jitter").
pub(super) fn wait(failed: u32) -> Duration {
    bound(failed).mul_f64(chance())
}

fn bound(failed: u32) -> Duration {
    let factor = 1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
    BASE.saturating_mul(factor).min(CAP)
}

/// A factor from 1 to 1.5 for waits that must not be shorter than they say.
pub(super) fn spread() -> f64 {
    1.0 + chance() / 2.0
}

/// From 0 to 1.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_anything_up_to_a_bound_that_doubles_up_to_a_cap() {
        let bounds: Vec<_> = [1, 2, 3, 5, 6, 99].map(|failed| bound(failed).as_millis()).into();
        assert_eq!(bounds, [250, 500, 1_000, 4_000, 5_000, 5_000]);
        let waits: Vec<_> = (0..100).map(|_| wait(1)).collect();
        assert!(waits.iter().all(|wait| *wait <= BASE));
        assert!(waits.iter().any(|wait| *wait < BASE / 4) && waits.iter().any(|wait| *wait > BASE * 3 / 4));
    }
}
