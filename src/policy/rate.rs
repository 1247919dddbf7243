//! How often a rule grants.

use std::{fmt, num::NonZeroU32, str::FromStr, sync::Arc, time::Duration};

use governor::{Quota, RateLimiter, clock::DefaultClock, state::keyed::HashMapStateStore};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// So many in a second, a minute or an hour: `"10/s"`, `"600/m"`, `"1000/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const ALL: [(Self, &'static str, u64); 3] =
        [(Self::Second, "s", 1), (Self::Minute, "m", 60), (Self::Hour, "h", 3_600)];

    fn letter(self) -> &'static str {
        Self::ALL.iter().find(|(per, ..)| *per == self).map_or("", |(_, letter, _)| letter)
    }

    fn seconds(self) -> u64 {
        Self::ALL.iter().find(|(per, ..)| *per == self).map_or(1, |(.., seconds)| *seconds)
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "not a rate such as \"10/s\", \"600/m\" or \"1000/h\"";
        let (count, letter) = text.split_once('/').ok_or(SHAPE)?;
        let (per, ..) = Per::ALL.into_iter().find(|(_, one, _)| *one == letter).ok_or(SHAPE)?;
        Ok(Self { count: count.parse().map_err(|_| SHAPE)?, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.letter())
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is left of a rate, for each user. It holds as many as the rate's count, and fills evenly.
#[derive(Clone)]
pub(super) struct Allowance(Arc<RateLimiter<u32, HashMapStateStore<u32>, DefaultClock>>);

impl Allowance {
    pub(super) fn new(rate: Rate) -> Self {
        let each = Duration::from_secs(rate.per.seconds()) / rate.count.get();
        // Of more than a thousand million in a second each still takes a nanosecond.
        let quota = Quota::with_period(each.max(Duration::from_nanos(1))).unwrap_or(Quota::per_second(rate.count));
        Self(Arc::new(RateLimiter::hashmap(quota.allow_burst(rate.count))))
    }

    /// Takes one, if one is left.
    pub(super) fn take(&self, uid: u32) -> bool {
        self.0.check_key(&uid).is_ok()
    }
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Allowance")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_as_it_is_written() {
        for text in ["1/s", "600/m", "1000/h"] {
            assert_eq!(text.parse::<Rate>().expect("a rate").to_string(), text);
        }
        for text in ["", "10", "0/s", "-1/s", "10/d", "10 / s", "1.5/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_user_has_an_allowance_of_its_own() {
        let allowance = Allowance::new("2/h".parse().expect("a rate"));
        assert_eq!([allowance.take(1), allowance.take(1), allowance.take(1)], [true, true, false]);
        assert!(allowance.take(2));
    }
}
