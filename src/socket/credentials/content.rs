//! Makes a credential out of an authentication.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    pointer::Pointer,
    policy::{Content, CredentialRule},
    secret::SecretBytes,
};

/// What all credentials of a unit may have together, names and contents, in bytes (`CREDENTIALS_TOTAL_SIZE_MAX`, systemd's
/// creds-util.h): over that, systemd starts no unit.
const LIMIT: usize = 1024 * 1024;

/// Why an authentication does not make the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// What is held is no JSON.
    NotJson,
    /// Nothing is where a pointer points.
    NoField,
    /// Text with half of a surrogate pair.
    NotUnicode,
    /// Text without a character.
    Empty,
    /// Text with a NUL in it.
    Nul,
    /// More than [`LIMIT`].
    TooLarge,
}

impl Unfit {
    /// The clause, for the audit log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "what is held is not JSON",
            Self::NoField => "the authentication has no such field",
            Self::NotUnicode => "the field's text is not Unicode",
            Self::Empty => "the field is empty, which systemd can't tell from a refusal",
            Self::Nul => "the field has a NUL in it, which no variable can have",
            Self::TooLarge => "it is larger than 1 MiB, the most that systemd takes",
        }
    }
}

/// What a rule makes of an authentication, given as Tray's text.
pub(super) fn make(rule: &CredentialRule, authentication: SecretBytes) -> Result<SecretBytes, Unfit> {
    let content = match rule.content() {
        Content::Whole => authentication,
        Content::Field(pointer) => field(parse(&authentication)?, pointer)?,
        Content::Env(variables) => environment(parse(&authentication)?, variables)?,
    };
    match content.expose_secret().len() {
        0 => Err(Unfit::Empty),
        length if rule.credential.len() + length > LIMIT => Err(Unfit::TooLarge),
        _ => Ok(content),
    }
}

fn parse(authentication: &SecretBytes) -> Result<&RawValue, Unfit> {
    serde_json::from_slice(authentication.expose_secret()).map_err(|_| Unfit::NotJson)
}

/// Text without quotes and escapes; anything else as it stands.
fn field(authentication: &RawValue, pointer: &Pointer) -> Result<SecretBytes, Unfit> {
    let value = pointer.find(authentication).ok_or(Unfit::NoField)?.get();
    let text: String = if value.starts_with('"') {
        serde_json::from_str(value).map_err(|_| Unfit::NotUnicode)?
    } else {
        value.to_owned()
    };
    Ok(SecretBytes::new(text.into_bytes()))
}

