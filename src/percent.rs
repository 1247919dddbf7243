//! Percent-encoding (RFC 3986).

/// Encodes everything but the unreserved characters (section 2.3): for a path segment or a query's value.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        use std::fmt::Write as _;
        // Writing to a String can't fail.
        let _ = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => write!(encoded, "{}", byte as char),
            _ => write!(encoded, "%{byte:02X}"),
        };
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_leave_its_segment() {
        assert_eq!(encode("a/../b?c&d=é"), "a%2F..%2Fb%3Fc%26d%3D%C3%A9");
    }
}
