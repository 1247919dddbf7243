//! Whom systemd asks for: it says so in the address that it binds its end of the connection to, the abstract
//! `RANDOM/unit/UNIT/CREDENTIAL` (systemd.exec(5), `LoadCredential=`; `load_credential` in systemd's exec-credential.c, or
//! execute.c before 254).

use crate::policy::{is_credential_name, is_unit_name};

/// The longest number before the unit: 64 bits, hexadecimal.
const RANDOM_LEN: usize = 16;

/// The unit that a credential is for, and the credential's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) unit: String,
    pub(super) credential: String,
}

impl Address {
    /// Reads an abstract name; `None` for whatever is not in systemd's form.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?;
        let (random, name) = name.split_once("/unit/")?;
        let (unit, credential) = name.split_once('/')?;
        let is_random = (1..=RANDOM_LEN).contains(&random.len())
            && random.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        (is_random && is_unit_name(unit) && is_credential_name(credential))
            .then(|| Self { unit: unit.to_owned(), credential: credential.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, proptest};

    use super::*;

    #[test]
    fn systemds_form_is_read() {
        for random in ["0", "1f", "adf9d86b6eda275e"] {
            let name = format!("{random}/unit/billing@acme-1.service/salesforce.json");
            let address = Address::parse(name.as_bytes()).expect("systemd's form");
            assert_eq!((&*address.unit, &*address.credential), ("billing@acme-1.service", "salesforce.json"));
        }
    }

    #[test]
    fn other_forms_are_none() {
        for name in [
            &b""[..],
            b"/unit/a.service/b",
            b"1/unit/a.service",
            b"1/unit/a.service/",
            b"1/unit//b",
            b"1/unit/a.service/b/c",
            b"1/unit/a.service/..",
            b"1/unit/a.service/b\0",
            b"1/unit/a.service/b:c",
            b"1/unit/a.timer/b",
            b"1/unit/a@.service/b",
            b"1/unit/a b.service/b",
            b"1/unit/../b",
            b"1/user/a.service/b",
            b"1F/unit/a.service/b",
            b"+1/unit/a.service/b",
            b"00000000000000001/unit/a.service/b",
            b" 1/unit/a.service/b",
            b"\x001/unit/a.service/b",
            b"1/unit/a\xff.service/b",
            b"1/unit/a.service/\xc3\xa4",
        ] {
            assert_eq!(Address::parse(name), None, "{}", name.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(name in proptest::collection::vec(proptest::num::u8::ANY, 0..108)) {
            if let Some(Address { unit, credential }) = Address::parse(&name) {
                let end = format!("/unit/{unit}/{credential}");
                prop_assert!(name.ends_with(end.as_bytes()));
            }
        }

        #[test]
        fn whatever_looks_like_an_address_is_read_or_refused(name in "[0-9a-f]{0,17}/unit/[a-c@.\\\\/:é]{0,6}(\\.service)?/[a-c./:é ]{0,4}") {
            if let Some(Address { unit, credential }) = Address::parse(name.as_bytes()) {
                prop_assert!(is_unit_name(&unit) && is_credential_name(&credential));
                let end = format!("/unit/{unit}/{credential}");
                prop_assert!(name.ends_with(&end));
            }
        }
    }
}
