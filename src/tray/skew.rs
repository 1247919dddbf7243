//! How far this host's clock is from Tray's, by the `Date` of its answers (RFC 9110, section 6.6.1).

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::{DATE, HeaderMap};

/// What no answer has said yet.
const UNKNOWN: i64 = i64::MIN;

/// The latest that an answer said: Tray's time less this host's, in seconds.
pub(super) struct Skew(AtomicI64);

impl Default for Skew {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl Skew {
    /// Takes note of when an answer was made.
    pub(super) fn note(&self, headers: &HeaderMap, now: Timestamp) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        // HTTP's preferred form of a date is RFC 2822's.
        if let Some(zoned) = date.and_then(|date| rfc2822::parse(date).ok()) {
            self.0.store(zoned.timestamp().duration_since(now).as_secs(), Ordering::Relaxed);
        }
    }

    pub(super) fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn said(date: &'static str) -> Option<i64> {
        let skew = Skew::default();
        let now = "1994-11-06T08:49:30Z".parse().expect("a time");
        skew.note(&HeaderMap::from_iter([(DATE, HeaderValue::from_static(date))]), now);
        skew.seconds()
    }

    #[test]
    fn the_date_of_an_answer_tells_how_far_the_clocks_are_apart() {
        assert_eq!(said("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(said("Sun, 06 Nov 1994 07:49:30 GMT"), Some(-3_600));
        assert_eq!(said("soon"), None);
    }
}
