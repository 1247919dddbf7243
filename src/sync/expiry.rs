//! When credentials expire, as far as they say. The names and forms are those of the contract.

use jiff::Timestamp;
use serde_json::{Map, Value, value::RawValue};

use crate::pointer::Pointer;

const AT: [&str; 3] = ["expires_at", "expiresAt", "expiry"];
const IN: [&str; 2] = ["expires_in", "expiresIn"];

/// Epoch values from here on are milliseconds (in seconds it would be the year 5138).
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// Where services say it that use other names: JSON pointers (RFC 6901) into Tray's full answer. What they find goes
/// before the built-in names.
#[derive(Clone, Copy)]
pub(super) struct Pointers<'a> {
    /// To points in time.
    pub(super) at: &'a [Pointer],
    /// To spans, in seconds.
    pub(super) within: &'a [Pointer],
}

/// When the credentials of a full answer expire; `None` if they don't say. `held` is the answer that is held so far,
/// with when that expires.
///
/// Of a span (`expires_in`), counted from when the credentials were issued, only the latest possible end is known:
/// the first time that they were seen, and the span.
pub(super) fn expires_at(
    body: &[u8],
    fetched_at: Timestamp,
    held: Option<(&[u8], Option<Timestamp>)>,
    pointers: Pointers<'_>,
) -> Option<Timestamp> {
    let new = credentials(body)?;
    let since_first_seen = |latest: Timestamp| {
        let earlier = held.filter(|(body, _)| credentials(body).as_ref() == Some(&new)).and_then(|(_, at)| at);
        earlier.map_or(latest, |earlier| earlier.min(latest))
    };
    let pointed = |pointers: &[Pointer], read: &dyn Fn(&Value) -> Option<Timestamp>| {
        let whole: &RawValue = serde_json::from_slice(body).ok()?;
        let found = pointers.iter().filter_map(|one| serde_json::from_str(one.find(whole)?.get()).ok());
        found.filter_map(|value| read(&value)).min()
    };
    let named = |names: &[&str], read: &dyn Fn(&Value) -> Option<Timestamp>| {
        names.iter().filter_map(|name| read(new.get(*name)?)).min()
    };
    let span = |value: &Value| span(value, fetched_at);
    pointed(pointers.at, &point)
        .or_else(|| pointed(pointers.within, &span).map(since_first_seen))
        .or_else(|| named(&AT, &point))
        .or_else(|| named(&IN, &span).map(since_first_seen))
}

fn credentials(body: &[u8]) -> Option<Map<String, Value>> {
    #[derive(serde::Deserialize)]
    struct Full {
        credentials: Map<String, Value>,
    }
    serde_json::from_slice(body).ok().map(|full: Full| full.credentials)
}

/// A point in time. What is not after the epoch is a zero, which stands for none.
fn point(value: &Value) -> Option<Timestamp> {
    let point = match whole(value) {
        Some(number) if number >= MILLISECONDS_FROM => Timestamp::from_millisecond(number).ok(),
        Some(number) => Timestamp::from_second(number).ok(),
        None => value.as_str()?.parse().ok(),
    };
    point.filter(|at| *at > Timestamp::UNIX_EPOCH)
}

fn span(value: &Value, from: Timestamp) -> Option<Timestamp> {
    let seconds = u64::try_from(whole(value)?).ok()?;
    from.checked_add(std::time::Duration::from_secs(seconds)).ok()
}

/// A whole number, also one that is written as text.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: Pointers<'_> = Pointers { at: &[], within: &[] };

    fn expiry_by(pointers: Pointers<'_>, credentials: &str) -> Option<String> {
        let fetched_at = Timestamp::from_second(1_700_000_000).expect("a time");
        let body = format!(r#"{{"id":"x","userData":{{"until":1700007200}},"credentials":{credentials}}}"#);
        expires_at(body.as_bytes(), fetched_at, None, pointers).map(|at| at.to_string())
    }

    fn expiry(credentials: &str) -> Option<String> {
        expiry_by(BUILT_IN, credentials)
    }

    fn pointer(text: &str) -> Pointer {
        text.parse().expect("a pointer")
    }

    #[test]
    fn pointers_of_the_configuration_go_before_the_built_in_names() {
        let (at, within) =
            (["/credentials/token/dies", "/userData/until"].map(pointer), ["/credentials/ttl"].map(pointer));
        let pointers = Pointers { at: &at[..1], within: &within };
        let expected = Some("2023-11-14T23:13:20Z".to_owned());
        assert_eq!(
            expiry_by(pointers, r#"{"token":{"dies":"2023-11-14T23:13:20Z"},"expires_at":1,"ttl":1}"#),
            expected
        );
        assert_eq!(expiry_by(pointers, r#"{"expires_at":1,"ttl":3600}"#), expected);
        assert_eq!(expiry_by(pointers, r#"{"expires_at":1700003600}"#), expected, "they find nothing");
        assert_eq!(
            expiry_by(pointers, r#"{"token":{"dies":{}},"ttl":"soon","expires_in":3600}"#),
            expected,
            "nothing that is a time"
        );
        let outside = Pointers { at: &at, within: &[] };
        assert_eq!(expiry_by(outside, "{}"), Some("2023-11-15T00:13:20Z".to_owned()), "outside the credentials too");
    }

    #[test]
    fn a_span_does_not_begin_anew_while_the_credentials_are_the_same() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let body = |token: &str| format!(r#"{{"credentials":{{"token":"{token}","expires_in":3600}}}}"#);
        let (first, second) = (body("one"), body("two"));
        let seen = expires_at(first.as_bytes(), at(0), None, BUILT_IN);
        assert_eq!(seen, Some(at(3_600)));
        assert_eq!(expires_at(first.as_bytes(), at(1_000), Some((first.as_bytes(), seen)), BUILT_IN), seen);
        assert_eq!(expires_at(second.as_bytes(), at(1_000), Some((first.as_bytes(), seen)), BUILT_IN), Some(at(4_600)));
    }

    #[test]
    fn all_forms_of_a_time_are_read() {
        let expected = Some("2023-11-14T23:13:20Z".to_owned());
        for form in [
            r#"{"expires_at": 1700003600}"#,
            r#"{"expires_at": "1700003600"}"#,
            r#"{"expiresAt": 1700003600000}"#,
            r#"{"expiry": "2023-11-14T23:13:20Z"}"#,
            r#"{"expires_in": 3600}"#,
            r#"{"expiresIn": "3600"}"#,
            r#"{"expires_in": 99, "expires_at": 1700003600}"#,
        ] {
            assert_eq!(expiry(form), expected, "{form}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_no_expiry() {
        for form in [
            r#"{"expires_at": 0}"#,
            r#"{"expiry": "0001-01-01T00:00:00Z"}"#,
            r#"{"token":"t"}"#,
            r#"{"expires_at": {}}"#,
            r#"{"expires_in": -5}"#,
            r#"{"expiry": "soon"}"#,
        ] {
            assert_eq!(expiry(form), None, "{form}");
        }
    }
}
