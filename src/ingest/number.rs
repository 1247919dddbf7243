//! Numbers that survive the way through a double (RFC 7493, 2.2): whoever reads JSON may keep no more of them.

/// A whole number of so many digits is one that every double around it holds.
const SURE: usize = 15;

/// A decimal number without its sign: `0.d₁d₂… × 10^exponent`, where neither the first nor the last digit is zero.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    /// None for zero.
    digits: Vec<u8>,
    exponent: i64,
}

/// Whether the shortest decimal that reads back as a number's double is numerically the same number. Where two of that
/// length are equally near to the double (…88.62 and …88.63 to …88.625) either will do: printers differ in which they
/// write.
pub(super) fn is_exact(number: &str) -> bool {
    if number.len() <= SURE && number.bytes().all(|byte| byte.is_ascii_digit()) {
        return true;
    }
    let Some(double) = number.parse::<f64>().ok().filter(|double| double.is_finite()) else { return false };
    let number = Decimal::of(number);
    number == Decimal::of(&format!("{double:e}"))
        || serde_json::to_string(&double).is_ok_and(|even| number == Decimal::of(&even))
}

impl Decimal {
    /// Of a number as JSON writes it, and as Rust does with an exponent.
    fn of(number: &str) -> Self {
        let number = number.trim_start_matches('-');
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        let leading = all().take_while(|digit| *digit == b'0').count();
        let mut digits: Vec<_> = all().skip(leading).collect();
        digits.truncate(digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1));
        if digits.is_empty() {
            return Self { digits, exponent: 0 };
        }
        let point = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        // An exponent that is no i64 makes an infinity or a zero, which are told apart by more than the exponent.
        let exponent = exponent.parse().unwrap_or(i64::MAX);
        Self { digits, exponent: exponent.saturating_add(point(whole.len())).saturating_sub(point(leading)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_exact_if_its_double_says_the_same() {
        for exact in [
            "0",
            "-0",
            "0.0",
            "1.50",
            "1e2",
            "1E+2",
            "100",
            "0.1",
            "-12.50e-3",
            "9007199254740992",
            "1e308",
            "5e-324",
            "0e99999999999999999999",
            "120000000000000000000000",
            "0.000001",
            "-90854098422088.62",
            "-90854098422088.63",
        ] {
            assert!(is_exact(exact), "{exact}");
        }
        for lossy in [
            "9007199254740993",
            "-90854098422088.61999",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "0.1000000000000000055511151231257827",
            "123456789012345678901234567890",
            "3.14159265358979323846",
        ] {
            assert!(!is_exact(lossy), "{lossy}");
        }
    }

    #[test]
    fn a_number_of_a_million_digits_is_refused_in_no_time() {
        let begun = std::time::Instant::now();
        for number in ["9".repeat(1 << 20), format!("0.{}1", "0".repeat(1 << 20)), format!("1{}", "0".repeat(1 << 20))]
        {
            assert!(!is_exact(&number));
        }
        assert!(begun.elapsed().as_secs() < 5);
    }

    proptest! {
        #[test]
        fn every_double_is_exact_as_it_is_printed(double in any::<f64>().prop_filter("finite", |double| double.is_finite())) {
            prop_assert!(is_exact(&serde_json::to_string(&double).expect("finite")));
            prop_assert!(is_exact(&double.to_string()));
        }

        #[test]
        fn every_whole_number_up_to_2_to_the_53_is_exact(number in -(1_i64 << 53)..=1 << 53) {
            prop_assert!(is_exact(&number.to_string()));
        }
    }
}