/// Lines of `NAME="value"`. Within double quotes all characters are themselves, line feeds too, but for four that a
/// backslash takes their meaning from: the same in `EnvironmentFile=` (systemd.exec(5); `SHELL_NEED_ESCAPE` in systemd's
/// env-file.c) and in a shell (POSIX.1, 2.2.3).
fn environment(authentication: &RawValue, variables: &BTreeMap<String, Pointer>) -> Result<SecretBytes, Unfit> {
    const MEANT: &[u8] = b"\"\\`$";
    let values = variables.iter().map(|(name, pointer)| Ok((name, field(authentication, pointer)?)));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    // Room for all of it at once: no smaller buffer with a part of the secret is left behind.
    let room = values.iter().map(|(name, value)| name.len() + 2 * value.expose_secret().len() + 4).sum();
    let mut lines = Vec::with_capacity(room);
    for (name, value) in &values {
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b"=\"");
        for &byte in value.expose_secret() {
            match byte {
                0 => return Err(Unfit::Nul),
                byte if MEANT.contains(&byte) => lines.extend_from_slice(&[b'\\', byte]),
                byte => lines.push(byte),
            }
        }
        lines.extend_from_slice(b"\"\n");
    }
    Ok(SecretBytes::new(lines))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::{prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    fn rule(rest: &str) -> CredentialRule {
        let text = format!(
            "name = 'a'\nunits = ['*']\ncredential = 'a'\nauthentication = '00000000-0000-4000-8000-000000000000'\n{rest}"
        );
        toml::from_str(&text).expect("a rule")
    }

    fn made(rest: &str, authentication: &str) -> Result<String, Unfit> {
        let content = make(&rule(rest), SecretBytes::new(authentication.as_bytes().to_vec()))?;
        Ok(String::from_utf8(content.expose_secret().to_vec()).expect("text"))
    }

    const SOME: &str =
        r#"{ "a": "t\u00e4\"\n", "n": 1.50, "o": {"x" : [ 1 ]}, "e": "", "z": "a\u0000b", "l": "\ud800" }"#;

    #[test]
    fn the_whole_is_what_tray_gave_byte_by_byte() {
        assert_eq!(made("", SOME).as_deref(), Ok(SOME));
    }

    #[test]
    fn a_field_is_its_text_and_what_is_no_text_its_json() {
        assert_eq!(made("field = '/a'", SOME).as_deref(), Ok("tä\"\n"));
        assert_eq!(made("field = '/n'", SOME).as_deref(), Ok("1.50"));
        assert_eq!(made("field = '/o'", SOME).as_deref(), Ok(r#"{"x" : [ 1 ]}"#));
        assert_eq!(made("field = '/z'", SOME).as_deref(), Ok("a\0b"));
    }

    #[test]
    fn what_makes_no_credential_is_told_apart() {
        assert_eq!(made("field = '/nothing'", SOME), Err(Unfit::NoField));
        assert_eq!(made("field = '/e'", SOME), Err(Unfit::Empty));
        assert_eq!(made("field = '/l'", SOME), Err(Unfit::NotUnicode));
        assert_eq!(made("env.A = '/nothing'", SOME), Err(Unfit::NoField));
        assert_eq!(made("env.A = '/z'", SOME), Err(Unfit::Nul));
        assert_eq!(made("env.A = '/l'", SOME), Err(Unfit::NotUnicode));
        assert_eq!(made("field = '/a'", "{"), Err(Unfit::NotJson));
        assert_eq!(made("env.A = '/e'", SOME).as_deref(), Ok("A=\"\"\n"));
    }

    #[test]
    fn one_byte_more_than_systemd_takes_is_refused() {
        let of = |length: usize| json!({ "a": "x".repeat(length) }).to_string();
        // The name is one byte.
        assert_eq!(made("field = '/a'", &of(LIMIT - 1)).map(|content| content.len()), Ok(LIMIT - 1));
        assert_eq!(made("field = '/a'", &of(LIMIT)), Err(Unfit::TooLarge));
        assert_eq!(made("", &of(LIMIT)), Err(Unfit::TooLarge));
        // Four for each character that has a meaning, and the rest of the line.
        let quoted = json!({ "a": "$".repeat(LIMIT / 2) }).to_string();
        assert_eq!(made("env.A = '/a'", &quoted), Err(Unfit::TooLarge));
    }

    #[test]
    fn variables_are_quoted_and_in_order() {
        let lines = made("env = { B = '/b', A = '/a' }", r#"{"a": "1 $x `y` \\ \"q\" 'q' #\r\n\ttwo", "b": true}"#);
        assert_eq!(lines.as_deref(), Ok("A=\"1 \\$x \\`y\\` \\\\ \\\"q\\\" 'q' #\r\n\ttwo\"\nB=\"true\"\n"));
    }

    proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_back_what_the_field_is(value in "([$`\"'\\\\\n\r\t ]|[ -~]|[^\0]){0,20}") {
            let lines = made("env.A = '/a'", &json!({ "a": value }).to_string()).expect("a credential");
            let shell = Command::new("sh").args(["-c", "eval \"$1\"; printf '%s.' \"$A\"", "sh", &lines]).output();
            prop_assert_eq!(String::from_utf8(shell.expect("a shell").stdout).expect("text"), format!("{value}."));
        }
    }
}
