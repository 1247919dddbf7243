//! Spans of time in the configuration: text such as `90s`, `5m`, `2h 30m` or ISO 8601's `PT5M`.
//! For `#[serde(with = "crate::duration")]` on a [`Duration`].

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// No setting makes sense beyond this, and far beyond it the clock's arithmetic ends.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads a span of time; a negative one is refused.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: SignedDuration =
        text.parse().map_err(|_| D::Error::custom("not a span of time such as \"30s\", \"5m\" or \"2h\""))?;
    let span = Duration::try_from(span).map_err(|_| D::Error::custom("a span of time can't be negative"))?;
    if span > LONGEST { Err(D::Error::custom("a span of time can't be longer than 366 days")) } else { Ok(span) }
}

/// Writes a span of time as it is read.
pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    format!("{:#}", SignedDuration::try_from(*span).unwrap_or(SignedDuration::MAX)).serialize(serializer)
}
